"""The finished rows of the classes."""

from collections.abc import Iterable
from pathlib import Path

from pipeline.bottlenecks import writer
from pipeline.bottlenecks.recipe import Recipe
from pipeline.photos.manifest import ClassSummary
from tasks.step import Result, place


class ClassRows(Result):
    """Of one class."""

    def is_here(self) -> bool:
        """Whether they are here, and no file of them breaks off."""
        return writer.is_complete(place(self))


def class_rows(
    output_dir: Path, recipe: Recipe, classes: Iterable[ClassSummary]
) -> list[ClassRows]:
    """Of some classes, in their order."""
    store = Path("bottlenecks")
    directories = (writer.class_directory(store, recipe, of_class) for of_class in classes)
    return [ClassRows(output_dir, str(directory)) for directory in directories]
