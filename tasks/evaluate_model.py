"""Evaluate the head on the test split, and write the page."""

from pathlib import Path

import luigi
import numpy as np

from pipeline.bottlenecks import unlabelled
from pipeline.bottlenecks.recipe import Recipe
from pipeline.evaluation import comparison, metrics, model_photos, report, unknown_photos
from pipeline.evaluation.data_checks import checks
from pipeline.evaluation.report import Run
from pipeline.files import naming, timings
from pipeline.files.timings import Timing
from pipeline.fine_tuning import result as tuning_result
from pipeline.fine_tuning import tuned_photos
from pipeline.fine_tuning.result import Record
from pipeline.head import softmax_head
from pipeline.nightly import shared_state
from pipeline.photos import changes, manifest, split
from tasks.check_data import CheckData
from tasks.compute_bottlenecks import ComputeBottlenecks
from tasks.compute_unknown import ComputeUnknown
from tasks.fine_tune_module import FineTuneModule
from tasks.messages import logger
from tasks.options import EvaluationOptions
from tasks.prepare_module import PrepareModule
from tasks.split_dataset import SplitDataset
from tasks.step import Pending, Result, Step, fetch, local_path, result_path
from tasks.train_head import TrainHead

_reported = set[Path]()  # evaluations whose accuracy this run logged


class EvaluateModel(EvaluationOptions, Step):
    """Write the metrics on the test photos, the prediction for each of them, and the page."""

    def requires(self) -> dict[str, luigi.Task]:
        steps = {"head": self.clone(TrainHead), "findings": self.clone(CheckData)}
        return steps | ({"unknown": self.clone(ComputeUnknown)} if self.unknown_dir else {})

    def output(self) -> luigi.Target:
        inputs = [step.output() for step in self.requires().values()]
        if any(isinstance(target, Pending) for target in inputs):
            return Pending()
        names = [local_path(target).name for target in inputs]
        made_of = (names, self.unknown_rate, metrics.FORMAT_VERSION)
        # An evaluation under a weaker fail_on must not satisfy a stricter one.
        key = naming.digest(*made_of, checks.parse_kinds(self.fail_on))
        return Result(self.output_dir, "evaluations", key)

    def run(self) -> None:
        """Evaluate; if the evaluation exists, as after a rejected fine-tuning, log the accuracy."""
        found = self.output().exists()
        super().run()
        if found:
            self.log_accuracy()

    def work(self) -> None:
        inputs, target = self.input(), local_path(self.output())
        bottlenecks, dataset = self.clone(ComputeBottlenecks), self.clone(SplitDataset)
        recipe, summary = bottlenecks.recipe(), dataset.summary()
        assert recipe is not None
        assert summary is not None
        head_dir, test = fetch(inputs["head"]), bottlenecks.read_split(split.TESTING)
        head = softmax_head.read(head_dir)
        tuned = tuned_photos.read(recipe.module)
        digests = set(tuned["digest"])
        result, predictions = metrics.evaluate(head, test, digests)
        strangers = self._unknown_vectors(recipe.module.features)
        unknown = unknown_photos.measure(head, predictions, strangers, self.unknown_rate)
        listed = fetch(dataset.output())
        rows, applied = manifest.read(listed), manifest.read_applied(listed)
        photos = model_photos.of_manifest(rows, digests)
        current = shared_state.current_link(self.output_dir)
        compared = comparison.with_model(current, predictions, photos, test, self.image_dir, recipe)
        findings = checks.read(fetch(inputs["findings"]))
        settings = {name: str(getattr(self, name)) for name, _ in self.get_params()}
        if dataset.corrected():  # even if it is the default file
            settings["corrections"] = str(self.corrections_file)
        timed = self._timings()
        tuning = self._fine_tuning(recipe)
        of_head = (head_dir, compared, current, unknown)
        corrected = changes.corrected(rows, applied)
        run = Run(recipe, summary, photos, settings, timed, *of_head, tuning, corrected)
        report.write(run, result, predictions, findings, self.image_dir, target)
        self.log_accuracy()
        for line in unknown_photos.summary_lines(unknown) if unknown else ():
            logger.info(line)
        if tuning:
            logger.info(tuning.summary)
        for line in tuned_photos.warnings(tuned, rows):
            logger.warning(line)
        logger.info("Report: %s", target / report.FILE)

    def _fine_tuning(self, recipe: Recipe) -> Record | None:
        """Return what fine-tuning did in this run or, if the module is a result of it, earlier."""
        if self.fine_tune_epochs:
            return tuning_result.read(fetch(self.clone(FineTuneModule).output()))
        module = recipe.module
        return tuning_result.read(Path(module.directory).parent) if module.tuned_from else None

    def log_accuracy(self) -> None:
        """Log the accuracy and misclassified photos of the evaluation, which exists already."""
        target = fetch(self.output())
        _reported.add(target)
        most_named = None if self.print_misclassified_test_images else metrics.TOP
        for line in metrics.summary_lines(report.read_figures(target), most_named):
            logger.info(line)

    def _unknown_vectors(self, features: int) -> np.ndarray:
        """Return the vectors of the photos in unknown_dir, [n, features]."""
        if not self.unknown_dir:
            return np.empty((0, features), np.float32)
        return unlabelled.read(fetch(self.input()["unknown"]))

    def _timings(self) -> list[Timing]:
        """Return when the steps that led here ran, and how long they took."""
        steps = [SplitDataset, PrepareModule, ComputeBottlenecks, TrainHead, CheckData]
        if self.fine_tune_epochs:
            steps.insert(2, FineTuneModule)
        if self.unknown_dir:
            steps.append(ComputeUnknown)
        targets = [result_path(self.clone(step).output()) for step in steps]
        recorded = timings.read(self.output_dir)
        last = (timings.last(recorded, self.output_dir, target) for target in targets)
        return [timing for timing in last if timing]


@luigi.Task.event_handler(luigi.Event.DEPENDENCY_PRESENT)
def _print_again(task: luigi.Task) -> None:
    """Print the misclassified photos if they are asked for, and the evaluation exists already."""
    if not isinstance(task, EvaluationOptions) or not task.print_misclassified_test_images:
        return
    evaluation: EvaluateModel = task.clone(EvaluateModel)
    if evaluation.output().exists() and local_path(evaluation.output()) not in _reported:
        evaluation.log_accuracy()
