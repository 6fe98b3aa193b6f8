"""Tuned photos: what a module was fine-tuned on, in a file inside its SavedModel.

If the split changes afterwards, or files are renamed, these photos may become test photos, which
the module knows already.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from pipeline.bottlenecks.reader import SplitReader
from pipeline.errors import UserError
from pipeline.files.damage import UNREADABLE, reraise_system_errors
from pipeline.modules import provenance
from pipeline.modules.loading import Module
from pipeline.photos import split

FILE = Path(provenance.FOLDER) / "photos.parquet"  # in the SavedModel's folder
_COLUMNS = ["digest", "split"]


def collect(training: SplitReader, validation: SplitReader, module: Module) -> pd.DataFrame:
    """Return the digest and split of the photos of a fine-tuning, and of those before it.

    Args:
        training, validation: the photos.
        module: the module that it starts from.
    """
    parts = [
        reader.texts().assign(split=reader.split)[_COLUMNS] for reader in (training, validation)
    ]
    # A photo that was ever trained on comes first.
    photos = pd.concat([*parts, read(module)]).sort_values("split", kind="stable")
    return photos.drop_duplicates("digest", ignore_index=True)


def write(photos: pd.DataFrame, directory: Path) -> None:
    """Write the file into a SavedModel's folder."""
    photos.to_parquet(directory / FILE, compression="zstd", index=False)


def read(module: Module) -> pd.DataFrame:
    """Return the digest and split of the photos that a module was fine-tuned on.

    Raises:
        UserError: if the file is damaged.
    """
    path = Path(module.directory) / FILE
    if not path.exists():
        return pd.DataFrame(columns=_COLUMNS, dtype=str)
    try:
        return pd.read_parquet(path, columns=_COLUMNS)
    except UNREADABLE as error:
        reraise_system_errors(error)
        raise UserError(
            f"{path} is damaged ({error}); delete the folder of this module, and fine-tune again"
        ) from None


def warnings(photos: pd.DataFrame, rows: pd.DataFrame) -> Iterator[str]:
    """Yield what users should know if photos have changed their split since a fine-tuning.

    Args:
        photos: result of `read`.
        rows: rows of the manifest.
    """
    # Copies of training photos in another split have not changed it: they are a leak.
    copies = photos["digest"].isin(rows.loc[rows["split"] == split.TRAINING, "digest"])
    photos = photos[~copies]
    trained = photos.loc[photos["split"] == split.TRAINING, "digest"]
    effect = "they do not count in the test accuracy"
    yield from _warning("test", rows[rows["split"] == split.TESTING], photos["digest"], effect)
    effect = "the model is too confident, and the validation accuracy too high"
    yield from _warning("validation", rows[rows["split"] == split.VALIDATION], trained, effect)


def _warning(name: str, rows: pd.DataFrame, known: "pd.Series[str]", effect: str) -> Iterator[str]:
    if count := int(rows["digest"].isin(known).sum()):
        yield (
            f"The module was fine-tuned on {count:,} of {len(rows):,} {name} photos, so {effect}; "
            "use the file names and the split of the fine-tuning"
        )
