"""Gain and cost of data augmentation: `make bench-augmentation IMAGE_DIR=photos`.

Trains with 0, 1 and 4 augmented copies of each training photo, on all training photos and on five
per class, where copies should help most. The test photos are always the same.
"""

import argparse
import json
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks import data
from benchmarks.bottlenecks import pipeline_run, show
from pipeline.photos import split
from pipeline.photos.listing import list_photos

OPTIONS = (
    *("--flip-left-right", "--random-crop", "10", "--random-scale", "10"),
    *("--random-brightness", "10", "--random-rotation", "10"),
)


def sample_classes(image_dir: Path, directory: Path, most: int) -> Path:
    """Copy `image_dir`, with at most `most` training photos per class."""
    rule, taken = split.SplitRule(), defaultdict[str, int](int)
    for row in list_photos(image_dir).photos.itertuples():
        if split.assign(rule, row.path) == split.TRAINING:
            taken[row.label] += 1
            if taken[row.label] > most:
                continue
        target = directory / row.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image_dir / row.path, target)
    return directory


def measure(image_dir: Path, name: str, copies: int, scratch: Path) -> dict[str, Any]:
    """Measure one run that computes only the augmented copies; return a row of the table."""
    options = ("--augmentations", str(copies), *OPTIONS) if copies else ()
    seconds, _ = pipeline_run(image_dir, scratch / name, "ExportModel", *options)
    figures = json.loads((scratch / name / "current/evaluation.json").read_text())
    return {
        "training photos": name,
        "copies": copies,
        "run, s": seconds,
        "top-1, %": 100 * figures["top1"],
        "test photos": figures["count"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure augmentation.")
    parser.add_argument("--image-dir", type=Path, help="photos (default: scanned digits)")
    parser.add_argument("--copies", type=int, nargs="*", default=[0, 1, 4])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        image_dir = arguments.image_dir or data.tiny(scratch / "digits")
        sets = {"all": image_dir, "5 a class": sample_classes(image_dir, scratch / "thinned", 5)}
        show([measure(d, n, k, scratch) for n, d in sets.items() for k in arguments.copies])


if __name__ == "__main__":
    main()
