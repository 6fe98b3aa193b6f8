"""What fine-tuning gains: `make bench-fine-tuning-accuracy IMAGE_DIRS="folder ..."`.

Runs the whole pipeline with and without fine-tuning, on scanned digits and the given photos, with
all of them and with few photos per class, and compares both models on the same test photos. These
are a fifth of each data set, because a tenth, the default, would show only large differences.
`--folds` repeats this with other test photos, and pools the results. Of few photos per class, a
fifth are for validation.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import data
from benchmarks.accuracy import paired_difference
from benchmarks.bottlenecks import processor, show
from pipeline.fine_tuning import result
from pipeline.fine_tuning.result import RECORD, Record
from pipeline.nightly.tuning_plan import FOLDER
from pipeline.photos import split
from pipeline.photos.listing import list_photos

_VALIDATION = 0.2  # of few photos
_FOLDS = 4  # of a fifth of the photos each; no test photo validates in another fold


def list_fold(image_dir: Path, fold: int) -> pd.DataFrame:
    """Return the photos of a folder; those of the fold are for testing, a tenth for validation."""
    photos = list_photos(image_dir).photos
    hashed = photos["path"].map(lambda path: split.hash_percentage(PurePath(path).name))
    first = 10 + 20 * fold
    parts = pd.Series(split.TRAINING, photos.index)
    parts[hashed < 10] = split.VALIDATION
    parts[(hashed >= first) & (hashed < first + 20)] = split.TESTING
    return photos.assign(split=parts)


def few(image_dir: Path, photos: pd.DataFrame, each: int, directory: Path) -> Path:
    """Copy `each` photos per class for training and validation, and all test photos."""
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
    subprocess.run([*command, *where, *options], check=True, stdout=subprocess.DEVNULL)
    predictions = pd.read_parquet(out / "current" / "predictions.parquet")
    correct: pd.Series = predictions.set_index("path")["correct"]
    return correct


def compare(
    image_dir: Path, fold: int, each: int, module: str, epochs: int, scratch: Path
) -> tuple[pd.DataFrame, Record]:
    """Return which test photos are correct, with columns frozen and tuned, and the record."""
    listed = list_fold(image_dir, fold)
    lists = scratch / "lists"
    lists.mkdir()
    tested = listed.loc[listed["split"] == split.TESTING, "path"]
    (lists / "test.txt").write_text("\n".join(tested) + "\n", encoding="utf-8")
    photos = few(image_dir, listed, each, scratch / "few") if each else image_dir
    options = ("--tfhub-module", module, "--split-file", str(lists))
    out = scratch / "out"
    frozen = run(photos, out, *options)
    tuned = run(photos, out, *options, "--fine-tune-epochs", str(epochs))
    (path,) = out.glob(f"{FOLDER}/*/{RECORD}")
    record = result.read(path.parent)
    assert record
    return pd.DataFrame({"frozen": frozen, "tuned": tuned}).astype(bool), record


def row(image_dir: Path, each: int, module: str, epochs: int, folds: int) -> dict[str, Any]:
    """Return a row of the table."""
    pairs = []
    for fold in range(folds):
        with tempfile.TemporaryDirectory() as scratch:
            pairs.append(compare(image_dir, fold, each, module, epochs, Path(scratch)))
        print(pairs[-1][0].mean(), pairs[-1][1].summary, file=sys.stderr, flush=True)
    correct, records = pd.concat([pair[0] for pair in pairs]), [pair[1] for pair in pairs]
    difference, p_value = paired_difference(
        correct["tuned"].to_numpy(), correct["frozen"].to_numpy()
    )
    verdicts = [record.verdict for record in records]
    before, after = (
        np.mean([getattr(v, name) for v in verdicts])
        for name in ("frozen_accuracy", "tuned_accuracy")
    )
    passes = [len(record.epochs) * record.photos for record in records]
    seconds = sum(epoch.seconds for record in records for epoch in record.epochs)
    return {
        "photos": image_dir.name,
        "per class": each or "all",
        "module": module,
        "training photos": round(np.mean([record.photos for record in records])),
        "validation, %": f"{100 * before:.1f} to {100 * after:.1f} of {verdicts[0].photos}",
        "fine-tuned": f"{sum(v.better for v in verdicts)} of {folds}",
        "test, frozen, %": 100 * correct["frozen"].mean(),
        "after, %": 100 * correct["tuned"].mean(),
        "difference": f"{difference} of {len(correct)}",
        "p": p_value,
        "minutes": seconds / 60 / folds,
        "photos/s": sum(passes) / seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what fine-tuning gains.")
    parser.add_argument("--image-dirs", type=Path, nargs="*", default=[])
    parser.add_argument("--each", type=int, nargs="*", default=[0, 20, 5], help="0: all photos")
    parser.add_argument("--modules", nargs="*", default=["efficientnet-lite0"])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--folds", type=int, default=1, choices=range(1, _FOLDS + 1))
    arguments = parser.parse_args()
    print(f"Processor: {processor()}; {arguments.epochs} epochs", flush=True)
    os.environ["TQDM_DISABLE"] = "1"
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        digits = data.tiny(Path(temporary) / "digits")
        for module in arguments.modules:
            for image_dir in (digits, *arguments.image_dirs):
                for each in arguments.each:
                    rows.append(row(image_dir, each, module, arguments.epochs, arguments.folds))
                    print(rows[-1], file=sys.stderr, flush=True)
    show(rows)


if __name__ == "__main__":
    main()
