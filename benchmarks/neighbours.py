"""Speed, recall and memory of the search for similar photos: `make bench-neighbours`.

Searches synthetic bottlenecks, streamed from Parquet, and compares all pairs of up to 60,000 of
them. One in a hundred vectors is a noisy copy of another, as that of a photo saved again. Recall is
measured on random photos and on these copies. Each measurement runs in a new process.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bottlenecks import alone, show
from benchmarks.head import grow
from benchmarks.manifest import peak
from pipeline.bottlenecks.reader import SplitReader, to_float32
from pipeline.evaluation.data_checks import context, neighbours
from pipeline.photos import split

CLASSES = 100
MOST_EXACT = 60_000  # takes about a minute of processor time
ASKED = 1000  # photos whose recall is measured
NOISE = 0.3  # relative, of each feature; the cosine is 0.96, as of photos saved at half the size


def batches(directory: Path, n: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first row of each batch, and its vectors: copies at rows 1, 101, ... of each."""
    folders, start = sorted(directory.iterdir()), 0
    for name in split.SPLITS:
        for stored, _ in SplitReader(folders, name).labelled():
            vectors = to_float32(stored[: n - start])
            copies = vectors[1::100]
            noise = np.random.default_rng(start).normal(1, NOISE, copies.shape)
            copies[:] = vectors[::100][: len(copies)] * noise
            yield start, vectors
            start += len(vectors)
            if start == n:
                return


def measure(directory: Path, n: int, exact: bool) -> dict[str, Any]:
    """Return the processor time, recall and peak memory of one search."""

    def blocks() -> Iterator[np.ndarray]:
        return (vectors for _, vectors in batches(directory, n))

    count = sum(map(len, blocks()))
    every = -(-count // context.MAX_SAMPLE)
    sample = np.concatenate([vectors[::every].copy() for vectors in blocks()])
    start = time.process_time()
    if exact:
        found = neighbours.nearest(sample if every == 1 else np.concatenate(list(blocks())))
    else:
        found = neighbours.approximate(blocks, count, sample)
    seconds, memory = time.process_time() - start, peak()
    copies = np.concatenate(
        [np.arange(first + 1, first + len(v), 100) for first, v in batches(directory, n)]
    )
    random = np.random.default_rng(1).choice(count, min(ASKED, count), replace=False)
    copies = copies[:: max(1, len(copies) // ASKED)]
    asked = np.union1d(random, copies)
    true = neighbours.compare_with_all(blocks, asked, count)
    right = found.index == true.index
    lost = (true.similarity - found.similarity)[random]
    return {
        "photos": f"{count:,}",
        "search": "exact" if exact else "approximate",
        "processor time, s": seconds,
        "recall, %": float(100 * right[random].mean()),
        "recall of copies, %": float(100 * right[copies].mean()),
        "mean error of the cosine": f"{np.abs(lost).mean():.4f}",
        "peak memory, GB": memory,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the search for similar photos.")
    counts = [20_000, 60_000, 200_000, 1_000_000]
    parser.add_argument("--counts", type=int, nargs="*", default=counts)
    parser.add_argument("--store", type=Path, help="folder of the synthetic bottlenecks, to keep")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        store = arguments.store or Path(scratch)
        grow(store, max(arguments.counts), CLASSES)
        searches = [
            alone(measure, store, count, exact)
            for count in arguments.counts
            for exact in (True, False)
            if count <= MOST_EXACT or not exact
        ]
    show(searches)


if __name__ == "__main__":
    main()
