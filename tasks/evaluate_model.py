"""Measure the head on the test split, and write the page."""

from pathlib import Path

import luigi

from pipeline.evaluation import comparison, metrics, report
from pipeline.evaluation.data_checks import checks
from pipeline.evaluation.report import Run
from pipeline.files import naming, timings
from pipeline.files.timings import Timing
from pipeline.head import softmax_head
from pipeline.nightly import shared_state
from pipeline.photos import split
from tasks.check_data import CheckData
from tasks.compute_bottlenecks import ComputeBottlenecks
from tasks.messages import logger
from tasks.options import EvaluationOptions
from tasks.prepare_module import PrepareModule
from tasks.split_dataset import SplitDataset
from tasks.step import Pending, Result, Step, made, path, place
from tasks.train_head import TrainHead


class EvaluateModel(EvaluationOptions, Step):
    """Write the figures over the test photos, what the head says of each, and the page."""

    def requires(self) -> dict[str, luigi.Task]:
        return {"head": self.clone(TrainHead), "findings": self.clone(CheckData)}

    def output(self) -> luigi.Target:
        trained, checked = (self.clone(step).output() for step in (TrainHead, CheckData))
        if isinstance(trained, Pending) or isinstance(checked, Pending):
            return Pending()
        made_of = (place(trained).name, place(checked).name, metrics.FORMAT_VERSION)
        # A gate is part of what made it: an evaluation without one does not stand for it.
        key = naming.digest(*made_of, checks.parse_kinds(self.fail_on))
        return Result(self.output_dir, "evaluations", key)

    def work(self) -> None:
        inputs, target = self.input(), place(self.output())
        computed = self.clone(ComputeBottlenecks)
        recipe, summary = computed.recipe(), self.clone(SplitDataset).summary()
        assert recipe is not None
        assert summary is not None
        test = computed.part(split.TESTING)
        result, predictions = metrics.evaluate(softmax_head.read(path(inputs["head"])), test)
        shared_state.pull(self.output_dir)
        now: Path = self.output_dir / "current"
        compared = comparison.with_model(now, predictions, test, self.image_dir, recipe)
        findings = checks.read(path(inputs["findings"]))
        settings = {name: str(getattr(self, name)) for name, _ in self.get_params()}
        step_timings, trained = self._timings(), path(inputs["head"])
        run = Run(recipe, summary, settings, step_timings, trained, compared, now)
        report.write(run, result, predictions, findings, self.image_dir, target)
        named = None if self.print_misclassified_test_images else metrics.TOP
        for line in metrics.summary_lines(result, named):
            logger.info(line)
        logger.info("The page with everything: %s", target / report.FILE)

    def _timings(self) -> list[Timing]:
        """When the steps ran that led here, and how long they took."""
        steps = (SplitDataset, PrepareModule, ComputeBottlenecks, TrainHead, CheckData)
        targets = [made(self.clone(step).output()) for step in steps]
        known = timings.read(self.output_dir)
        found = (timings.last(known, self.output_dir, target) for target in targets)
        return [timed for timed in found if timed]
