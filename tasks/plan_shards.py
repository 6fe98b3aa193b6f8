"""Divide the photos that have no vector yet."""

import luigi

from pipeline import bottlenecks, features, manifest, photos, shards
from pipeline.bottlenecks import Counts
from pipeline.recipe import Recipe
from tasks.messages import logger
from tasks.options import BottleneckOptions
from tasks.prepare_module import PrepareModule
from tasks.split_dataset import SplitDataset
from tasks.step import Pending, Step, path


class PlanShards(BottleneckOptions, Step):
    """Write down which vectors are missing, in lists of `shard_size`: each is a worker's task."""

    def requires(self) -> list[luigi.Task]:
        return [self.clone(SplitDataset), self.clone(PrepareModule)]

    def output(self) -> luigi.Target:
        summary, recipe = self.clone(SplitDataset).summary(), self.recipe()
        if summary is None or recipe is None:
            return Pending()
        store = self.output_dir / "bottlenecks"
        directory = shards.directory(store, recipe, summary, self.shard_size)
        return luigi.LocalTarget(shards.todo(directory))

    def complete(self) -> bool:
        return self.output().exists() or self.finished()

    def recipe(self) -> Recipe | None:
        """How vectors are made, once the module is ready."""
        module = self.clone(PrepareModule).module()
        if module is None:
            return None
        precision = features.resolve_precision(self.precision)
        return Recipe(module, precision, self.vector_type, self.augmentation)

    def finished(self) -> bool:
        """Whether all classes have their rows, after which the shards go."""
        summary, recipe = self.clone(SplitDataset).summary(), self.recipe()
        if summary is None or recipe is None:
            return False
        return shards.finished(self.output_dir / "bottlenecks", recipe, summary)

    def work(self) -> None:
        split = self.clone(SplitDataset)
        summary, recipe = split.summary(), self.recipe()
        assert summary is not None
        assert recipe is not None
        store = self.output_dir / "bottlenecks"
        lacking = tuple(
            of_class.label
            for of_class in summary.classes
            if not bottlenecks.is_whole(bottlenecks.class_directory(store, recipe, of_class))
        )
        rows = manifest.read(path(split.output()), lacking)
        usable = rows[rows["status"] == photos.OK]
        directory = path(self.output()).parent
        missing, damaged = shards.divide(usable, recipe, store, directory, self.shard_size)
        parts = -(-missing // self.shard_size)
        logger.info("Vectors: %s to compute, in %s shards", f"{missing:,}", f"{parts:,}")
        _, *warnings = bottlenecks.remarks(Counts(damaged=damaged))
        for line in warnings:
            logger.warning(line)
