"""What earlier runs left that nobody needs any more.

Kept are the results of the last runs and every promoted model, and all bottlenecks of a manifest
that is kept: of these runs, and the newest of each folder of photos. Nothing is touched that is
younger than three days: a run that is going on may have made it, or a killed one may need it.
What this project did not write is left alone.
"""

import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.bottlenecks import writer
from pipeline.bottlenecks.cache import PARTIAL, SHARDS
from pipeline.errors import UserError
from pipeline.files import atomic, output_store
from pipeline.files.damage import UNREADABLE, reraise_system_errors
from pipeline.files.output_store import Mirror
from pipeline.nightly import current_model, history, shared_state
from pipeline.photos import manifest
from pipeline.photos.augmentation import Augmentation

YOUNG = 3 * 24 * 3600.0  # seconds
_OF_ALL_CLASSES = (PARTIAL, SHARDS, "rejected.json")
# A digest, as storage.digest makes them; and what a step keeps that was stopped.
_OURS = re.compile(r"(\.unfinished-)?[0-9a-f]{12}(\.parquet)?|\.[0-9a-f]{12}\.unfinished\.npz")


@dataclass(frozen=True)
class Leftover:
    """A file or folder that can go, its size in bytes, and the store that it is in as well."""

    path: Path
    size: int
    store: Mirror | None = None

    @property
    def where(self) -> str:
        """The folder that it is in, as people know it."""
        home = self.path.parent
        return self.store.address(home) if self.store else str(home)


def find(output_dir: Path, keep: int, now: float | None = None) -> list[Leftover]:
    """Look for what can go; deletes nothing.

    Args:
        output_dir: that the pipeline writes to.
        keep: how many runs to keep, counted from the last one.
        now: time, in seconds since 1970.
    """
    before = (time.time() if now is None else now) - YOUNG
    store = output_store.of(output_dir)
    if store:  # the history and the manifests say what is needed
        shared_state.pull(output_dir)
        manifests = output_dir / "manifests"
        store.fetch([manifests / name for name in store.entries(manifests)])
    found = {
        path: changed
        for path, changed in _unneeded(output_dir, keep, before, store)
        if changed < before
    }
    return [Leftover(path, _size(path, store), store) for path in found]


def delete(leftovers: list[Leftover]) -> None:
    """Delete what `find` found. Folders are renamed first: no reader sees half of one."""
    for leftover in leftovers:
        path = leftover.path
        if leftover.store:
            leftover.store.remove(path)
        if path.is_dir() and not path.is_symlink():
            if not atomic.is_temporary(path):
                path = path.rename(atomic.temporary(path))
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


def summary_lines(leftovers: list[Leftover], deleted: bool) -> Iterator[str]:
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
    for where in sorted({leftover.where for leftover in leftovers}):
        of = [leftover for leftover in leftovers if leftover.where == where]
        yield f"{what}: {len(of):,} in {where}, {sum(o.size for o in of) / 1e6:,.1f} MB"


def _unneeded(
    output_dir: Path, keep: int, before: float, store: Mirror | None
) -> Iterator[tuple[Path, float]]:
    """Paths, and when they were changed."""
    kept = [night for night in history.nights(output_dir) if night.model][-keep:]
    promoted = {move.model for move in history.promotions(output_dir)}
    current = current_model.get(output_dir)
    models = {night.model for night in kept} | promoted | {current.name if current else ""}
    manifests = {night.manifest for night in kept} | _newest(output_dir / "manifests", before)
    needed = {
        "models": models,
        "evaluations": {night.evaluation for night in kept},
        "heads": {night.head for night in kept},
        "manifests": manifests,
    }
    for folder, names in needed.items():
        for path, changed in _inside(output_dir / folder, store):
            if path.name not in names and (_OURS.fullmatch(path.name) or atomic.is_temporary(path)):
                yield path, changed
    of_models = [output_dir / "models" / name for name in models if name]
    copies = {Augmentation(), *_copies(of_models, store)}
    classes = {
        writer.class_name(of_class, how)
        for name in manifests
        for of_class in _classes(output_dir / "manifests" / name)
        for how in copies
    }
    bottleneck_dir = output_dir / "bottlenecks"
    homes = set(bottleneck_dir.glob("*"))
    if store:
        homes |= {bottleneck_dir / name for name in store.folders(bottleneck_dir)}
    for home in homes:
        for path, changed in _inside(home, store):
            if path.name not in classes and path.name not in _OF_ALL_CLASSES:
                yield path, changed
        yield from _inside(home / PARTIAL, None)
        yield from _inside(home / SHARDS, store)


def _inside(folder: Path, store: Mirror | None) -> Iterator[tuple[Path, float]]:
    """What is in a folder, here or in the store, and when it was changed."""
    found = {path: _changed(path) for path in folder.glob("*")}
    if store:
        found |= {folder / name: e.modified for name, e in store.entries(folder).items()}
        found |= {folder / name: store.age(folder / name) for name in store.folders(folder)}
    yield from found.items()


def _size(path: Path, store: Mirror | None) -> int:
    return store.size(path) if store and not path.exists() else size(path)


def _newest(manifests: Path, before: float) -> set[str]:
    """The latest manifest of each folder of photos, and all that are young."""
    names: dict[str, str] = {}
    young = set()
    for path in sorted(manifests.glob("[!.]*.parquet"), key=_changed):
        try:
            names[manifest.image_dir(path)] = path.name
        except UNREADABLE:  # damaged, or not ours
            continue
        if _changed(path) >= before:
            young.add(path.name)
    return young | set(names.values())


def _classes(path: Path) -> tuple[manifest.ClassSummary, ...]:
    try:
        return manifest.read_summary(path).classes if path.exists() else ()
    except UNREADABLE as error:
        reraise_system_errors(error)
        raise UserError(
            f"{path} is damaged, so that nobody knows what its photos need; delete it, run the "
            "pipeline, and prune again"
        ) from None


def _copies(models: Iterable[Path], store: Mirror | None) -> Iterator[Augmentation]:
    """The distorted copies of photos that models were trained on."""
    for model in models:
        path = model / "recipe.json"
        content = path.read_bytes() if path.exists() else store.read(path) if store else None
        if content:
            yield Augmentation(**json.loads(content)["augmentation"])


def _changed(path: Path) -> float:
    return path.lstat().st_mtime
