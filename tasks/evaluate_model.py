"""Measure the head on the test split, and write the page."""

from pathlib import Path

import luigi

from pipeline import comparison, evaluation, head, quality, report, sharing, split, storage, timing
from pipeline.report import Run
from pipeline.timing import Timing
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
        made_of = (place(trained).name, place(checked).name, evaluation.FORMAT_VERSION)
        # A gate is part of what made it: an evaluation without one does not stand for it.
        key = storage.digest(*made_of, quality.chosen(self.fail_on))
        return Result(self.output_dir, "evaluations", key)

    def work(self) -> None:
        inputs, target = self.input(), place(self.output())
        computed = self.clone(ComputeBottlenecks)
        recipe, summary = computed.recipe(), self.clone(SplitDataset).summary()
        assert recipe is not None
        assert summary is not None
        test = computed.part(split.TESTING)
        result, predictions = evaluation.evaluate(head.read(path(inputs["head"])), test)
        sharing.follow(self.output_dir)
        now: Path = self.output_dir / "current"
        compared = comparison.with_model(now, predictions, test, self.image_dir, recipe)
        findings = quality.read(path(inputs["findings"]))
        settings = {name: str(getattr(self, name)) for name, _ in self.get_params()}
        timings, trained = self._timings(), path(inputs["head"])
        run = Run(recipe, summary, settings, timings, trained, compared, now)
        report.write(run, result, predictions, findings, self.image_dir, target)
        named = None if self.print_misclassified_test_images else evaluation.TOP
        for line in evaluation.remarks(result, named):
            logger.info(line)
        logger.info("The page with everything: %s", target / report.FILE)

    def _timings(self) -> list[Timing]:
        """When the steps ran that led here, and how long they took."""
        steps = (SplitDataset, PrepareModule, ComputeBottlenecks, TrainHead, CheckData)
        targets = [made(self.clone(step).output()) for step in steps]
        known = timing.read(self.output_dir)
        found = (timing.last(known, self.output_dir, target) for target in targets)
        return [timed for timed in found if timed]
