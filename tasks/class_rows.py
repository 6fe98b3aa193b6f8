"""The complete bottlenecks of classes, as targets."""

from collections.abc import Iterable
from pathlib import Path

from pipeline.bottlenecks import writer
from pipeline.bottlenecks.recipe import Recipe
from pipeline.photos.manifest import ClassSummary
from tasks.step import Result, local_path


class ClassRows(Result):
    """The bottlenecks of one class: a folder of Parquet files."""

    def is_complete_here(self) -> bool:
        """Return whether all files are on this machine, and none is truncated."""
        return writer.is_complete(local_path(self))


def class_rows(
    output_dir: Path, recipe: Recipe, classes: Iterable[ClassSummary]
) -> list[ClassRows]:
    """Return the targets of classes, in order."""
    root = Path("bottlenecks")
    directories = (writer.class_directory(root, recipe, summary) for summary in classes)
    return [ClassRows(output_dir, str(directory)) for directory in directories]
