"""Evaluate the head on the test split, and write the page."""

import luigi

from pipeline.evaluation import comparison, metrics, model_photos, report
from pipeline.evaluation.data_checks import checks
from pipeline.evaluation.report import Run
from pipeline.files import naming, timings
from pipeline.files.timings import Timing
from pipeline.head import softmax_head
from pipeline.nightly import shared_state
from pipeline.photos import manifest, split
from tasks.check_data import CheckData
from tasks.compute_bottlenecks import ComputeBottlenecks
from tasks.fine_tune_module import FineTuneModule
from tasks.messages import logger
from tasks.options import EvaluationOptions
from tasks.prepare_module import PrepareModule
from tasks.split_dataset import SplitDataset
from tasks.step import Pending, Result, Step, fetch, local_path, result_path
from tasks.train_head import TrainHead


class EvaluateModel(EvaluationOptions, Step):
    """Write the metrics on the test photos, the prediction for each of them, and the page."""

    def requires(self) -> dict[str, luigi.Task]:
        return {"head": self.clone(TrainHead), "findings": self.clone(CheckData)}

    def output(self) -> luigi.Target:
        head, findings = (self.clone(step).output() for step in (TrainHead, CheckData))
        if isinstance(head, Pending) or isinstance(findings, Pending):
            return Pending()
        made_of = (local_path(head).name, local_path(findings).name, metrics.FORMAT_VERSION)
        # An evaluation under a weaker fail_on must not satisfy a stricter one.
        key = naming.digest(*made_of, checks.parse_kinds(self.fail_on))
        return Result(self.output_dir, "evaluations", key)

    def work(self) -> None:
        inputs, target = self.input(), local_path(self.output())
        bottlenecks, dataset = self.clone(ComputeBottlenecks), self.clone(SplitDataset)
        recipe, summary = bottlenecks.recipe(), dataset.summary()
        assert recipe is not None
        assert summary is not None
        head_dir, test = fetch(inputs["head"]), bottlenecks.read_split(split.TESTING)
        result, predictions = metrics.evaluate(softmax_head.read(head_dir), test)
        photos = model_photos.of_manifest(manifest.read(fetch(dataset.output())))
        current = shared_state.current_link(self.output_dir)
        compared = comparison.with_model(current, predictions, photos, test, self.image_dir, recipe)
        findings = checks.read(fetch(inputs["findings"]))
        settings = {name: str(getattr(self, name)) for name, _ in self.get_params()}
        timed = self._timings()
        run = Run(recipe, summary, photos, settings, timed, head_dir, compared, current)
        report.write(run, result, predictions, findings, self.image_dir, target)
        most_named = None if self.print_misclassified_test_images else metrics.TOP
        for line in metrics.summary_lines(result, most_named):
            logger.info(line)
        logger.info("Report: %s", target / report.FILE)

    def _timings(self) -> list[Timing]:
        """Return when the steps that led here ran, and how long they took."""
        steps = [SplitDataset, PrepareModule, ComputeBottlenecks, TrainHead, CheckData]
        if self.fine_tune_epochs:
            steps.insert(2, FineTuneModule)
        targets = [result_path(self.clone(step).output()) for step in steps]
        recorded = timings.read(self.output_dir)
        last = (timings.last(recorded, self.output_dir, target) for target in targets)
        return [timing for timing in last if timing]
