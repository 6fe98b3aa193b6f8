"""Turn the photos of each class into vectors."""

from collections.abc import Iterable, Iterator
from uuid import uuid4

import luigi

from pipeline.bottlenecks import reader, remote_cache, shards, writer
from pipeline.bottlenecks.recipe import Recipe
from pipeline.files import output_store
from pipeline.photos import inspection, manifest
from pipeline.progress import Progress
from tasks.class_rows import class_rows
from tasks.compute_shards import ComputeShards
from tasks.messages import tell
from tasks.options import BottleneckOptions
from tasks.plan_shards import PlanShards
from tasks.prepare_module import PrepareModule
from tasks.split_dataset import SplitDataset
from tasks.step import Pending, Step, path, paths, place

GROUP_PHOTOS = 1_000_000  # whose rows of the manifest are in memory at once


def _together(labels: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(label for some in labels for label in some)


def _groups(classes: list[manifest.ClassSummary]) -> Iterator[list[manifest.ClassSummary]]:
    """Some classes at a time, but those that are larger than a group."""
    group, held = list[manifest.ClassSummary](), 0
    for of_class in classes:
        if group and held + of_class.usable > GROUP_PHOTOS:
            yield group
            group, held = [], 0
        group.append(of_class)
        held += of_class.usable
    yield group


# luigid keeps to the worker that ran a batch of this name before, even if it has ended: its second
# run would never count as done.
_THIS_PROCESS = uuid4().hex[:8]


class ComputeBottlenecks(BottleneckOptions, Step):
    """Write the bottlenecks of some classes, one Parquet data set a class.

    Luigi hands all classes that wait to one task, so that one loaded module serves them all.
    """

    labels = luigi.ListParameter(
        default=tuple[str, ...](),
        batch_method=_together,
        description="class folders; empty means all of them",
    )
    batch = luigi.Parameter(
        default="",
        batch_method=lambda _: _THIS_PROCESS,
        description="set by Luigi alone, where one task stands for several",
    )

    def one_a_class(self) -> list[luigi.Task]:
        """What a step that needs all classes requires."""
        labels = self.clone(SplitDataset).labels()
        # Without a folder to list yet, one task stands for all classes.
        return [self.clone(labels=(label,)) for label in labels] or [self]

    def requires(self) -> list[luigi.Task]:
        steps = [self.clone(SplitDataset), self.clone(PrepareModule)]
        divided = self.clone(ComputeShards)
        return [*steps, divided] if divided.worthwhile() else steps

    def output(self) -> list[luigi.Target]:
        summary, recipe = self.clone(SplitDataset).summary(), self.recipe()
        if summary is None or recipe is None:
            return [Pending()]
        return [*class_rows(self.output_dir, recipe, self._classes(summary))]

    def complete(self) -> bool:
        return all(target.exists() for target in self.output())

    def recipe(self) -> Recipe | None:
        """How vectors are made, once the module is ready."""
        recipe: Recipe | None = self.clone(PlanShards).recipe()
        return recipe

    def ready(self, progress: Progress) -> Recipe:
        """The same, with the module on this machine."""
        recipe: Recipe = self.clone(PlanShards).ready(progress)
        return recipe

    def part(self, split: str) -> reader.SplitReader:
        """The photos of one part of the split, once they are computed."""
        summary = self.clone(SplitDataset).summary()
        assert summary is not None
        classes = zip(self._classes(summary), self.output(), strict=True)
        return reader.SplitReader(paths(t for of, t in classes if getattr(of, split)), split)

    def work(self) -> None:
        split = self.clone(SplitDataset)
        summary, recipe = split.summary(), self.ready(self.reporter)
        assert summary is not None
        store = self.output_dir / "bottlenecks"
        directory = recipe.directory(store)
        elsewhere = output_store.of(self.output_dir)
        if elsewhere:
            self.clone(ComputeShards).fetch()
        for classes in _groups(self._classes(summary)):
            labels = tuple(c.label for c in classes)
            labelled = manifest.read(path(split.output()), labels)
            usable = labelled[labelled["status"] == inspection.OK]
            if elsewhere:
                remote_cache.fetch_cached(elsewhere, directory, usable, recipe, labels)
            given = (usable, classes, self.image_dir, recipe, store, self.reporter)
            tell(writer.summary_lines(writer.compute(*given)))
        if elsewhere:
            remote_cache.share_rejected(elsewhere, directory)
            self._upload()
        plan: PlanShards = self.clone(PlanShards)
        if plan.finished():
            done = place(plan.output()).parent
            if elsewhere:
                elsewhere.remove(done)
            shards.clear(done)

    def _classes(self, summary: manifest.Summary) -> list[manifest.ClassSummary]:
        known = summary.by_label
        return [known[label] for label in self.labels or known if label in known]
