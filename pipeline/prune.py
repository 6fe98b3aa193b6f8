"""What earlier runs left that nobody needs any more.

Kept are the results of the last runs and every promoted model, and all bottlenecks of a manifest
that is kept: of these runs, and the newest of each folder of photos. Nothing is touched that is
younger than three days: a run that is going on may have made it, or a killed one may need it.
What this project did not write is left alone.
"""

import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline import bottlenecks, history, manifest, promotion, recipe, storage
from pipeline.augmentation import Augmentation
from pipeline.rows import UNREADABLE
from pipeline.vectors import PARTIAL, SHARDS

YOUNG = 3 * 24 * 3600.0  # seconds
_OF_ALL_CLASSES = (PARTIAL, SHARDS, "rejected.json")
_OURS = re.compile(r"[0-9a-f]{12}(\.parquet)?")  # a digest, as storage.digest makes them


@dataclass(frozen=True)
class Leftover:
    """A file or folder that can go, and its size in bytes."""

    path: Path
    size: int


def find(output_dir: Path, keep: int, now: float | None = None) -> list[Leftover]:
    """Look for what can go; deletes nothing.

    Args:
        output_dir: that the pipeline writes to.
        keep: how many runs to keep, counted from the last one.
        now: time, in seconds since 1970.
    """
    before = (time.time() if now is None else now) - YOUNG
    found = (path for path in _unneeded(output_dir, keep, before) if _changed(path) < before)
    return [Leftover(path, size(path)) for path in found]


def delete(leftovers: list[Leftover]) -> None:
    """Delete what `find` found. Folders are renamed first: no reader sees half of one."""
    for leftover in leftovers:
        path = leftover.path
        if path.is_dir() and not path.is_symlink():
            if not storage.is_temporary(path):
                path = path.rename(storage.temporary(path))
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; others may be at work in it."""
    if not path.is_dir():
        return path.lstat().st_size
    total = 0
    for folder, _, files in os.walk(path):  # which passes over folders that are gone meanwhile
        for name in files:
            with suppress(FileNotFoundError):
                total += Path(folder, name).lstat().st_size
    return total


def remarks(leftovers: list[Leftover], deleted: bool) -> Iterator[str]:
    """What a user should know of a clean-up: a line for each folder that something goes from."""
    if not leftovers:
        yield (
            "Nothing can go: the results of the last runs (keep), promoted models, what their "
            "photos need and whatever is younger than three days stay"
        )
        return
    total = sum(leftover.size for leftover in leftovers)
    what = "Deleted" if deleted else "Would delete"
    yield f"{what}: {len(leftovers):,} results of earlier runs, {total / 1e6:,.1f} MB in all"
    for home in sorted({leftover.path.parent for leftover in leftovers}):
        of = [leftover for leftover in leftovers if leftover.path.parent == home]
        yield f"{what}: {len(of):,} in {home}, {sum(o.size for o in of) / 1e6:,.1f} MB"


def _unneeded(output_dir: Path, keep: int, before: float) -> Iterator[Path]:
    kept = [night for night in history.nights(output_dir) if night.model][-keep:]
    promoted = {move.model for move in history.promotions(output_dir)}
    current = promotion.current(output_dir)
    models = {night.model for night in kept} | promoted | {current.name if current else ""}
    manifests = {night.manifest for night in kept} | _newest(output_dir / "manifests", before)
    needed = {
        "models": models,
        "evaluations": {night.evaluation for night in kept},
        "heads": {night.head for night in kept},
        "manifests": manifests,
    }
    for folder, names in needed.items():
        for path in (output_dir / folder).glob("*"):
            if path.name not in names and (
                _OURS.fullmatch(path.name) or storage.is_temporary(path)
            ):
                yield path
    copies = {Augmentation(), *_copies(output_dir / "models" / name for name in models if name)}
    classes = {
        bottlenecks.class_name(of_class, how)
        for name in manifests
        for of_class in _classes(output_dir / "manifests" / name)
        for how in copies
    }
    for home in (output_dir / "bottlenecks").glob("*"):
        for path in home.glob("*"):
            if path.name not in classes and path.name not in _OF_ALL_CLASSES:
                yield path
        yield from (home / PARTIAL).glob("*")
        yield from (home / SHARDS).glob("*")


def _newest(manifests: Path, before: float) -> set[str]:
    """The latest manifest of each folder of photos, and all that are young."""
    names: dict[str, str] = {}
    young = set()
    for path in sorted(manifests.glob("[!.]*.parquet"), key=_changed):
        try:
            names[manifest.image_dir(path)] = path.name
        except (*UNREADABLE, KeyError):  # damaged, or not ours
            continue
        if _changed(path) >= before:
            young.add(path.name)
    return young | set(names.values())


def _classes(path: Path) -> tuple[manifest.ClassSummary, ...]:
    return manifest.read_summary(path).classes if path.exists() else ()


def _copies(models: Iterable[Path]) -> Iterator[Augmentation]:
    """The distorted copies of photos that models were trained on."""
    for model in models:
        path = model / "recipe.json"
        if path.exists():
            yield recipe.read(path).augmentation


def _changed(path: Path) -> float:
    return path.lstat().st_mtime
