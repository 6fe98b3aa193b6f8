"""Precision and recall of the data checks, on problems inserted into photos.

    python -m benchmarks.quality --image-dir photos

5% of the labels are changed, 20 photos are saved again with another size and quality into another
split, 10 files are truncated, and 10 photographs of something else are added. Findings that the
checks report for the original photos as well do not count as false.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import skimage
from PIL import Image

from pipeline.bottlenecks import reader, writer
from pipeline.bottlenecks.recipe import Recipe
from pipeline.evaluation.data_checks import checks, context, duplicates, files, labels, outliers
from pipeline.modules import engines, preparation
from pipeline.photos import manifest, split
from pipeline.photos.listing import list_photos
from pipeline.photos.split import SplitRule

_FLIPPED, _COPIES, _BROKEN = 0.05, 20, 10
# Photographs of scikit-image.
_FOREIGN = (
    "brick",
    "camera",
    "cell",
    "chelsea",
    "coffee",
    "coins",
    "grass",
    "horse",
    "moon",
    "page",
)


def main() -> None:
    """Print a table with precision and recall of each check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-dir", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        module = preparation.prepare("efficientnet-lite0", work / "modules")
        recipe = Recipe(module, engines.resolve_precision(engines.AUTO), "float16")
        known = {kind: set() for kind in checks.KINDS}
        for row in _check(arguments.image_dir, recipe, work)[0].itertuples():
            known[row.kind].add(row.path)
        planted = _plant(
            arguments.image_dir, work / "photos", np.random.default_rng(arguments.seed)
        )
        found, seconds, count = _check(work / "photos", recipe, work)
    print(f"{count:,} photos checked in {seconds:.1f} s, seed {arguments.seed}")
    print("\n| problem | finding | number | found | precision | recall |\n" + "|---" * 6 + "|")
    for (name, kind), paths in planted.items():
        named = set(found["path"][found["kind"] == kind]) - (known[kind] - paths)
        if kind == duplicates.LEAK:  # a finding lists both photos: count the inserted ones
            groups = found[found["kind"] == kind].groupby("finding")["path"].agg(set)
            named = {min(g & paths, default=min(g)) for g in groups if not g <= known[kind]}
        right = len(named & paths)
        shares = f"{right / max(1, len(named)):.0%} | {right / len(paths):.0%}"
        print(f"| {name} | {kind} | {len(paths)} | {len(named)} | {shares} |")


def _plant(
    source: Path, target: Path, generator: np.random.Generator
) -> dict[tuple[str, str], set[str]]:
    """Copy the photos and insert problems; return the paths by (problem, kind of finding)."""
    shutil.copytree(source, target)
    paths = list_photos(source).photos["path"].to_numpy(str)
    names = sorted({path.split("/")[0] for path in paths})
    chosen = generator.permutation(paths)
    count = round(len(paths) * _FLIPPED)
    flipped, copied, broken = np.split(
        chosen[: count + _COPIES + _BROKEN], [count, count + _COPIES]
    )
    planted: dict[tuple[str, str], set[str]] = {}
    moved = set()
    for path in flipped:
        other = str(generator.choice([name for name in names if name != path.split("/")[0]]))
        to = f"{other}/flipped-{path.rsplit('/', 1)[1]}"
        while split.assign(SplitRule(), to) != split.assign(SplitRule(), path):
            to = f"{other}/{generator.integers(1e9)}.jpg"
        (target / path).rename(target / to)
        moved.add(to)
    planted["wrong labels", labels.LABEL] = moved
    copies = set()
    for path in copied:
        to = path
        while split.assign(SplitRule(), to) == split.assign(SplitRule(), path):
            to = f"{path.split('/')[0]}/{generator.integers(1e9)}.jpg"
        with Image.open(source / path) as image:
            scale = generator.uniform(0.5, 1.5)
            size = (round(image.width * scale), round(image.height * scale))
            changed = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        changed.save(target / to, quality=int(generator.integers(40, 96)))
        copies.add(to)
    planted["saved again, in another split", duplicates.LEAK] = copies
    for number, path in enumerate(broken):
        content = (source / path).read_bytes()
        ways = (content[: len(content) // 2], b"", b"<html>", content[:200] + bytes(500))
        (target / path).write_bytes(ways[number % len(ways)])
    planted["truncated and invalid files", files.UNREADABLE] = set(broken)
    foreign = set()
    for number, name in enumerate(_FOREIGN):
        to = f"{names[number % len(names)]}/foreign-{name}.jpg"
        with Image.open(Path(skimage.__file__).parent / f"data/{name}.png") as image:
            image.convert("RGB").save(target / to)
        foreign.add(to)
    planted["photographs of something else", outliers.OUTLIER] = foreign
    return planted


def _check(image_dir: Path, recipe: Recipe, work: Path) -> tuple[pd.DataFrame, float, int]:
    table = manifest.build(list_photos(image_dir), image_dir, SplitRule())
    manifest.write(table, work / "manifest.parquet")
    listed = manifest.read(work / "manifest.parquet")
    classes = [c for c in manifest.read_summary(work / "manifest.parquet").classes if c.usable]
    usable = listed[listed["status"] == "ok"]
    writer.compute(usable, classes, image_dir, recipe, work / "store")
    folders = [writer.class_directory(work / "store", recipe, c) for c in classes]
    start = time.monotonic()
    parts = [reader.SplitReader(folders, part) for part in split.SPLITS]
    found = checks.run(context.build_context(listed, parts, image_dir, recipe.module))
    return found, time.monotonic() - start, len(usable)


if __name__ == "__main__":
    main()
