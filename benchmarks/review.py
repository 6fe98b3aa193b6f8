"""What a reviewer gains who decides about the first findings, on photos with wrong labels.

    python -m benchmarks.review --image-dir photos

5% of the labels of all photos are changed, also those of validation and test photos. A script
looks at the findings in the order of the review page, and decides by the true labels. The accuracy
is measured on the test photos with their true labels.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.bottlenecks import writer
from pipeline.bottlenecks.reader import SplitReader
from pipeline.bottlenecks.recipe import Recipe
from pipeline.evaluation.data_checks import checks, context, settled
from pipeline.head import training
from pipeline.modules import engines, preparation
from pipeline.photos import corrections, manifest, split
from pipeline.photos.corrections import KEEP, RELABEL, Correction
from pipeline.photos.listing import list_photos
from pipeline.photos.split import SplitRule
from pipeline.review import queue
from pipeline.review.queue import Queue

_FLIPPED = 0.05


@dataclass(frozen=True)
class Run:
    """The photos with some labels, the findings about them, and the accuracy with true labels."""

    photos: pd.DataFrame
    findings: pd.DataFrame
    accuracy: float


def main() -> None:
    """Print the accuracy before and after the review, and how many errors were found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-dir", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--looks", type=int, default=100)
    arguments = parser.parse_args()
    print("| seed | wrong labels | looks | found | accuracy before | after | with true labels |")
    print("|---" * 7 + "|")
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        module = preparation.prepare("efficientnet-lite0", work / "modules")
        recipe = Recipe(module, engines.resolve_precision(engines.AUTO), "float16")
        clean = _run(arguments.image_dir, recipe, work, [])
        truth = clean.photos.set_index("digest")["label"].to_dict()
        for seed in range(arguments.seeds):
            flips = _flips(clean.photos, np.random.default_rng(seed))
            before = _run(arguments.image_dir, recipe, work, flips)
            file = work / f"{seed}.csv"
            found = _review(before, truth, file, arguments.looks)
            after = _run(arguments.image_dir, recipe, work, [*flips, *corrections.read(file)])
            shares = (before.accuracy, after.accuracy, clean.accuracy)
            cells = [seed, len(flips), arguments.looks, found, *(f"{s:.1%}" for s in shares)]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


def _run(image_dir: Path, recipe: Recipe, work: Path, lines: list[Correction]) -> Run:
    table = manifest.build(list_photos(image_dir), image_dir, SplitRule(), corrected=lines)
    listed = table.to_pandas()
    truth = manifest.build(list_photos(image_dir), image_dir, SplitRule()).to_pandas()
    labels = truth.set_index("digest")["label"].to_dict()
    classes = [c for c in manifest.summary_of(table.schema).classes if c.usable]
    usable = listed[listed["status"] == "ok"]
    writer.compute(usable, classes, image_dir, recipe, work / "store")
    folders = [writer.class_directory(work / "store", recipe, c) for c in classes]
    parts = [SplitReader(folders, part) for part in split.SPLITS]
    findings = checks.run(context.build_context(listed, parts, image_dir, recipe.module))
    head, _ = training.train(parts[0].labelled, parts[1].labelled)
    right = []
    for photos in parts[2].batches():
        best = head.probabilities(photos.vectors).argmax(1)
        right += [head.labels[i] == labels[d] for i, d in zip(best, photos.digests, strict=True)]
    return Run(listed, findings, float(np.mean(right)))


def _flips(photos: pd.DataFrame, generator: np.random.Generator) -> list[Correction]:
    """Return lines that give some photos another label."""
    names = sorted(photos["label"].unique())
    chosen = photos.sample(round(len(photos) * _FLIPPED), random_state=generator)
    return [
        Correction(digest, path, RELABEL, str(generator.choice([n for n in names if n != label])))
        for digest, path, label in chosen[["digest", "path", "label"]].to_numpy()
    ]


def _review(run: Run, truth: dict[str, str], file: Path, looks: int) -> int:
    """Decide about the first findings as the truth says, and return how many labels were wrong."""
    review = Queue(list(queue.entries(run.findings, run.photos)), run.photos, file)
    found = looked = 0
    for number, entry in enumerate(review.entries):
        state = review.states()[number]
        if looked == looks:
            break
        if state.settled:
            continue
        looked += 1
        wrong = [i for i, p in enumerate(entry.photos) if truth[p.digest] != p.label]
        found += len(wrong)
        if entry.kind in settled.GROUPS and wrong and len(wrong) < len(entry.photos):
            right = next(i for i in range(len(entry.photos)) if i not in wrong)
            review.decide(number, queue.ONLY, "", right, state)
        elif wrong:
            review.decide(number, RELABEL, truth[entry.photos[wrong[0]].digest], 0, state)
        else:
            review.decide(number, KEEP, "", 0, state)
    return found


if __name__ == "__main__":
    main()
