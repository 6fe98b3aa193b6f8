"""Divide the photos that have no vector yet."""

from dataclasses import replace
from pathlib import Path

import luigi

from pipeline.bottlenecks import extraction, remote_cache, shards, writer
from pipeline.bottlenecks.recipe import Recipe
from pipeline.bottlenecks.writer import Counts
from pipeline.files import output_store
from pipeline.photos import inspection, manifest
from pipeline.progress import Progress
from tasks.class_rows import class_rows
from tasks.messages import tell
from tasks.options import BottleneckOptions
from tasks.prepare_module import PrepareModule
from tasks.split_dataset import SplitDataset
from tasks.step import Pending, Result, Step, path, place


class PlanShards(BottleneckOptions, Step):
    """Write down which vectors are missing, in lists of `shard_size`: each is a worker's task."""

    def requires(self) -> list[luigi.Task]:
        return [self.clone(SplitDataset), self.clone(PrepareModule)]

    def output(self) -> luigi.Target:
        summary, recipe = self.clone(SplitDataset).summary(), self.recipe()
        if summary is None or recipe is None:
            return Pending()
        manifest_name = place(self.clone(SplitDataset).output()).stem
        directory = shards.directory(Path("bottlenecks"), recipe, manifest_name, self.shard_size)
        return Result(self.output_dir, str(shards.todo(directory)))

    def complete(self) -> bool:
        return self.output().exists() or self.finished()

    def recipe(self) -> Recipe | None:
        """How vectors are made, once the module is ready."""
        module = self.clone(PrepareModule).module()
        if module is None:
            return None
        precision = extraction.resolve_precision(self.precision)
        return Recipe(module, precision, self.vector_type, self.augmentation)

    def ready(self, progress: Progress) -> Recipe:
        """The same, with the module on this machine."""
        recipe = self.recipe()
        assert recipe is not None
        return replace(recipe, module=self.clone(PrepareModule).ready(progress))

    def finished(self) -> bool:
        """Whether all classes have their rows, after which the shards go."""
        summary, recipe = self.clone(SplitDataset).summary(), self.recipe()
        if summary is None or recipe is None:
            return False
        if output_store.of(self.output_dir):
            rows = class_rows(self.output_dir, recipe, summary.classes)
            return all(target.exists() for target in rows)
        return shards.finished(self.output_dir / "bottlenecks", recipe, summary)

    def work(self) -> None:
        split = self.clone(SplitDataset)
        summary, recipe = split.summary(), self.recipe()
        assert summary is not None
        assert recipe is not None
        store = self.output_dir / "bottlenecks"
        targets = class_rows(self.output_dir, recipe, summary.classes)
        classes = zip(summary.classes, targets, strict=True)
        lacking = tuple(of_class.label for of_class, target in classes if not target.exists())
        rows = manifest.read(path(split.output()), lacking)
        usable = rows[rows["status"] == inspection.OK]
        if elsewhere := output_store.of(self.output_dir):
            remote_cache.fetch_cached(elsewhere, recipe.directory(store), usable, recipe, lacking)
        directory = place(self.output()).parent
        missing, damaged = shards.divide(usable, recipe, store, directory, self.shard_size)
        parts = -(-missing // self.shard_size)
        _, *warnings = writer.summary_lines(Counts(damaged=damaged))
        tell([f"Vectors: {missing:,} to compute, in {parts:,} shards", *warnings])
