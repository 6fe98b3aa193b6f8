"""What distorted copies bring and cost: `make bench-augmentation`, or with --image-dir.

Trains with 0, 1 and 4 copies of each training photo, on all training photos and on five a class,
where copies should matter most. The test photos are the same throughout.
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
from pipeline.photos import manifest, split

DISTORTIONS = ("--flip-left-right", "--random-crop", "10", "--random-scale", "10")
DISTORTIONS += ("--random-brightness", "10", "--random-rotation", "10")


def thinned(image_dir: Path, directory: Path, most: int) -> Path:
    """The photos of `image_dir`, but no more than so many of each class for training."""
    rule, taken = split.SplitRule(), defaultdict[str, int](int)
    for row in manifest.list_photos(image_dir).photos.itertuples():
        if split.assign(rule, row.path) == split.TRAINING:
            taken[row.label] += 1
            if taken[row.label] > most:
                continue
        target = directory / row.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image_dir / row.path, target)
    return directory


def measure(image_dir: Path, name: str, copies: int, scratch: Path) -> dict[str, Any]:
    """One row of the table: a whole run, in which only the copies are new."""
    options = ("--augmentations", str(copies), *DISTORTIONS) if copies else ()
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
    parser.add_argument("--image-dir", type=Path, help="photos, else the sample digits")
    parser.add_argument("--copies", type=int, nargs="*", default=[0, 1, 4])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        image_dir = arguments.image_dir or data.tiny(scratch / "digits")
        sets = {"all": image_dir, "5 a class": thinned(image_dir, scratch / "thinned", 5)}
        show([measure(d, n, k, scratch) for n, d in sets.items() for k in arguments.copies])


if __name__ == "__main__":
    main()
