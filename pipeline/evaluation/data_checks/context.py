"""The input of the data checks, and their findings."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from pipeline.bottlenecks.reader import SplitReader, to_float32
from pipeline.evaluation.data_checks import neighbours
from pipeline.evaluation.data_checks.neighbours import Nearest
from pipeline.files.places import Place
from pipeline.modules.loading import Module
from pipeline.pixels.decoding import InputSpec
from pipeline.progress import Progress, silent

MAX_SAMPLE = 50_000  # photos whose vectors are in memory: 256 MB of 1,280 features
MAX_EXACT = 40_000  # photos of which all pairs are compared: half a minute of processor time
_ROWS = 1024
_GROUP = 8  # photos of a class that are sampled together


@dataclass(frozen=True)
class CheckContext:
    """A data set with its vectors.

    Attributes:
        listed: the manifest's rows, including photos that are set aside.
        photos: label, path, digest and split of the photos with vectors, [n].
        read: yields their vectors, [rows, features], in the same order.
        image_dir: folder that the paths are relative to.
        input: the pixels that the module takes.
        progress: reports the progress of the longest check.
        module: the module that made the vectors; None if it cannot be run here.
        uniform: digests of the photos that are nearly of one colour once decoded.
    """

    listed: pd.DataFrame
    photos: pd.DataFrame
    read: Callable[[], Iterator[np.ndarray]]
    image_dir: Place
    input: InputSpec
    progress: Progress = field(default=silent)
    module: Module | None = None
    uniform: frozenset[str] = frozenset()

    @cached_property
    def unique(self) -> np.ndarray:
        """Indices of one photo per content, int64 [u]."""
        return np.flatnonzero(~self.photos["digest"].duplicated().to_numpy())

    @cached_property
    def rank(self) -> np.ndarray:
        """Rank of each photo in its class, by digest, from 1; int64 [n]."""
        by_class = self.photos.groupby("label")["digest"]
        ranks: np.ndarray = by_class.rank("dense").to_numpy(np.int64)
        return ranks

    @cached_property
    def sample(self) -> np.ndarray:
        """Indices of the photos whose vectors are in memory, int64 [s]: all, or some per class."""
        share = -(-len(self.photos) // MAX_SAMPLE)
        return np.flatnonzero(self.rank // _GROUP % max(share, 1) == 0)

    @cached_property
    def vectors(self) -> np.ndarray:
        """Vectors of the sample, float32 [s, features]."""
        sampled, start = [], 0
        for vectors in self.read():
            first, last = np.searchsorted(self.sample, (start, start + len(vectors)))
            sampled.append(to_float32(vectors[self.sample[first:last] - start]))
            start += len(vectors)
        return np.concatenate(sampled) if sampled else np.empty((0, 0), np.float32)

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield index ranges of all photos and their vectors, float32 [rows, features]."""
        start = 0
        complete = len(self.sample) == len(self.photos)
        for vectors in (self.vectors,) if complete else self.read():
            yield slice(start, start + len(vectors)), vectors if complete else to_float32(vectors)
            start += len(vectors)

    def unique_blocks(self) -> Iterator[np.ndarray]:
        """Yield the vectors of the unique photos, float32 [rows, features], up to 1,024 at once."""
        is_unique = np.zeros(len(self.photos), bool)
        is_unique[self.unique] = True
        for rows, vectors in self.blocks():
            for start in range(0, len(vectors), _ROWS):
                block = vectors[start : start + _ROWS]
                yield block[is_unique[rows][start : start + _ROWS]]

    @cached_property
    def nearest(self) -> Nearest | None:
        """The most similar other photo of each unique photo; None if there are no two.

        Above MAX_EXACT photos, it may be another similar photo.
        """
        count = len(self.unique)
        if count < 2:
            return None
        if len(self.photos) <= MAX_EXACT:
            return neighbours.nearest(self.vectors[self.unique], self.progress)
        return neighbours.approximate(self.unique_blocks, count, self.vectors, self.progress)


def build_context(
    listed: pd.DataFrame,
    splits: list[SplitReader],
    image_dir: Place,
    module: Module,
    progress: Progress = silent,
    uniform: frozenset[str] = frozenset(),
) -> CheckContext:
    """Create the input of the checks.

    Args:
        listed: the manifest's rows.
        splits: readers of all splits.
        image_dir: folder that the paths are relative to.
        module: the module that made the vectors.
        progress: reports the progress of the longest check.
        uniform: digests of the photos that are nearly of one colour.
    """
    photos = pd.concat(
        [reader.texts().assign(split=reader.split) for reader in splits], ignore_index=True
    )

    def read() -> Iterator[np.ndarray]:
        for reader in splits:
            for vectors, _ in reader.labelled():
                yield vectors

    return CheckContext(listed, photos, read, image_dir, module.input, progress, module, uniform)


@dataclass(frozen=True)
class Finding:
    """A finding of a data check.

    Attributes:
        kind: one of `checks.KINDS`.
        detail: short description.
        paths: the photos concerned; empty if it is about a class.
        label: the class, if it is about one.
        score: severity or confidence, by which findings are sorted, highest first.
    """

    kind: str
    detail: str
    paths: tuple[str, ...] = ()
    label: str = ""
    score: float = 0
