"""Accuracy by the least deviation of features: `make bench-scaling IMAGE_DIRS="folder ..."`.

Heads are trained on all photos and on few per class, drawn at random several times, and measured
on a third of the photos that they were not trained on. Of few photos, a fifth chooses the L2
strength; of all, a tenth. Test photos are not read. Scanned digits are always included.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import data
from benchmarks.accuracy import DEFAULT, list_split, prepare
from benchmarks.bottlenecks import processor, show
from pipeline.bottlenecks import extraction
from pipeline.head import dataset, softmax, training
from pipeline.head.dataset import in_memory
from pipeline.modules import engines
from pipeline.photos import split

LEAST = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 100.0)  # 0: not limited; 100: the same for all features
EACH = (0, 20, 5)  # photos per class; 0: all


def draw(labels: np.ndarray, each: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of photos for training, for validation and for measuring."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(labels))
    measured, rest = np.split(order, [len(labels) // 3])
    validation = max(1, each // 5) if each else 0
    chosen = np.zeros(len(labels), bool)
    kept = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = rest[labels[rest] == label]
        count = validation or max(1, len(rows) // 10)
        chosen[rows[:count]] = True
        kept[rows[count : each or len(rows)]] = True
    return np.flatnonzero(kept), np.flatnonzero(chosen), measured


def accuracies(vectors: np.ndarray, labels: np.ndarray, each: int, seeds: int) -> np.ndarray:
    """Return accuracy and cross-entropy, [seeds, len(LEAST), 2]."""
    result = np.empty((seeds, len(LEAST), 2))
    for seed in range(seeds):
        *parts, measured = draw(labels, each, seed)
        batches = [in_memory(vectors[rows], labels[rows]) for rows in parts]
        for number, dataset.LEAST_DEVIATION in enumerate(LEAST):
            head, record = training.train(*batches)
            temperature = np.float32(record.calibration.temperature or 1)
            truth = np.searchsorted(head.labels, labels[measured].astype(str))
            found = softmax.metrics(head.logits(vectors[measured]) / temperature, truth)
            result[seed, number] = found.accuracy, found.cross_entropy
    return result


def rows(name: str, each: int, result: np.ndarray) -> list[dict[str, Any]]:
    """Return the rows of a table, with 95% intervals of the gain over 0 for the draws."""
    gains = 100 * (result[:, :, 0] - result[:, :1, 0])
    margins = 1.96 * gains.std(0, ddof=1) / len(gains) ** 0.5
    return [
        {
            "photos": name,
            "per class": each or "all",
            "least deviation": least,
            "top-1, %": 100 * result[:, number, 0].mean(),
            "gain": f"{gains[:, number].mean():+.1f} ± {margins[number]:.1f}",
            "cross-entropy": f"{result[:, number, 1].mean():.3f}",
        }
        for number, least in enumerate(LEAST)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the scaling of features.")
    parser.add_argument("--image-dirs", type=Path, nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=8)
    arguments = parser.parse_args()
    print(f"Processor: {processor()}")
    table = []
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        module = prepare(DEFAULT, scratch)
        precision = engines.resolve_precision(engines.AUTO)
        for image_dir in (data.tiny(scratch / "digits"), *arguments.image_dirs):
            photos = list_split(image_dir)
            photos = photos[photos["split"] != split.TESTING]
            paths = [image_dir / path for path in photos["path"]]
            parts = extraction.extract(paths, module, precision)
            vectors = np.concatenate([part.vectors for part in parts]).astype(np.float32)
            for each in EACH:
                result = accuracies(
                    vectors, photos["label"].to_numpy(object), each, arguments.seeds
                )
                table += rows(image_dir.name, each, result)
    show(table)


if __name__ == "__main__":
    main()
