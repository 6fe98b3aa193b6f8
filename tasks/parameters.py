"""Option types that Luigi lacks: folders, URLs, lists."""

from pathlib import Path
from typing import Any

import luigi

from pipeline.evaluation.data_checks import checks
from pipeline.export import tflite
from pipeline.files import output_store, places
from pipeline.files.object_store import RemotePath
from pipeline.files.places import Place


class FolderParameter(luigi.PathParameter):
    """A local folder; `~` is expanded."""

    def normalize(self, x: str | Path) -> Path:
        return places.local(str(x))


class PlaceParameter(luigi.Parameter[Place]):
    """A local folder, in which `~` is expanded, or the URL of a folder on an object store."""

    def parse(self, x: str) -> Place:
        return places.parse(x)

    def normalize(self, x: str | Place) -> Place:
        return x if isinstance(x, RemotePath) else places.parse(str(x))


class OutputParameter(luigi.PathParameter):
    """An output folder or its URL; tasks see the local folder (see OutputOptions)."""

    def parse(self, x: str) -> Any:
        return places.parse(x)

    def normalize(self, x: Any) -> Any:
        return x if isinstance(x, RemotePath) else places.parse(str(x))

    def serialize(self, x: Path) -> str:
        return output_store.open_store(x).url if isinstance(x, Path) else str(x)


class TFLiteParameter(luigi.StrParameter):
    """Kinds of TFLite files, separated by commas."""

    def normalize(self, x: str) -> str:
        return ",".join(tflite.parse(x)) or tflite.NONE


class FindingsParameter(luigi.StrParameter):
    """Kinds of findings of the data checks, separated by commas."""

    def normalize(self, x: str) -> str:
        return ",".join(checks.parse_kinds(x))
