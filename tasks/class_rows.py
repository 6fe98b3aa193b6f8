"""The finished rows of the classes."""

from collections.abc import Iterable
from pathlib import Path

from pipeline import bottlenecks
from pipeline.manifest import ClassSummary
from pipeline.recipe import Recipe
from tasks.step import Result, place


class ClassRows(Result):
    """Of one class."""

    def is_here(self) -> bool:
        """Whether they are here, and no file of them breaks off."""
        return bottlenecks.is_whole(place(self))


def class_rows(
    output_dir: Path, recipe: Recipe, classes: Iterable[ClassSummary]
) -> list[ClassRows]:
    """Of some classes, in their order."""
    store = Path("bottlenecks")
    directories = (bottlenecks.class_directory(store, recipe, of_class) for of_class in classes)
    return [ClassRows(output_dir, str(directory)) for directory in directories]
