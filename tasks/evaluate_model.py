"""Measure the head on the test split."""

import luigi

from pipeline import evaluation, head, split, storage
from tasks.compute_bottlenecks import ComputeBottlenecks
from tasks.messages import logger
from tasks.options import HeadOptions
from tasks.step import Pending, Step, path
from tasks.train_head import TrainHead


class EvaluateModel(HeadOptions, Step):
    """Write the figures over the test photos, and what the head says of each of them."""

    def requires(self) -> list[luigi.Task]:
        return [self.clone(TrainHead)]

    def output(self) -> luigi.Target:
        trained = self.clone(TrainHead).output()
        if isinstance(trained, Pending):
            return trained
        key = storage.digest(path(trained).name, evaluation.FORMAT_VERSION)
        return luigi.LocalTarget(self.output_dir / "evaluations" / key)

    def work(self) -> None:
        trained = head.read(path(self.clone(TrainHead).output()))
        test = self.clone(ComputeBottlenecks).read(split.TESTING)
        result, predictions = evaluation.evaluate(trained, test)
        evaluation.write(result, predictions, path(self.output()))
        for line in evaluation.remarks(result):
            logger.info(line)
