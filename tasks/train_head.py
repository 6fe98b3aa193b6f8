"""Train the softmax layer."""

import luigi

from pipeline import head, split, storage
from tasks.compute_bottlenecks import ComputeBottlenecks
from tasks.messages import logger
from tasks.options import HeadOptions
from tasks.split_dataset import SplitDataset
from tasks.step import Pending, Step, path


class TrainHead(HeadOptions, Step):
    """Train a head on the bottlenecks of all classes, and keep the best on validation."""

    def requires(self) -> list[luigi.Task]:
        computed: ComputeBottlenecks = self.clone(ComputeBottlenecks)
        return computed.one_a_class()

    def output(self) -> luigi.Target:
        summary = self.clone(SplitDataset).summary()
        recipe = self.clone(ComputeBottlenecks).recipe()
        if summary is None or recipe is None:
            return Pending()
        options = (self.class_weighting, self.l2)
        key = storage.digest(summary.digest, recipe.key, options, head.FORMAT_VERSION)
        return luigi.LocalTarget(self.output_dir / "heads" / key)

    def work(self) -> None:
        computed = self.clone(ComputeBottlenecks)
        trained, training = head.train(
            computed.read(split.TRAINING),
            computed.read(split.VALIDATION),
            self.class_weighting,
            self.l2,
            self.reporter,
        )
        head.write(trained, training, path(self.output()))
        trained_on, *warnings = head.remarks(training)
        logger.info(trained_on)
        for line in warnings:
            logger.warning(line)
