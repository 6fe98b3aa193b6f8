"""The data set of the head: photos for training or evaluation, as standardized blocks of vectors.

Small data sets are read once and cached. Large ones are read again in every pass, one block ahead
of the computation, so that memory is bounded. Blocks contain the same rows however the photos are
stored, so that sums over them are bit-identical.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pipeline.bottlenecks.reader import to_float32

# Relative to the root mean square of all deviations. Features that hardly vary are mostly noise,
# which standardization would enlarge to the size of the others (decision 4).
LEAST_DEVIATION = 0.5
# Deviation of all vectors, relative to their mean, up to which they differ only by rounding. It is
# 0.007 if efficientnet-lite0 gets pixels of a wrong range.
_ROUNDING = 1e-5

BatchIterator = Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]
"""Yields batches in the same order each time: vectors [n, features] and labels [n], text."""


def in_memory(vectors: np.ndarray, labels: np.ndarray) -> BatchIterator:
    """Iterate over photos in memory."""
    return lambda: iter([(vectors, labels)])


@dataclass(frozen=True)
class Blocking:
    """Limits for vectors in memory.

    Attributes:
        rows: photos per block; 2,048 of 1,280 features are 10 MB, which fit into the processor's
            cache.
        cached_bytes: size of the float32 vectors up to which all training photos are cached, and
            four times the size up to which all validation photos are; the default is about 100,000
            photos of 1,280 features.
    """

    rows: int = 2048
    cached_bytes: int = 1 << 29


@dataclass(frozen=True)
class Scaling:
    """How features are standardized.

    Attributes:
        mean: mean of each feature, float32 [features].
        deviation: its standard deviation, but at least LEAST_DEVIATION; float32 [features].
        all_equal: whether the vectors are equal, apart from rounding.
    """

    mean: np.ndarray
    deviation: np.ndarray
    all_equal: bool


@dataclass(frozen=True)
class Examples:
    """Labelled photos.

    Attributes:
        labels: the classes, sorted.
        classes: int64 [n], indices in `labels`.
        scaling: mean and deviation by which vectors are standardized.
        cached: the blocks, if they fit into memory.
        stream: reads the blocks again, if they do not.
        blocking: size of the blocks and of the cache.
    """

    labels: tuple[str, ...]
    classes: np.ndarray
    scaling: Scaling
    cached: list[np.ndarray] | None
    stream: Callable[[], Iterator[np.ndarray]]
    blocking: Blocking = Blocking()

    @classmethod
    def read(
        cls,
        batches: BatchIterator,
        like: "Examples | None" = None,
        blocking: Blocking = Blocking(),
    ) -> "Examples":
        """Read the photos once.

        Args:
            batches: the photos.
            like: examples whose classes and scaling are used; photos of other classes are ignored.
                Without it, classes and scaling are those of the photos themselves.
            blocking: size of the blocks and of the cache; ignored with `like`.
        """
        allowed = pd.Index(like.labels) if like else None
        if like:  # the validation photos
            limit = like.blocking.cached_bytes // 4
            blocking = replace(like.blocking, cached_bytes=limit)
        moments = _Moments()
        cached: list[np.ndarray] | None = []
        block_labels = [np.empty(0, dtype=object)]
        for number, (block, names) in enumerate(_blocks(batches, allowed, blocking.rows)):
            moments.add(block)
            block_labels.append(names)
            if cached is not None:
                cached.append(block)
                if number * cached[0].nbytes > blocking.cached_bytes:
                    cached = None
        all_labels = np.concatenate(block_labels)
        labels = like.labels if like else tuple(sorted(set(all_labels)))
        classes = pd.Index(labels).get_indexer(pd.Index(all_labels))
        scaling = like.scaling if like else moments.scaling()

        def stream() -> Iterator[np.ndarray]:
            for block, _ in _blocks(batches, allowed, blocking.rows):
                yield _standardize(block, scaling)

        for block in cached or ():
            _standardize(block, scaling)
        return cls(labels, classes, scaling, cached, stream, blocking)

    def __len__(self) -> int:
        return len(self.classes)

    def zeros(self) -> np.ndarray:
        """Return a solution (see `softmax`) that is 0: float32 [features + 1, classes]."""
        return np.zeros((len(self.scaling.mean) + 1, len(self.labels)), np.float32)

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the rows of each block and its read-only vectors, float32 [rows, features]."""
        start = 0
        for block in _ahead(self.stream()) if self.cached is None else self.cached:
            yield slice(start, start + len(block)), block
            start += len(block)

    def concat(self, other: "Examples") -> "Examples":
        """Return these examples followed by others with the same classes and scaling."""

        def stream() -> Iterator[np.ndarray]:
            for photos in (self, other):
                yield from photos.stream() if photos.cached is None else photos.cached

        both = self.cached is not None and other.cached is not None
        cached = [*(self.cached or ()), *(other.cached or ())] if both else None
        classes = np.concatenate([self.classes, other.classes])
        return Examples(self.labels, classes, self.scaling, cached, stream, self.blocking)

    def sample(self) -> "Examples":
        """Return all cached examples, or the largest sample with an even share of each class."""
        if self.cached is not None:
            return self
        every = -(-4 * len(self) * len(self.scaling.mean) // self.blocking.cached_bytes)
        position = pd.Series(self.classes).groupby(self.classes).cumcount().to_numpy()
        return self.subset(np.flatnonzero(position % every == 0))

    def subset(self, rows: np.ndarray) -> "Examples":
        """Return some of the rows, cached."""
        vectors = self.gather(rows)
        size = self.blocking.rows
        blocks = [vectors[i : i + size] for i in range(0, len(rows), size)]
        return Examples(
            self.labels,
            self.classes[rows],
            self.scaling,
            blocks,
            lambda: iter(blocks),
            self.blocking,
        )

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of rows in any order, in one pass if they are not cached."""
        vectors = np.empty((len(rows), len(self.scaling.mean)), np.float32)
        for span, block in self.blocks():
            inside = np.flatnonzero((rows >= span.start) & (rows < span.stop))
            vectors[inside] = block[rows[inside] - span.start]
        return vectors


def _blocks(
    batches: BatchIterator, allowed: pd.Index | None, block_rows: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Regroup batches of any size into blocks of `block_rows`; the last one may be shorter."""
    block, labels, filled = np.empty((0, 0), np.float32), np.empty(0, dtype=object), 0
    for vectors, names in batches():
        if allowed is not None:
            inside = allowed.get_indexer(pd.Index(names)) >= 0
            vectors, names = vectors[inside], names[inside]
        start = 0
        while start < len(vectors):
            if not filled:
                block = np.empty((block_rows, vectors.shape[1]), np.float32)
                labels = np.empty(block_rows, dtype=object)
            count = min(block_rows - filled, len(vectors) - start)
            to_float32(vectors[start : start + count], out=block[filled : filled + count])
            labels[filled : filled + count] = names[start : start + count]
            start, filled = start + count, filled + count
            if filled == block_rows:
                yield block, labels
                filled = 0
    if filled:
        yield block[:filled].copy(), labels[:filled]


def _standardize(block: np.ndarray, scaling: Scaling) -> np.ndarray:
    """Standardize a block in place."""
    block -= scaling.mean
    block /= scaling.deviation
    return block


def _ahead(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the same blocks, reading the next one while the current one is used."""
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(next, blocks, None)
        while (block := following.result()) is not None:
            following = reader.submit(next, blocks, None)
            yield block


class _Moments:
    """Running count, mean and squared deviations (Chan, Golub and LeVeque, 1979)."""

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
        all_equal = _root_mean_square(deviation) <= _ROUNDING * _root_mean_square(self.mean)
        return Scaling(self.mean.astype(np.float32), divisors(deviation), all_equal)


def divisors(deviation: np.ndarray) -> np.ndarray:
    """Return what features are divided by: their standard deviations, or the least one.

    Args:
        deviation: standard deviation of each feature, [features].

    Returns:
        float32 [features], none of them 0.
    """
    least = LEAST_DEVIATION * _root_mean_square(deviation)
    scale: np.ndarray = np.maximum(deviation, least).astype(np.float32)
    scale[scale == 0] = 1
    return scale


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.sum(values**2) / max(values.size, 1)))
