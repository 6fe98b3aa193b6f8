"""Accuracy against time of modules and input sizes: `make bench-accuracy IMAGE_DIR=photos`.

Accuracy is cross-validated on the training photos, in three folds: a tenth of the other two chooses
the L2 strength of the head, and all of them train it. Test photos are not read.

The time is that of a whole photo, decoding and module, on this machine and by its default engine.
Candidates are timed in turns, and the median of their rounds counts, since the speed of a machine
varies.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import data
from benchmarks.bottlenecks import processor, show
from pipeline.bottlenecks import extraction
from pipeline.evaluation.statistics import mcnemar_p_value, wilson_interval
from pipeline.head import training
from pipeline.head.dataset import in_memory
from pipeline.modules import engines, frozen_graph, preparation, speed
from pipeline.modules.loading import Module
from pipeline.photos import split
from pipeline.photos.listing import list_photos
from pipeline.pixels.decoding import InputSpec

DEFAULT = ("efficientnet-lite0", 224)
SIZES = {
    "efficientnet-lite0": (192, 224, 256, 288),
    "efficientnet-lite1": (240,),
    "efficientnet-lite2": (260, 300),
}
PAIRS = (  # whose vectors are concatenated
    (("efficientnet-lite0", 192), ("efficientnet-lite0", 256)),
    (DEFAULT, ("efficientnet-lite2", 260)),
)
FOLDS, ROUNDS, TIMED = 3, 6, 96  # photos whose decoding is timed

Choice = tuple[str, int]  # handle of a module, and input size in pixels


def named(choice: Choice) -> str:
    """Return the name of a candidate in the table."""
    return "{}, {}".format(*choice)


@dataclass(frozen=True)
class Vectors:
    """What modules make of the training photos.

    Attributes:
        vectors: float32 [photos, features].
        module, decoding: seconds per photo.
    """

    vectors: np.ndarray
    module: float
    decoding: float

    @property
    def seconds(self) -> float:
        return self.module + self.decoding

    def joined(self, other: "Vectors") -> "Vectors":
        """Return the vectors of two modules, one after the other."""
        vectors = np.concatenate([self.vectors, other.vectors], axis=1)
        return Vectors(vectors, self.module + other.module, self.decoding + other.decoding)


def list_split(image_dir: Path) -> pd.DataFrame:
    """Return the photos of a folder, with the split that each belongs to by default."""
    photos, rule = list_photos(image_dir).photos, split.SplitRule()
    return photos.assign(split=[split.assign(rule, path) for path in photos["path"]])


def prepare(choice: Choice, scratch: Path) -> Module:
    """Prepare a module as the step PrepareModule does."""
    handle, size = choice
    module = preparation.prepare(handle, scratch, size)
    name = Path(module.directory).name
    module = frozen_graph.freeze(module, scratch / f"{name}.pb")
    return replace(module, engine=engines.choose(module, engines.AUTO))


def extract(paths: list[Path], modules: dict[str, Module], precision: str) -> dict[str, Vectors]:
    """Compute the vectors of photos, and measure the time that this takes."""
    seconds = speed.seconds_per_photo(list(modules.values()), precision, extraction.BATCH)
    few = paths[:: max(1, len(paths) // TIMED)][:TIMED]
    turns = [[decoding_seconds(few, m.input) for m in modules.values()] for _ in range(ROUNDS)]
    decoding = np.median(turns[1:], axis=0)  # the first one also fills caches
    return {
        name: Vectors(
            np.concatenate([part.vectors for part in extraction.extract(paths, module, precision)]),
            seconds[number],
            float(decoding[number]),
        )
        for number, (name, module) in enumerate(modules.items())
    }


def decoding_seconds(paths: list[Path], spec: InputSpec) -> float:
    """Measure how long decoding takes per photo."""
    start = time.perf_counter()
    for _ in extraction.decode(paths, spec):
        pass
    return (time.perf_counter() - start) / len(paths)


def cross_validate(vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return which photos are classified correctly by heads trained without them; bool [photos]."""
    correct = np.zeros(len(labels), bool)
    folds = np.empty(len(labels), np.int64)
    for label in np.unique(labels):  # as many photos of each class in each fold
        rows = np.flatnonzero(labels == label)
        folds[np.random.default_rng(0).permutation(rows)] = np.arange(len(rows)) % FOLDS
    tenth = np.random.default_rng(1).random(len(labels)) < 0.1
    for fold in range(FOLDS):
        held = folds == fold
        parts = [in_memory(vectors[rows], labels[rows]) for rows in (~held & ~tenth, ~held & tenth)]
        head, _ = training.train(*parts)
        answers = (vectors[held] @ head.weights + head.bias).argmax(1)
        correct[held] = np.array(head.labels)[answers] == labels[held]
    return correct


def row(
    name: str, found: Vectors, correct: np.ndarray, default: Vectors, before: np.ndarray
) -> dict[str, Any]:
    """Return a row of the table, which compares a candidate with the default.

    Args:
        name: name of the candidate.
        found, default: vectors and times of both.
        correct, before: which photos both classify correctly, bool [photos].
    """
    low, high = wilson_interval(int(correct.sum()), len(correct)) or (0.0, 0.0)
    difference, p_value = paired_difference(correct, before)
    return {
        "module": name,
        "module, ms": f"{1000 * found.module:.2f}",
        "with decoding, ms": f"{1000 * found.seconds:.2f}",
        "time": f"{found.seconds / default.seconds:.2f}",
        "top-1, %": 100 * correct.mean(),
        "95% interval": f"{100 * low:.1f} to {100 * high:.1f}",
        "difference": difference,
        "p": p_value,
    }


def paired_difference(correct: np.ndarray, before: np.ndarray) -> tuple[str, str]:
    """Return the difference of two accuracies in points, with its 95% interval, and its p-value.

    Args:
        correct, before: which photos two models classify correctly, bool [photos].
    """
    gained = correct.astype(int) - before.astype(int)
    margin = 1.96 * gained.std() / len(gained) ** 0.5
    p_value = mcnemar_p_value(int((gained > 0).sum()), int((gained < 0).sum()))
    return f"{100 * gained.mean():+.1f} ± {100 * margin:.1f}", f"{p_value:.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure accuracy against time.")
    parser.add_argument("--image-dir", type=Path, help="photos (default: scanned digits)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        image_dir = arguments.image_dir or data.tiny(scratch / "digits")
        photos = list_split(image_dir)
        photos = photos[photos["split"] == split.TRAINING]
        paths = [image_dir / path for path in photos["path"]]
        labels = photos["label"].to_numpy(object)
        precision = engines.resolve_precision(engines.AUTO)
        choices = [(handle, size) for handle, sizes in SIZES.items() for size in sizes]
        modules = {named(choice): prepare(choice, scratch) for choice in choices}
        found = extract(paths, modules, precision)
        engine = modules[named(DEFAULT)].engine
        print(f"Processor: {processor()}; {engine} in {precision}; {len(paths):,} training photos")
        for one, other in PAIRS:
            found[f"{named(one)} + {named(other)}"] = found[named(one)].joined(found[named(other)])
        correct = {name: cross_validate(v.vectors, labels) for name, v in found.items()}
        default, before = found[named(DEFAULT)], correct[named(DEFAULT)]
        show([row(name, found[name], correct[name], default, before) for name in found])


if __name__ == "__main__":
    main()
