"""Speed and accuracy of the head: `make bench-head`, or `python -m benchmarks.head --help`.

Compares this project's training with scikit-learn's LogisticRegression, with the same L2 strengths
on the same matrices in memory. Then trains on very many rows, streamed from Parquet, and, with
--image-dir, on the bottlenecks of photos. Each measurement runs in a new process.

The comparison favours scikit-learn: its accuracy is the highest on the test rows, over all
strengths, and with or without the validation rows.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
import warnings
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.bottlenecks import alone, show
from benchmarks.manifest import peak
from pipeline.bottlenecks.reader import SplitReader
from pipeline.evaluation import metrics
from pipeline.evaluation.data_checks import checks, context
from pipeline.head import l2_path, training
from pipeline.head.dataset import in_memory
from pipeline.head.softmax_head import Head
from pipeline.modules.loading import Module
from pipeline.photos import inspection, split

FEATURES = 1280
TEST_ROWS = 10_000
FILE_ROWS = 50_000
PARTS = {"training": 0, "validation": 1, "testing": 2}  # seeds of the draws


def features(n: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Generate rows like bottlenecks: correlated, non-negative, with overlapping classes."""
    world = np.random.default_rng(classes)
    directions = np.arange(1, 201)[:, None] ** -0.5 * world.normal(size=(200, FEATURES))
    directions = directions.astype(np.float32)
    centres = world.normal(size=(classes, 200)).astype(np.float32)
    generator = np.random.default_rng([classes, seed])
    numbers = generator.integers(0, classes, n)
    vectors = np.empty((n, FEATURES), np.float32)
    for start in range(0, n, 4096):
        of = numbers[start : start + 4096]
        hidden = 0.25 * centres[of] + generator.standard_normal((len(of), 200), np.float32)
        noise = generator.standard_normal((len(of), FEATURES), np.float32)
        vectors[start : start + 4096] = np.maximum(hidden @ directions + 0.5 * noise, 0)
    return vectors, np.array([f"{number:04}" for number in range(classes)], dtype=object)[numbers]


def three_splits(n: int, classes: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Generate the rows of all splits."""
    counts = (n, n // 10, TEST_ROWS)
    return [features(c, classes, seed) for c, seed in zip(counts, PARTS.values(), strict=True)]


def ours(n: int, classes: int) -> dict[str, Any]:
    rows, validation, test = three_splits(n, classes)
    start = time.perf_counter()
    trained, record = training.train(in_memory(*rows), in_memory(*validation))
    seconds = time.perf_counter() - start
    return {
        "accuracy, %": 100 * accuracy(trained, *test),
        "seconds": seconds,
        "peak memory, GB": peak(),
        "l2": str(record.l2),
    }


def scikit_learns(n: int, classes: int) -> dict[str, Any]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    warnings.simplefilter("ignore", ConvergenceWarning)
    record, validation, test = three_splits(n, classes)
    start = time.perf_counter()
    mean, deviation = record[0].mean(0), record[0].std(0)
    scaled = [((vectors - mean) / deviation, labels.astype(str)) for vectors, labels in (record,)]
    seconds = time.perf_counter() - start
    test_vectors, test_labels = (test[0] - mean) / deviation, test[1].astype(str)

    def fit(l2: float, data: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
        """Return the accuracy, and the seconds of the fit."""
        vectors, labels = (np.concatenate(column) for column in zip(*data, strict=True))
        model = LogisticRegression(C=1 / (l2 * len(labels)), class_weight="balanced", max_iter=300)
        start = time.perf_counter()
        model.fit(vectors, labels)
        return float(model.score(test_vectors, test_labels)), time.perf_counter() - start

    fits = {l2: fit(l2, scaled) for l2 in l2_path.STRENGTHS}
    best = max(fits, key=lambda l2: fits[l2][0])
    more = ((validation[0] - mean) / deviation, validation[1].astype(str))
    again = fit(best, [*scaled, more])
    return {
        "accuracy, %": 100 * max(fits[best][0], again[0]),
        "seconds": seconds + sum(taken for _, taken in fits.values()),
        "peak memory, GB": peak(),
        "l2": str(best),
    }


def compare(n: int, classes: int) -> dict[str, Any]:
    """Return one row of the table."""
    mine, theirs = alone(ours, n, classes), alone(scikit_learns, n, classes)
    return {
        "rows": f"{n:,}",
        "classes": classes,
        **{f"ours: {name}": value for name, value in mine.items()},
        **{f"scikit-learn: {name}": value for name, value in theirs.items()},
        "points better": mine["accuracy, %"] - theirs["accuracy, %"],
        "times as fast": theirs["seconds"] / mine["seconds"],
    }


def grow(directory: Path, n: int, classes: int) -> None:
    """Write `n` rows as the bottleneck stage does, one folder per class; keep existing ones."""
    files = [f"part-{number:05}.parquet" for number in range(-(-n // FILE_ROWS))]
    missing = [i for i, name in enumerate(files) if not list(directory.glob(f"*/{name}"))]
    with get_context("spawn").Pool() as pool:
        pool.starmap(write_files, [(directory, number, classes) for number in missing])


def write_files(directory: Path, number: int, classes: int) -> None:
    """Write FILE_ROWS rows, one file per class."""
    settings = {"compression": "zstd", "row_group_size": 1024, "write_page_checksum": True}
    vectors, labels = features(FILE_ROWS, classes, 100 + number)
    splits = np.array(["training"] * 18 + ["validation", "testing"])[np.arange(FILE_ROWS) % 20]
    for label in np.unique(labels):
        of = labels == label
        column = pa.array(vectors[of].astype(np.float16).ravel())
        names = [f"{number}-{i}" for i in np.flatnonzero(of)]
        digests = [hashlib.sha256(name.encode()).hexdigest() for name in names]
        table = pa.table(
            {
                "digest": pa.array(digests, pa.string()),
                "path": pa.array([f"{label}/{name}.jpg" for name in names], pa.string()),
                "label": pa.array(labels[of], pa.string()),
                "split": pa.array(splits[of], pa.string()),
                "variant": pa.array(np.zeros(of.sum(), np.int8)),
                "vector": pa.FixedSizeListArray.from_arrays(column, FEATURES),
            }
        )
        path = directory / label / f"part-{number:05}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, use_dictionary=["label", "split"], **settings)


def from_parquet(directory: Path, with_checks: bool = True) -> dict[str, Any]:
    """Train, evaluate and, `with_checks`, check the data, on complete bottlenecks."""
    classes = sorted(path for path in directory.iterdir() if list(path.glob("*.parquet")))
    classes = [path for path in classes if path.name != "partial"]
    rows, validation, testing = parts = [SplitReader(classes, name) for name in split.SPLITS]
    start = time.perf_counter()
    trained, record = training.train(rows.labelled, validation.labelled)
    at_trained, memory = time.perf_counter(), peak()
    result, _ = metrics.evaluate(trained, testing)
    at_tested, with_test = time.perf_counter(), peak()
    figures = {
        "rows": f"{record.training:,}",
        "classes": len(trained.labels),
        "accuracy, %": 100 * (result.top1 or 0),
        "l2": str(record.l2),
        "iterations": sum(trial.iterations for trial in record.path),
        "training, s": at_trained - start,
        "its peak memory, GB": memory,
        "test photos": result.count,
        "testing, s": at_tested - at_trained,
        "peak with it, GB": with_test,
    }
    if with_checks:
        listed = pd.concat([part.texts() for part in parts], ignore_index=True)
        facts = {"width": 500, "height": 500, "format": "JPEG", "grey": False, "split": ""}
        listed = listed.assign(**facts, status=inspection.OK, problem="")
        module = Module("", "", "", 224, 224, FEATURES)
        checks.run(context.build_context(listed, parts, directory, module))
        figures["checks, s"] = time.perf_counter() - at_tested
        figures["peak with these, GB"] = peak()
    return figures


def accuracy(trained: Head, vectors: np.ndarray, labels: np.ndarray) -> float:
    """Return the accuracy, from 0 to 1."""
    answers = np.array(trained.labels)[trained.probabilities(vectors).argmax(1)]
    return float((answers == labels).mean())


def bottlenecks_of(image_dir: Path, output_dir: Path) -> Path:
    command = [Path(sys.executable).parent / "luigi", "--module", "tasks", "ComputeBottlenecks"]
    command += ["--image-dir", image_dir, "--output-dir", output_dir]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    (directory,) = (output_dir / "bottlenecks").iterdir()
    return directory


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the training of the head.")
    parser.add_argument(
        "--cases",
        nargs="*",
        default=["2000x10", "50000x10", "50000x100"],
        help="rows x classes to compare with scikit-learn",
    )
    parser.add_argument(
        "--streamed", nargs="*", default=["1000000x100"], help="rows x classes from Parquet"
    )
    parser.add_argument(
        "--no-checks", dest="checks", action="store_false", help="skip the data checks"
    )
    parser.add_argument("--image-dir", type=Path, help="photos to train on as well")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    results: dict[str, Any] = {"compared": [], "from Parquet": []}
    for case in arguments.cases:
        results["compared"].append(compare(*map(int, case.split("x"))))
        show(results["compared"][-1:])
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        for case in arguments.streamed:
            rows, classes = map(int, case.split("x"))
            store = scratch / str(classes)
            grow(store, rows, classes)
            results["from Parquet"].append(alone(from_parquet, store, arguments.checks))
            show(results["from Parquet"][-1:])
        if arguments.image_dir:
            directory = bottlenecks_of(arguments.image_dir, scratch / "out")
            results["from Parquet"].append(alone(from_parquet, directory))
            show(results["from Parquet"][-1:])
    arguments.results.mkdir(parents=True, exist_ok=True)
    (arguments.results / "head.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
