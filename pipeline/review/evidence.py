"""Evidence: the most probable labels of a photo, and the photos that resemble it most."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from pipeline.bottlenecks import cache
from pipeline.bottlenecks.cache import VectorCache
from pipeline.bottlenecks.reader import to_float32, to_matrix
from pipeline.evaluation.data_checks import context, labels
from pipeline.evaluation.data_checks.context import CheckContext
from pipeline.evaluation.data_checks.labels import FittedLabels
from pipeline.pixels.decoding import InputSpec

TOP = 5  # labels of a photo
NEAREST = 4  # photos of a class


@dataclass(frozen=True)
class Guess:
    """A label with its probability, from 0 to 1, and the most similar photos of this class."""

    label: str
    probability: float
    digests: list[str]


@dataclass(frozen=True)
class Evidence:
    """Photos with their vectors.

    Attributes:
        photos: digest, path and label of the photos that have vectors.
        vectors: float32 [n, features].
        fitted: predicts the label of each photo without having seen it; None if it cannot.
    """

    photos: pd.DataFrame
    vectors: np.ndarray
    fitted: FittedLabels | None

    @cached_property
    def _unit(self) -> np.ndarray:
        norms: np.ndarray = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        unit: np.ndarray = self.vectors / np.maximum(norms, 1e-6)
        return unit

    @cached_property
    def _rows(self) -> dict[str, int]:
        """Rows by path, and by digest for files that have no vector of their own."""
        names = [*self.photos["digest"], *self.photos["path"]]
        return dict(zip(names, [*range(len(self.photos))] * 2, strict=True))

    @cached_property
    def _members(self) -> dict[str, np.ndarray]:
        groups = self.photos.groupby("label").indices
        return {str(label): np.asarray(rows) for label, rows in groups.items()}

    def guesses(self, path: str, digest: str, label: str) -> list[Guess]:
        """Return the photo's label, then the TOP other ones that are most probable, best first.

        The classifier has not seen the file at this path. It may have seen copies of it, so each
        of these has its own probabilities. Without its vector, there are none.
        """
        row = self._rows.get(path, self._rows.get(digest))
        if row is None or self.fitted is None:
            return []
        folds = self.fitted.folds[[row]]
        (probabilities,) = self.fitted.lda.predict_proba(self.vectors[[row]], folds)
        scores = dict(zip(self.fitted.labels.tolist(), probabilities.tolist(), strict=True))
        own = [label] if label else []
        others = [name for name in sorted(scores, key=lambda n: -scores[n]) if name != label]
        return [
            Guess(name, scores.get(name, 0.0), self._nearest(row, name))
            for name in own + others[:TOP]
        ]

    def _nearest(self, row: int, label: str) -> list[str]:
        members = self._members.get(label, np.empty(0, np.int64))
        similarity = self._unit[members] @ self._unit[row]
        ordered = self.photos["digest"].to_numpy()[members[np.argsort(-similarity, kind="stable")]]
        own = self.photos["digest"].iat[row]
        return list(dict.fromkeys(digest for digest in ordered if digest != own))[:NEAREST]


def fit(photos: pd.DataFrame, vectors: np.ndarray) -> Evidence:
    """Fit a classifier on photos with their vectors."""
    # Only the vectors and labels matter to the classifier.
    every = CheckContext(
        listed=photos,
        photos=photos,
        read=lambda: iter([vectors]),
        image_dir=Path(),
        input=InputSpec(1, 1),
    )
    return Evidence(photos, vectors, labels.fit(every))


def read(bottlenecks: Path, photos: pd.DataFrame, important: set[str]) -> Evidence:
    """Read the vectors of usable photos from the recipe that was used last.

    Args:
        bottlenecks: folder of all recipes.
        photos: usable rows of the manifest.
        important: digests of the photos that must be among them if there are too many.
    """
    photos = photos.sort_values("digest", key=lambda digests: ~digests.isin(important))
    photos = photos.head(context.MAX_SAMPLE).sort_values("path", ignore_index=True)
    needed = pd.Index(photos["digest"].unique())
    for directory in _recipes(bottlenecks):
        found = VectorCache.find(cache.files(directory), needed)
        if (found.file >= 0).any():
            row = found.file[needed.get_indexer(photos["digest"])] >= 0
            kept = photos[row].reset_index(drop=True)
            vectors = _take(found)[needed.get_indexer(kept["digest"])]
            return fit(kept, vectors)
    return Evidence(photos.head(0), np.empty((0, 0), np.float32), None)


def _recipes(bottlenecks: Path) -> list[Path]:
    """Return the folders of the recipes, the one that was changed last first."""
    return sorted(bottlenecks.glob("*/"), key=lambda path: -path.stat().st_mtime_ns)


def _take(found: VectorCache) -> np.ndarray:
    """Return the vectors of `found.needed`, float32 [needed, features]; unset if not found."""
    vectors = np.empty((0, 0), np.float32)
    for number, path in enumerate(found.files):
        wanted = np.flatnonzero(found.file == number)
        stored = to_matrix(pq.read_table(path, columns=["vector"])["vector"])
        if not vectors.size:
            vectors = np.empty((len(found.needed), stored.shape[1]), np.float32)
        vectors[wanted] = to_float32(np.ascontiguousarray(stored[found.row[wanted]]))
    return vectors
