"""Kinds of options that Luigi lacks: folders, URLs, lists."""

from pathlib import Path
from typing import Any

import luigi

from pipeline.evaluation.data_checks import checks
from pipeline.export import tflite
from pipeline.files import output_store, places
from pipeline.files.object_store import RemotePath
from pipeline.files.places import Place


class FolderParameter(luigi.PathParameter):
    """A folder, in which `~` stands for the user's own."""

    def normalize(self, x: str | Path) -> Path:
        return Path(x).expanduser()


class PlaceParameter(luigi.Parameter[Place]):
    """A folder of this machine, in which `~` stands for the user's own, or the URL of one."""

    def parse(self, x: str) -> Place:
        return places.parse(x)

    def normalize(self, x: str | Place) -> Place:
        return x if isinstance(x, RemotePath) else places.parse(str(x))


class OutputParameter(luigi.PathParameter):
    """An output folder, or the URL of one, of which a task knows the mirror: see OutputOptions."""

    def parse(self, x: str) -> Any:
        return places.parse(x)

    def normalize(self, x: Any) -> Any:
        return x if isinstance(x, RemotePath) else places.parse(str(x))

    def serialize(self, x: Path) -> str:
        store = output_store.of(x) if isinstance(x, Path) else None
        return store.url if store else str(x)


class TFLiteParameter(luigi.StrParameter):
    """Kinds of TFLite files, with commas between."""

    def normalize(self, x: str) -> str:
        return ",".join(tflite.parse(x)) or tflite.NONE


class FaultsParameter(luigi.StrParameter):
    """Kinds of faults of the data, with commas between."""

    def normalize(self, x: str) -> str:
        return ",".join(checks.parse_kinds(x))
