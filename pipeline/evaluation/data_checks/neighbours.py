"""Nearest neighbours: the most similar other photo of each photo.

Of few photos, all pairs are compared, which takes time with the square of their number. Many photos
are searched with Faiss (Douze et al., "The Faiss library", arXiv 2401.08281, 2024): vectors are
projected onto their principal axes and divided into cells, and each photo is compared with those in
the nearest cells. This finds most nearest neighbours, and similar photos in place of the others.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.progress import Progress, silent

_BLOCK = 2048
# Recall and time with these values: decision 11.
_AXES = 256  # a byte each per photo: 256 MB for a million photos
_CELL_PHOTOS, _CELL_SAMPLE = 512, 16  # least photos per cell, and of the sample
_PROBES = 16  # cells in which the neighbours of a photo are searched
_RECHECKED = 1000  # photos with the least similar neighbours, and as many random ones


@dataclass(frozen=True)
class Nearest:
    """The nearest neighbour of each photo.

    Attributes:
        index: int64 [n], its index.
        similarity: float32 [n], cosine of both vectors, from -1 to 1.
    """

    index: np.ndarray
    similarity: np.ndarray


def nearest(vectors: np.ndarray, progress: Progress = silent, block_size: int = _BLOCK) -> Nearest:
    """Find each photo's nearest neighbour by comparing all pairs.

    Args:
        vectors: float32 [n, features], n at least 2.
        progress: counts the photos that are compared with all others.
        block_size: photos on each side of a product.
    """
    n = len(vectors)
    unit = _unit(vectors)
    similarity = np.full(n, -2, np.float32)
    index = np.zeros(n, np.int64)
    for i in range(0, n, block_size):
        for j in range(i, n, block_size):
            block = unit[i : i + block_size] @ unit[j : j + block_size].T
            if i == j:
                np.fill_diagonal(block, -2)
            _improve(similarity[i : i + block_size], index[i : i + block_size], block, j)
            if i != j:
                _improve(similarity[j : j + block_size], index[j : j + block_size], block.T, i)
        progress(min(i + block_size, n), n, "photos compared with each other")
    return Nearest(index, similarity)


def approximate(
    blocks: Callable[[], Iterator[np.ndarray]],
    n: int,
    sample: np.ndarray,
    progress: Progress = silent,
) -> Nearest:
    """Find a similar photo for each photo, mostly its nearest neighbour.

    The photos with the least similar neighbours, which may be outliers, are compared with all
    others. So are some random photos, which show by how much the projection lowers similarities.

    Args:
        blocks: yields the vectors in the same order each time, float32 [rows, features].
        n: number of vectors.
        sample: some of them, from which axes and cells are learnt, float32 [s, features].
        progress: counts the photos whose neighbours are searched.
    """
    import faiss

    axes = _principal_axes(sample)
    cells = max(1, min(n // _CELL_PHOTOS, len(sample) // _CELL_SAMPLE))
    kind = f"IVF{cells},SQ8"
    # Any: the stubs describe the base class only.
    search: Any = faiss.index_factory(axes.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    search.cp.min_points_per_centroid = _CELL_SAMPLE
    search.train(_unit(sample) @ axes)
    for vectors in blocks():
        search.add(_unit(vectors) @ axes)
    search.nprobe = _PROBES
    index, similarity = np.empty(n, np.int64), np.empty(n, np.float32)
    for rows, vectors in _numbered(blocks()):
        # The most similar photo is usually the photo itself.
        cosines, found = search.search(_unit(vectors) @ axes, 2)
        other = (found[:, 0] == np.arange(rows.start, rows.stop)).astype(np.int64)
        each = np.arange(len(found))
        index[rows] = found[each, other]
        similarity[rows] = np.maximum(cosines[each, other], -1)
        progress(rows.stop, n, "photos compared with similar ones")
    drawn = np.random.default_rng(0).choice(n, min(n, _RECHECKED), replace=False)
    lowest = np.argsort(similarity, kind="stable")[:_RECHECKED]
    exact = compare_with_all(blocks, np.union1d(drawn, lowest), n)
    similarity += np.median(exact.similarity[drawn] - similarity[drawn])
    compared = exact.index >= 0
    index[compared], similarity[compared] = exact.index[compared], exact.similarity[compared]
    return Nearest(index, similarity)


def compare_with_all(
    blocks: Callable[[], Iterator[np.ndarray]], rows: np.ndarray, n: int
) -> Nearest:
    """Find the nearest neighbours of some rows by comparing them with all; the others have -1.

    Args:
        blocks: as in `approximate`.
        rows: the rows, sorted, int64 [r].
        n: number of vectors.
    """
    parts = [
        vectors[rows[_inside(rows, span)] - span.start] for span, vectors in _numbered(blocks())
    ]
    queries = _unit(np.concatenate(parts))
    best, similarity = np.full(len(rows), -1), np.full(len(rows), -2, np.float32)
    for span, vectors in _numbered(blocks()):
        block = queries @ _unit(vectors).T
        own = _inside(rows, span)
        block[np.arange(len(rows))[own], rows[own] - span.start] = -2
        _improve(similarity, best, block, span.start)
    result = Nearest(np.full(n, -1), np.full(n, -2, np.float32))
    result.index[rows], result.similarity[rows] = best, similarity
    return result


def _numbered(blocks: Iterator[np.ndarray]) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the rows of each block, and the block."""
    start = 0
    for block in blocks:
        yield slice(start, start + len(block)), block
        start += len(block)


def _inside(rows: np.ndarray, span: slice) -> slice:
    """Return which of the sorted rows are in a span."""
    return slice(*np.searchsorted(rows, (span.start, span.stop)))


def _principal_axes(sample: np.ndarray) -> np.ndarray:
    """Return orthonormal axes that keep most of the unit vectors, float32 [features, axes].

    The mean is not subtracted, so that products of projected vectors approximate cosines.
    """
    unit = _unit(sample)
    _, axes = np.linalg.eigh(unit.T @ unit)
    return np.ascontiguousarray(axes[:, -_AXES:], np.float32)


def _unit(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: np.ndarray = vectors / np.where(norms == 0, 1, norms)
    return unit


def _improve(similarity: np.ndarray, index: np.ndarray, block: np.ndarray, start: int) -> None:
    best = block.argmax(1)
    value = block[np.arange(len(best)), best]
    better = value > similarity
    similarity[better], index[better] = value[better], best[better] + start
