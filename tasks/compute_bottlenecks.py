"""Turn the photos of each class into vectors."""

from collections.abc import Iterable, Iterator
from uuid import uuid4

import luigi

from pipeline.bottlenecks import remote_cache, shards, writer
from pipeline.bottlenecks.reader import SplitReader
from pipeline.bottlenecks.recipe import Recipe
from pipeline.photos import inspection, manifest, remarks
from pipeline.photos.manifest import ClassSummary
from pipeline.progress import Progress
from tasks.class_rows import class_rows
from tasks.compute_shards import ComputeShards
from tasks.messages import log_summary, logger
from tasks.options import BottleneckOptions
from tasks.plan_shards import PlanShards
from tasks.split_dataset import SplitDataset
from tasks.step import Pending, Step, fetch, fetch_all, local_path

GROUP_PHOTOS = 1_000_000  # photos whose manifest rows are in memory at once


def _join(labels: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(label for some in labels for label in some)


def _groups(classes: list[ClassSummary]) -> Iterator[list[ClassSummary]]:
    """Group classes by GROUP_PHOTOS photos; a class larger than that is a group of its own."""
    group, photos = list[ClassSummary](), 0
    for summary in classes:
        if group and photos + summary.usable > GROUP_PHOTOS:
            yield group
            group, photos = [], 0
        group.append(summary)
        photos += summary.usable
    yield group


# luigid assigns a batch of this name to the worker that ran it before, even if that worker has
# ended: without a name per process, a second run would never count as done.
_PROCESS = uuid4().hex[:8]


class ComputeBottlenecks(BottleneckOptions, Step):
    """Write the bottlenecks of classes, one Parquet data set each.

    Luigi batches all pending classes into one task, so that one loaded module serves them all.
    """

    labels = luigi.ListParameter(
        default=tuple[str, ...](),
        batch_method=_join,
        description="class folders; empty means all",
    )
    batch = luigi.Parameter(
        default="",
        batch_method=lambda _: _PROCESS,
        description="set only by Luigi, when one task stands for several",
    )

    def per_class(self) -> list[luigi.Task]:
        """Return one task per class: what a step that needs all classes requires."""
        labels = self.clone(SplitDataset).labels()
        # As long as there is no folder to list, one task stands for all classes.
        return [self.clone(labels=(label,)) for label in labels] or [self]

    def requires(self) -> list[luigi.Task]:
        steps = [self.clone(SplitDataset), self.clone(PlanShards).module_step()]
        sharded = self.clone(ComputeShards)
        return [*steps, sharded] if sharded.worthwhile() else steps

    def output(self) -> list[luigi.Target]:
        summary, recipe = self.clone(SplitDataset).summary(), self.recipe()
        if summary is None or recipe is None:
            return [Pending()]
        return [*class_rows(self.output_dir, recipe, self._classes(summary))]

    def complete(self) -> bool:
        return all(target.exists() for target in self.output())

    def recipe(self) -> Recipe | None:
        """Return how vectors are made, or None until the module is prepared."""
        recipe: Recipe | None = self.clone(PlanShards).recipe()
        return recipe

    def ready(self, progress: Progress) -> Recipe:
        """Return how vectors are made, with the module on this machine."""
        recipe: Recipe = self.clone(PlanShards).ready(progress)
        return recipe

    def read_split(self, split: str) -> SplitReader:
        """Return a reader of one split's bottlenecks, once they are computed."""
        summary = self.clone(SplitDataset).summary()
        assert summary is not None
        classes = zip(self._classes(summary), self.output(), strict=True)
        targets = (target for class_summary, target in classes if getattr(class_summary, split))
        return SplitReader(fetch_all(targets), split)

    def work(self) -> None:
        split = self.clone(SplitDataset)
        summary, recipe = split.summary(), self.ready(self.reporter)
        assert summary is not None
        bottlenecks = self.output_dir / "bottlenecks"
        recipe_dir = recipe.directory(bottlenecks)
        self.clone(ComputeShards).fetch_computed()
        for classes in _groups(self._classes(summary)):
            labels = tuple(class_summary.label for class_summary in classes)
            rows = manifest.read(fetch(split.output()), labels)
            usable = rows[rows["status"] == inspection.OK]
            remote_cache.fetch_cached(self.output_store, recipe_dir, usable, recipe, labels)
            counts = writer.compute(
                usable, classes, self.image_dir, recipe, bottlenecks, self.reporter
            )
            log_summary(writer.summary_lines(counts))
            for line in remarks.lost_lines(classes, usable[usable["path"].isin(counts.rejected)]):
                logger.warning(line)
        remote_cache.share_notes(self.output_store, recipe_dir)
        self.upload()
        plan: PlanShards = self.clone(PlanShards)
        if plan.finished():
            shard_dir = local_path(plan.output()).parent
            self.output_store.remove(shard_dir)
            shards.clear(shard_dir)

    def _classes(self, summary: manifest.Summary) -> list[ClassSummary]:
        by_label = summary.by_label
        return [by_label[label] for label in self.labels or by_label if label in by_label]
