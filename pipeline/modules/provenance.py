"""Provenance: what a fine-tuned module was made from, in a file inside its SavedModel.

`assets.extra` is the folder that the SavedModel format reserves for files of other programs. The
description therefore stays with the module wherever it is copied.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER = "assets.extra"
_FILE = Path(FOLDER) / "fine_tuning.json"


@dataclass(frozen=True)
class Provenance:
    """What a fine-tuned module was made from.

    Attributes:
        tuned_from: handle of the module that was fine-tuned first.
        tuned_epochs: epochs on the user's photos, of all fine-tunings together.
        tuned_photos: training photos of the last fine-tuning.
        licence: licence of the original weights, if known.
        height, width: pixels that it was fine-tuned at.
        image_range_known: whether the original module itself determines its pixel range.
    """

    tuned_from: str
    tuned_epochs: int
    tuned_photos: int
    licence: str
    height: int
    width: int
    image_range_known: bool = False


def write(provenance: Provenance, directory: Path) -> None:
    """Write the file into a SavedModel's folder."""
    path = directory / _FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(provenance), indent=2) + "\n", encoding="utf-8")


def read(directory: Path) -> Provenance | None:
    """Read the file; None if the module in a folder was not fine-tuned by this project."""
    with suppress(OSError, ValueError, TypeError):
        return Provenance(**json.loads((directory / _FILE).read_text(encoding="utf-8")))
    return None
