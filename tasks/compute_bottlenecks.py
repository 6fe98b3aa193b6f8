"""Turn the photos of each class into vectors."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import luigi

from pipeline import borrow, bottlenecks, features, manifest, mirror, photos, rows
from pipeline.examples import Pass
from pipeline.progress import Progress
from pipeline.recipe import Recipe
from tasks.messages import logger
from tasks.options import BottleneckOptions
from tasks.prepare_module import PrepareModule
from tasks.split_dataset import SplitDataset
from tasks.step import Pending, Result, Step, path, paths, place


def _together(labels: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(label for some in labels for label in some)


class ClassRows(Result):
    """The finished rows of one class."""

    def is_here(self) -> bool:
        """Whether they are here, and no file of them breaks off."""
        return bottlenecks.is_whole(place(self))


class ComputeBottlenecks(BottleneckOptions, Step):
    """Write the bottlenecks of some classes, one Parquet data set a class.

    Luigi hands all classes that wait to one task, so that one loaded module serves them all.
    """

    labels = luigi.ListParameter(
        default=tuple[str, ...](),
        batch_method=_together,
        description="class folders; empty means all of them",
    )

    def one_a_class(self) -> list[luigi.Task]:
        """What a step that needs all classes requires."""
        labels = self.clone(SplitDataset).labels()
        # Without a folder to list yet, one task stands for all classes.
        return [self.clone(labels=(label,)) for label in labels] or [self]

    def requires(self) -> list[luigi.Task]:
        return [self.clone(SplitDataset), self.clone(PrepareModule)]

    def output(self) -> list[luigi.Target]:
        summary, recipe = self.clone(SplitDataset).summary(), self.recipe()
        if summary is None or recipe is None:
            return [Pending()]
        store = Path("bottlenecks")
        return [
            ClassRows(self.output_dir, str(bottlenecks.class_directory(store, recipe, of_class)))
            for of_class in self._classes(summary)
        ]

    def complete(self) -> bool:
        return all(target.exists() for target in self.output())

    def recipe(self) -> Recipe | None:
        """How vectors are made, once the module is ready."""
        module = self.clone(PrepareModule).module()
        if module is None:
            return None
        precision = features.resolve_precision(self.precision)
        return Recipe(module, precision, self.vector_type, self.augmentation)

    def ready(self, progress: Progress) -> Recipe:
        """The same, with the module on this machine."""
        recipe = self.recipe()
        assert recipe is not None
        return replace(recipe, module=self.clone(PrepareModule).ready(progress))

    def read(self, part: str) -> rows.Rows:
        """The photos of one part of the split, once they are computed."""
        return rows.read(paths(self.output()), part)

    def passes(self, part: str, copies: bool = False) -> Pass:
        """The same photos to go through again and again, however many they are."""
        return partial(rows.labelled, paths(self.output()), part, copies)

    def work(self) -> None:
        split = self.clone(SplitDataset)
        summary, recipe = split.summary(), self.ready(self.reporter)
        assert summary is not None
        classes = self._classes(summary)
        usable = manifest.read(path(split.output()), tuple(c.label for c in classes))
        usable = usable[usable["status"] == photos.OK]
        directory = recipe.directory(self.output_dir / "bottlenecks")
        store = mirror.of(self.output_dir)
        if store:
            names = [place(target).name for target in self.output()]
            borrow.vectors(store, directory, usable, recipe, names)
            borrow.know_rejected(store, directory)
        counts = bottlenecks.compute(
            usable, classes, self.image_dir, recipe, directory.parent, self.reporter
        )
        if store:
            borrow.tell_rejected(store, directory)
        counted, *warnings = bottlenecks.remarks(counts)
        logger.info(counted)
        for line in warnings:
            logger.warning(line)

    def _classes(self, summary: manifest.Summary) -> list[manifest.ClassSummary]:
        return [c for c in summary.classes if not self.labels or c.label in self.labels]
