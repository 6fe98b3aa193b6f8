"""What fine-tuning gains: `make bench-fine-tuning-accuracy IMAGE_DIRS="folder ..."`.

Runs the whole pipeline with and without fine-tuning, on scanned digits and the given photos, with
all of them and with few photos per class, and compares both models on the same test photos. These
are a fifth of the data set, as a tenth, the default, would show only large differences; also where
few photos per class are left for training and validation, a fifth of which are for validation.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import data
from benchmarks.accuracy import list_split, paired_difference
from benchmarks.bottlenecks import processor, show
from pipeline.fine_tuning.result import RECORD
from pipeline.nightly.tuning_plan import FOLDER
from pipeline.photos import split

_VALIDATION = 0.2  # of few photos
_RULE = split.SplitRule(testing_percentage=20)


def few(image_dir: Path, directory: Path, each: int) -> Path:
    """Copy `each` photos per class for training and validation, and all test photos."""
    photos = list_split(image_dir, _RULE)
    validation = max(1, round(_VALIDATION * each))
    wanted = {split.TRAINING: each - validation, split.VALIDATION: validation}
    for (_, name), group in photos.groupby(["label", "split"]):
        for path in group["path"].head(wanted.get(name, len(group))):
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(image_dir / path, target)
    return directory


def run(image_dir: Path, out: Path, *options: str) -> pd.Series:
    """Export a model; return which test photos it classifies correctly, by path."""
    command = (sys.executable, "-m", "tasks", "ExportModel", "--image-dir", image_dir)
    where = ("--output-dir", out, "--log-level", "WARNING")
    test = ("--testing-percentage", str(_RULE.testing_percentage))
    subprocess.run([*command, *where, *test, *options], check=True, stdout=subprocess.DEVNULL)
    predictions = pd.read_parquet(out / "current" / "predictions.parquet")
    correct: pd.Series = predictions.set_index("path")["correct"]
    return correct


def row(image_dir: Path, each: int, module: str, epochs: int, scratch: Path) -> dict[str, Any]:
    """Return a row of the table."""
    photos = few(image_dir, scratch / "few", each) if each else image_dir
    out = scratch / "out"
    frozen = run(photos, out, "--tfhub-module", module)
    tuned = run(photos, out, "--tfhub-module", module, "--fine-tune-epochs", str(epochs))
    (path,) = out.glob(f"{FOLDER}/*/{RECORD}")
    record = json.loads(path.read_text())
    verdict, seconds = record["verdict"], sum(epoch["seconds"] for epoch in record["epochs"])
    difference, p_value = paired_difference(
        tuned.to_numpy(bool), frozen.reindex(tuned.index).to_numpy(bool)
    )
    before, after = verdict["frozen_accuracy"], verdict["tuned_accuracy"]
    return {
        "photos": image_dir.name,
        "per class": each or "all",
        "module": module,
        "training photos": record["photos"],
        "validation, %": f"{100 * before:.1f} to {100 * after:.1f} of {verdict['photos']}",
        "result": "fine-tuned" if verdict["better"] else "frozen",
        "test, frozen, %": 100 * frozen.mean(),
        "fine-tuned, %": 100 * tuned.mean(),
        "difference": f"{difference} of {len(tuned)}",
        "p": p_value,
        "minutes": seconds / 60,
        "photos/s": record["photos"] * len(record["epochs"]) / seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what fine-tuning gains.")
    parser.add_argument("--image-dirs", type=Path, nargs="*", default=[])
    parser.add_argument("--each", type=int, nargs="*", default=[0, 20, 5], help="0: all photos")
    parser.add_argument("--modules", nargs="*", default=["efficientnet-lite0"])
    parser.add_argument("--epochs", type=int, default=8)
    arguments = parser.parse_args()
    print(f"Processor: {processor()}; {arguments.epochs} epochs", flush=True)
    os.environ["TQDM_DISABLE"] = "1"
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        digits = data.tiny(Path(temporary) / "digits")
        for module in arguments.modules:
            for image_dir in (digits, *arguments.image_dirs):
                for each in arguments.each:
                    with tempfile.TemporaryDirectory() as scratch:
                        rows.append(row(image_dir, each, module, arguments.epochs, Path(scratch)))
                    print(rows[-1], file=sys.stderr, flush=True)
    show(rows)


if __name__ == "__main__":
    main()
