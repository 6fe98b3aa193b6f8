"""The photos of a model: which of them it was trained on, and the labels that they had.

photos.parquet     digest, label and split of each usable photo, in the folder of an evaluation and
                   in that of the exported model

Two models are compared only on photos that neither was trained on. After files are renamed, or the
percentages or lists of the split change, today's test photos are yesterday's training photos.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UserError
from pipeline.files.damage import UNREADABLE, reraise_system_errors
from pipeline.photos import inspection, split

FILE = "photos.parquet"
_COLUMNS = ["digest", "label", "split"]
_SCHEMA = pa.schema([(name, pa.string()) for name in _COLUMNS])


@dataclass(frozen=True)
class ModelPhotos:
    """The photos of a model, as far as they are known.

    Attributes:
        rows: digest, label and split of each photo.
        complete: False for a model of an earlier version, of which only the test photos are known.
    """

    rows: pd.DataFrame
    complete: bool = True

    def unseen(self, digests: "pd.Series[str]") -> np.ndarray:
        """Return which photos the model was certainly not trained on, bool [n].

        Validation photos count as trained on: the default optimizer adds them at the end, and both
        optimizers select the head with them.
        """
        if not self.complete:
            return digests.isin(self.rows["digest"]).to_numpy(bool)
        seen = self.rows.loc[self.rows["split"] != split.TESTING, "digest"]
        return ~digests.isin(seen).to_numpy(bool)

    def with_labels(self, labels: Mapping[str, str]) -> "ModelPhotos":
        """Return the photos with other labels for some digests."""
        pairs = self.rows[["digest", "label"]].itertuples(index=False)
        replaced = [labels.get(digest, label) for digest, label in pairs]
        return replace(self, rows=self.rows.assign(label=replaced))

    @property
    def labels(self) -> dict[str, str]:
        """The labels by digest."""
        return dict(zip(self.rows["digest"], self.rows["label"], strict=True))


def of_manifest(rows: pd.DataFrame, tuned: Collection[str] = ()) -> ModelPhotos:
    """Return the usable photos of a manifest.

    Args:
        rows: the rows of the manifest.
        tuned: digests of the photos that the module was fine-tuned on. If they are test photos now,
            they count as trained on, too.
    """
    usable = rows.loc[rows["status"] == inspection.OK, _COLUMNS].reset_index(drop=True)
    known = usable["digest"].isin(tuned) & (usable["split"] == split.TESTING)
    return ModelPhotos(usable.assign(split=usable["split"].mask(known, split.TRAINING)))


def write(photos: ModelPhotos, directory: Path) -> None:
    """Write the file into an existing folder."""
    table = pa.Table.from_pandas(photos.rows[_COLUMNS], _SCHEMA, preserve_index=False)
    pq.write_table(table, directory / FILE, compression="zstd")


def read(model: Path) -> ModelPhotos:
    """Return the photos of a model; for one of an earlier version, its test photos.

    Raises:
        UserError: if the file is damaged, or a model of an earlier version lacks its predictions.
    """
    path = model / FILE
    if path.exists():
        return ModelPhotos(_read(path, _COLUMNS, remedy=path))
    tested = _read(model / "predictions.parquet", ["digest", "label"], remedy=model)
    return ModelPhotos(tested.assign(split=split.TESTING), complete=False)


def read_predictions(model: Path) -> pd.DataFrame:
    """Return a model's predictions for its own test photos, as it was evaluated.

    Raises:
        UserError: if the file is missing or damaged.
    """
    columns = ["path", "digest", "label", "labels"]
    return _read(model / "predictions.parquet", columns, remedy=model)


def _read(path: Path, columns: list[str], remedy: Path) -> pd.DataFrame:
    """Return columns of a file; a user must delete `remedy` if it is damaged."""
    try:
        rows: pd.DataFrame = pq.read_table(path, columns=columns).to_pandas()
    except UNREADABLE as error:
        reraise_system_errors(error)
        raise UserError(
            f"{path} is missing or damaged ({error}); delete {remedy}, and run again"
        ) from None
    return rows
