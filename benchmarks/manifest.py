"""Time and memory of a manifest of very many photos: `python -m benchmarks.manifest`.

The photos do not exist: an earlier manifest lists them all, as on every night but the first. Then
deciding what to do must be fast.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.bottlenecks import alone, show
from pipeline.photos import inspection, manifest
from pipeline.photos.listing import Listing
from pipeline.photos.split import SplitRule

CLASSES = 1000


def synthetic(count: int) -> tuple[Listing, pd.DataFrame]:
    """Return a listing of `count` photos, and the rows of an earlier manifest of them."""
    labels = [f"class {number * CLASSES // count:04}" for number in range(count)]
    paths = [f"{label}/{number:07}.jpg" for number, label in enumerate(labels)]
    stat = {"path": paths, "size": 50_000, "mtime_ns": np.arange(count), "ctime_ns": 0}
    inspected = {
        **{"digest": [f"{number:064x}" for number in range(count)], "width": 500, "height": 375},
        **{"format": "JPEG", "grey": False, "status": inspection.OK, "problem": ""},
    }
    frame = pd.DataFrame({"label": labels, **stat, "unusable": ""})
    listing = Listing(frame, frame[:0], tuple(sorted(set(labels))), 0, "x")
    return listing, pd.DataFrame({**stat, **inspected})


def peak() -> float:
    """Return the peak memory of the process, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(count: int) -> dict[str, float]:
    """Return one row of the table; the memory includes the rows of the input."""
    listing, known = synthetic(count)
    start = time.perf_counter()
    table = manifest.build(listing, Path(), SplitRule(), known)
    built = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "manifest.parquet"
        manifest.write(table, path)
        written = time.perf_counter()
        manifest.read(path)
        manifest.read_summary(path)
        return {
            "photos": count,
            "build, s": built - start,
            "write, s": written - built,
            "read, s": time.perf_counter() - written,
            "MB on disk": path.stat().st_size / 1e6,
            "peak memory, GB": peak(),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the manifest.")
    parser.add_argument("--counts", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    show([alone(measure, count) for count in parser.parse_args().counts])


if __name__ == "__main__":
    main()
