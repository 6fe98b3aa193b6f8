"""Divide the missing vectors among workers."""

from dataclasses import replace
from pathlib import Path

import luigi

from pipeline.bottlenecks import remote_cache, shards, writer
from pipeline.bottlenecks.recipe import Recipe
from pipeline.bottlenecks.writer import Counts
from pipeline.modules import engines
from pipeline.photos import inspection, manifest
from pipeline.progress import Progress
from tasks.class_rows import class_rows
from tasks.fine_tune_module import FineTuneModule
from tasks.messages import log_summary
from tasks.options import BottleneckOptions
from tasks.prepare_module import PrepareModule
from tasks.split_dataset import SplitDataset
from tasks.step import Pending, Result, Step, fetch, local_path


class PlanShards(BottleneckOptions, Step):
    """List the missing vectors in shards of `shard_size`, each of which is one worker's task."""

    def requires(self) -> list[luigi.Task]:
        return [self.clone(SplitDataset), self.module_step()]

    def output(self) -> luigi.Target:
        summary, recipe = self.clone(SplitDataset).summary(), self.recipe()
        if summary is None or recipe is None:
            return Pending()
        manifest_name = local_path(self.clone(SplitDataset).output()).stem
        directory = shards.directory(Path("bottlenecks"), recipe, manifest_name, self.shard_size)
        return Result(self.output_dir, str(shards.todo(directory)))

    def complete(self) -> bool:
        return self.output().exists() or self.finished()

    def module_step(self) -> FineTuneModule | PrepareModule:
        """Return the step that makes the module."""
        step = FineTuneModule if self.fine_tune_epochs else PrepareModule
        made_by: FineTuneModule | PrepareModule = self.clone(step)
        return made_by

    def recipe(self) -> Recipe | None:
        """Return how vectors are made, or None until the module is prepared."""
        module = self.module_step().module()
        if module is None:
            return None
        precision = engines.resolve_precision(self.precision)
        return Recipe(module, precision, self.vector_type, self.augmentation)

    def ready(self, progress: Progress) -> Recipe:
        """Return how vectors are made, with the module on this machine."""
        recipe = self.recipe()
        assert recipe is not None
        return replace(recipe, module=self.module_step().ready(progress))

    def finished(self) -> bool:
        """Return whether all classes have their bottlenecks, so that the shards can be deleted."""
        summary, recipe = self.clone(SplitDataset).summary(), self.recipe()
        if summary is None or recipe is None:
            return False
        targets = class_rows(self.output_dir, recipe, summary.classes)
        return all(self.output_store.has(local_path(target)) for target in targets)

    def work(self) -> None:
        split = self.clone(SplitDataset)
        summary, recipe = split.summary(), self.recipe()
        assert summary is not None
        assert recipe is not None
        targets = class_rows(self.output_dir, recipe, summary.classes)
        classes = zip(summary.classes, targets, strict=True)
        lacking = tuple(c.label for c, target in classes if not target.exists())
        rows = manifest.read(fetch(split.output()), lacking)
        usable = rows[rows["status"] == inspection.OK]
        bottlenecks = self.output_dir / "bottlenecks"
        recipe_dir = recipe.directory(bottlenecks)
        remote_cache.fetch_cached(self.output_store, recipe_dir, usable, recipe, lacking)
        directory = local_path(self.output()).parent
        missing, damaged = shards.divide(usable, recipe, bottlenecks, directory, self.shard_size)
        count = -(-missing // self.shard_size)
        _, *warnings = writer.summary_lines(Counts(damaged=damaged))
        log_summary([f"Vectors: {missing:,} to compute, in {count:,} shards", *warnings])
