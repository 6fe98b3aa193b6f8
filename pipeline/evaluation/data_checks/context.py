"""What the checks look at, and what they find."""

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
from pipeline.progress import Progress, silent

MOST = 200_000  # photos whose vectors are kept: 1 GB of 1,280 features
_GROUP = 8  # photos of a class that are kept or left out together


@dataclass(frozen=True)
class CheckContext:
    """A data set with its vectors.

    Attributes:
        listed: the manifest's rows, those set aside included.
        photos: label, path, digest and split of the photos that have a vector, [n].
        read: goes through their vectors, [some, features], in the same order.
        image_dir: that the paths are relative to.
        height, width: of the module's input, in pixels.
        progress: told how far the longest check is.
    """

    listed: pd.DataFrame
    photos: pd.DataFrame
    read: Callable[[], Iterator[np.ndarray]]
    image_dir: Place
    height: int
    width: int
    progress: Progress = field(default=silent)

    @cached_property
    def unique(self) -> np.ndarray:
        """Positions of one photo of each content, int64 [u]."""
        return np.flatnonzero(~self.photos["digest"].duplicated().to_numpy())

    @cached_property
    def rank(self) -> np.ndarray:
        """Place of each photo among those of its class, by digest, from 1; int64 [n]."""
        by_class = self.photos.groupby("label")["digest"]
        ranks: np.ndarray = by_class.rank("dense").to_numpy(np.int64)
        return ranks

    @cached_property
    def sample(self) -> np.ndarray:
        """Positions of the photos whose vectors are kept, int64 [s]: all, or some of each class."""
        share = -(-len(self.photos) // MOST)
        return np.flatnonzero(self.rank // _GROUP % max(share, 1) == 0)

    @cached_property
    def vectors(self) -> np.ndarray:
        """Of the sample, float32 [s, features]."""
        kept, start = [], 0
        for vectors in self.read():
            first, last = np.searchsorted(self.sample, (start, start + len(vectors)))
            kept.append(to_float32(vectors[self.sample[first:last] - start]))
            start += len(vectors)
        return np.concatenate(kept) if kept else np.empty((0, 0), np.float32)

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """All photos: positions of some, and their vectors, float32 [some, features]."""
        start = 0
        whole = len(self.sample) == len(self.photos)
        for vectors in (self.vectors,) if whole else self.read():
            yield slice(start, start + len(vectors)), vectors if whole else to_float32(vectors)
            start += len(vectors)

    @cached_property
    def nearest(self) -> Nearest | None:
        """Of each unique photo, which other one looks most like it; None where too many.

        The work grows with the square: more than MOST would take the best part of an hour.
        """
        if not 2 <= len(self.photos) == len(self.sample):
            return None
        return neighbours.nearest(self.vectors[self.unique], self.progress)


def build_context(
    listed: pd.DataFrame,
    parts: list[SplitReader],
    image_dir: Place,
    module: Module,
    progress: Progress = silent,
) -> CheckContext:
    """Put together what the checks look at.

    Args:
        listed: the manifest's rows.
        parts: of the split, with all photos.
        image_dir: that the paths are relative to.
        module: that made the vectors.
        progress: told how far the longest check is.
    """
    photos = pd.concat([part.texts().assign(split=part.split) for part in parts], ignore_index=True)

    def read() -> Iterator[np.ndarray]:
        for part in parts:
            for vectors, _ in part.labelled():
                yield vectors

    return CheckContext(listed, photos, read, image_dir, module.height, module.width, progress)


@dataclass(frozen=True)
class Finding:
    """One fault.

    Attributes:
        kind: one of `quality.KINDS`.
        detail: what is wrong, in a few words.
        paths: the photos that it is about; none where it is about a class.
        label: the class, where it is about one.
        score: how grave or how sure, to sort by; the highest first.
    """

    kind: str
    detail: str
    paths: tuple[str, ...] = ()
    label: str = ""
    score: float = 0
