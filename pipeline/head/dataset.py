"""Examples: the photos that a head is trained or measured on, as standardised blocks of rows.

Few photos are read once and kept. Very many are read again at each pass, a block ahead of the
computation, so that memory stays bounded. Blocks are of the same rows however the photos were
stored, so that sums over them are the same to the last bit.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.bottlenecks.reader import to_float32

BLOCK_ROWS = 2048  # 10 MB of 1,280 features, which the processor's cache holds for two products
KEPT_BYTES = 1 << 30  # of float32: about 200,000 photos of 1,280 features

BatchIterator = Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]
"""Goes through photos in the same order each time: vectors [n, features] and labels [n], text."""


def in_memory(vectors: np.ndarray, labels: np.ndarray) -> BatchIterator:
    """Passes over photos that are in memory."""
    return lambda: iter([(vectors, labels)])


@dataclass(frozen=True)
class Scaling:
    """Mean and deviation of each feature, float32 [features]; a deviation of 0 becomes 1."""

    mean: np.ndarray
    deviation: np.ndarray


@dataclass(frozen=True)
class Examples:
    """Photos of known classes.

    Attributes:
        labels: of the classes, in alphabetical order.
        classes: int64 [n], positions in `labels`.
        scaling: that the vectors are standardised with.
        kept: the blocks, where there was room for them.
        again: reads the blocks where there was not.
    """

    labels: tuple[str, ...]
    classes: np.ndarray
    scaling: Scaling
    kept: list[np.ndarray] | None
    again: Callable[[], Iterator[np.ndarray]]

    @classmethod
    def read(cls, passes: BatchIterator, like: "Examples | None" = None) -> "Examples":
        """Go through the photos once.

        Args:
            passes: the photos.
            like: examples whose classes and scaling are taken over; photos of other classes are
                left out. Without it, both are those of the photos themselves.
        """
        known = pd.Index(like.labels) if like else None
        moments = _Moments()
        kept: list[np.ndarray] | None = []
        names = [np.empty(0, dtype=object)]
        for number, (block, of) in enumerate(_blocks(passes, known)):
            moments.add(block)
            names.append(of)
            if kept is not None:
                kept.append(block)
                if number * kept[0].nbytes > KEPT_BYTES:
                    kept = None
        every_name = np.concatenate(names)
        labels = like.labels if like else tuple(sorted(set(every_name)))
        scaling = like.scaling if like else moments.scaling()

        def again() -> Iterator[np.ndarray]:
            for block, _ in _blocks(passes, known):
                yield _standardise(block, scaling)

        for block in kept or ():
            _standardise(block, scaling)
        return cls(labels, pd.Index(labels).get_indexer(pd.Index(every_name)), scaling, kept, again)

    def __len__(self) -> int:
        return len(self.classes)

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """The rows of each block, and its vectors, float32 [rows, features]: not to be changed."""
        start = 0
        for block in _ahead(self.again()) if self.kept is None else self.kept:
            yield slice(start, start + len(block)), block
            start += len(block)

    def joined(self, other: "Examples") -> "Examples":
        """These, and then others like them."""

        def again() -> Iterator[np.ndarray]:
            for photos in (self, other):
                yield from photos.again() if photos.kept is None else photos.kept

        both = self.kept is not None and other.kept is not None
        kept = [*(self.kept or ()), *(other.kept or ())] if both else None
        classes = np.concatenate([self.classes, other.classes])
        return Examples(self.labels, classes, self.scaling, kept, again)

    def sample(self) -> "Examples":
        """All of them where they are kept, else as many as may be: an even share of each class."""
        if self.kept is not None:
            return self
        every = -(-4 * len(self) * len(self.scaling.mean) // KEPT_BYTES)
        of_class = pd.Series(self.classes).groupby(self.classes).cumcount().to_numpy()
        return self.only(np.flatnonzero(of_class % every == 0))

    def only(self, rows: np.ndarray) -> "Examples":
        """Some of the rows, kept."""
        vectors = self.take(rows)
        blocks = [vectors[i : i + BLOCK_ROWS] for i in range(0, len(rows), BLOCK_ROWS)]
        return Examples(self.labels, self.classes[rows], self.scaling, blocks, lambda: iter(blocks))

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of some rows, in any order: one pass where they are not kept."""
        taken = np.empty((len(rows), len(self.scaling.mean)), np.float32)
        for of, block in self.blocks():
            inside = np.flatnonzero((rows >= of.start) & (rows < of.stop))
            taken[inside] = block[rows[inside] - of.start]
        return taken


def _blocks(
    passes: BatchIterator, known: pd.Index | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of any size put together to blocks of BLOCK_ROWS, the last one shorter."""
    block, labels, filled = np.empty((0, 0), np.float32), np.empty(0, dtype=object), 0
    for vectors, names in passes():
        if known is not None:
            inside = known.get_indexer(pd.Index(names)) >= 0
            vectors, names = vectors[inside], names[inside]
        start = 0
        while start < len(vectors):
            if not filled:
                block = np.empty((BLOCK_ROWS, vectors.shape[1]), np.float32)
                labels = np.empty(BLOCK_ROWS, dtype=object)
            some = min(BLOCK_ROWS - filled, len(vectors) - start)
            to_float32(vectors[start : start + some], out=block[filled : filled + some])
            labels[filled : filled + some] = names[start : start + some]
            start, filled = start + some, filled + some
            if filled == BLOCK_ROWS:
                yield block, labels
                filled = 0
    if filled:
        yield block[:filled].copy(), labels[:filled]


def _standardise(block: np.ndarray, scaling: Scaling) -> np.ndarray:
    """Standardise a block where it is."""
    block -= scaling.mean
    block /= scaling.deviation
    return block


def _ahead(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same blocks, the next one being read while this one is used."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = reader.submit(next, blocks, None)
            yield block


class _Moments:
    """Count, mean and squared deviations of what was added so far (Chan, Golub, LeVeque 1979)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.squares = np.zeros(0)

    def add(self, block: np.ndarray) -> None:
        n, mean = len(block), block.mean(0, dtype=np.float64)
        squares = block.var(0, dtype=np.float64) * n
        if self.count:
            apart = mean - self.mean
            both = self.count + n
            squares += self.squares + apart**2 * (self.count * n / both)
            mean = self.mean + apart * (n / both)
        self.count, self.mean, self.squares = self.count + n, mean, squares

    def scaling(self) -> Scaling:
        deviation = np.sqrt(self.squares / max(self.count, 1))
        deviation[deviation < 1e-6] = 1
        return Scaling(self.mean.astype(np.float32), deviation.astype(np.float32))
