"""Pruning: find and delete the results of earlier runs that nothing needs any more.

Kept are the results of the last runs, every promoted model, and all bottlenecks of a manifest that
is kept: those of these runs and the newest of each image folder. Of the vectors of unknown photos,
the last are kept. Anything younger than three days
stays: a run in progress may have made it, or a killed one may need it. Files that this project did
not write are left alone.
"""

import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.bottlenecks import recipe, writer
from pipeline.bottlenecks.cache import PARTIAL, SHARDS
from pipeline.bottlenecks.recipe import Recipe
from pipeline.errors import UserError
from pipeline.files import atomic, output_store
from pipeline.files.damage import UNREADABLE, reraise_system_errors
from pipeline.files.output_store import OutputStore
from pipeline.fine_tuning import result as tuning_result
from pipeline.modules import loading
from pipeline.nightly import current_model, history, shared_state, tuning_plan
from pipeline.photos import manifest
from pipeline.pixels.augmentation import Augmentation

MINIMUM_AGE = 3 * 24 * 3600.0  # seconds
_SHARED_BY_CLASSES = (PARTIAL, SHARDS, "rejected.json")
# A digest, as naming.digest makes them, or what a step keeps that was stopped.
_RESULT_NAME = re.compile(
    r"(\.unfinished-)?[0-9a-f]{12}(\.parquet)?|\.[0-9a-f]{12}\.unfinished\.npz"
)


@dataclass(frozen=True)
class Leftover:
    """A file or folder that can be deleted.

    Attributes:
        path: its local path, whether or not there is a local copy.
        size: bytes.
        location: path or URL of the folder that it is in.
    """

    path: Path
    size: int
    location: str


def find(output_dir: Path, keep: int, now: float | None = None) -> list[Leftover]:
    """Find what can be deleted, without deleting anything.

    Args:
        output_dir: the output folder.
        keep: number of runs to keep, counted from the last one.
        now: time in seconds since 1970; None is the present.
    """
    before = (time.time() if now is None else now) - MINIMUM_AGE
    store = output_store.open_store(output_dir)
    shared_state.pull(output_dir)  # the history and the manifests say what is needed
    manifests = output_dir / "manifests"
    store.fetch([manifests / name for name in store.entries(manifests)])
    # A path may occur twice: the last entry counts.
    modified = dict(_unneeded(output_dir, keep, before, store))
    paths = [path for path, time_ in modified.items() if time_ < before]
    return [Leftover(path, store.size(path), store.address(path.parent)) for path in paths]


def delete(output_dir: Path, leftovers: list[Leftover]) -> None:
    """Delete what `find` returned. Folders are renamed first, so no reader sees half of one."""
    store = output_store.open_store(output_dir)
    for path in (leftover.path for leftover in leftovers):
        store.remove(path)
        if path.is_dir() and not path.is_symlink():
            if not atomic.is_temporary(path):
                path = path.rename(atomic.temporary(path))
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def summary_lines(leftovers: list[Leftover], deleted: bool) -> Iterator[str]:
    """Describe what was found or deleted: one line in all, and one for each folder."""
    if not leftovers:
        yield (
            "Nothing to delete. Kept: the results of the last runs (option keep), promoted models, "
            "the bottlenecks of their photos, and everything younger than three days"
        )
        return
    verb = "Deleted" if deleted else "Would delete"
    yield f"{verb}: {len(leftovers):,} results of earlier runs, {_megabytes(leftovers)} in all"
    for location in sorted({leftover.location for leftover in leftovers}):
        there = [leftover for leftover in leftovers if leftover.location == location]
        yield f"{verb}: {len(there):,} in {location}, {_megabytes(there)}"


def _megabytes(leftovers: list[Leftover]) -> str:
    return f"{sum(leftover.size for leftover in leftovers) / 1e6:,.1f} MB"


def _unneeded(
    output_dir: Path, keep: int, before: float, store: OutputStore
) -> Iterator[tuple[Path, float]]:
    """Yield the paths that nothing needs, with their modification times."""
    kept = [night for night in history.nights(output_dir) if night.model][-keep:]
    promoted = {move.model for move in history.promotions(output_dir)}
    current = current_model.get(output_dir)
    models = {night.model for night in kept} | promoted | {current.name if current else ""}
    manifests = {night.manifest for night in kept} | _newest(output_dir / "manifests", before)
    recipes = list(_recipes((output_dir / "models" / name for name in models if name), store))
    tuned = {Path(r.module.directory).parent.name for r in recipes}
    tuned |= {Path(night.module).parent.name for night in kept} | _unsuccessful(output_dir)
    needed = {
        "models": models,
        "evaluations": {night.evaluation for night in kept},
        "heads": {night.head for night in kept},
        "manifests": manifests,
        tuning_plan.FOLDER: tuned,
        "unknown": _last(output_dir / "unknown", store),
    }
    for folder, names in needed.items():
        for path, modified in _contents(output_dir / folder, store):
            is_ours = _RESULT_NAME.fullmatch(path.name) or atomic.is_temporary(path)
            if is_ours and path.name not in names:
                yield path, modified
    yield from _of_tuned_modules(output_dir, tuned)
    augmentations = {Augmentation(), *(r.augmentation for r in recipes)}
    yield from _unneeded_bottlenecks(output_dir, augmentations, manifests, store)


def _unsuccessful(output_dir: Path) -> set[str]:
    """Return the results of fine-tuning that contain no module: small, and dear to make again."""
    results = (output_dir / tuning_plan.FOLDER).glob("[!.]*/")
    return {result.name for result in results if tuning_result.module_in(result) is None}


def _of_tuned_modules(output_dir: Path, tuned: set[str]) -> Iterator[tuple[Path, float]]:
    """Yield the description, the frozen graph and all vectors of fine-tuned modules not in use."""
    for path in (output_dir / "modules").glob("*.json"):
        with suppress(OSError, ValueError, TypeError):
            module = loading.read(path)
            result = tuning_plan.folder(output_dir, module)
            if result is None or result.name in tuned:
                continue
            vectors = recipe.directories(module, output_dir / "bottlenecks")
            for leftover in (path, path.with_suffix(".pb"), *vectors):
                if leftover.exists():
                    yield leftover, _modified(leftover)


def _unneeded_bottlenecks(
    output_dir: Path, augmentations: set[Augmentation], manifests: set[str], store: OutputStore
) -> Iterator[tuple[Path, float]]:
    classes = {
        writer.class_name(class_summary, augmentation)
        for name in manifests
        for class_summary in _classes(output_dir / "manifests" / name)
        for augmentation in augmentations
    }
    bottlenecks = output_dir / "bottlenecks"
    recipe_dirs = set(bottlenecks.glob("*"))
    recipe_dirs |= {bottlenecks / name for name in store.incomplete(bottlenecks)}
    for recipe_dir in recipe_dirs:
        for path, modified in _contents(recipe_dir, store):
            if path.name not in classes and path.name not in _SHARED_BY_CLASSES:
                yield path, modified
        yield from ((path, _modified(path)) for path in (recipe_dir / PARTIAL).glob("*"))
        yield from _contents(recipe_dir / SHARDS, store)


def _contents(folder: Path, store: OutputStore) -> Iterator[tuple[Path, float]]:
    """Yield what a folder holds, locally or in the object store, with modification times."""
    found = {path: _modified(path) for path in folder.glob("*")}
    found |= {folder / name: entry.modified for name, entry in store.entries(folder).items()}
    for path in (folder / name for name in store.incomplete(folder)):
        found[path] = store.modified(path)
    yield from found.items()


def _last(folder: Path, store: OutputStore) -> set[str]:
    """Return the name of the last result in a folder; empty if there is none."""
    modified = {path.name: at for path, at in _contents(folder, store)}
    results = [name for name in modified if _RESULT_NAME.fullmatch(name)]
    return set(sorted(results, key=modified.__getitem__)[-1:])


def _newest(manifests: Path, before: float) -> set[str]:
    """Return the newest manifest of each image folder, and all that are younger than `before`."""
    names: dict[str, str] = {}
    young = set()
    for path in sorted(manifests.glob("[!.]*.parquet"), key=_modified):
        try:
            names[manifest.image_dir(path)] = path.name
        except UNREADABLE:  # damaged, or not a manifest
            continue
        if _modified(path) >= before:
            young.add(path.name)
    return young | set(names.values())


def _classes(path: Path) -> tuple[manifest.ClassSummary, ...]:
    try:
        return manifest.read_summary(path).classes if path.exists() else ()
    except UNREADABLE as error:
        reraise_system_errors(error)
        raise UserError(
            f"{path} is damaged, so the bottlenecks that its photos need are unknown; delete it, "
            "run the pipeline, and prune again"
        ) from None


def _recipes(models: Iterable[Path], store: OutputStore) -> Iterator[Recipe]:
    """Yield the recipes of models."""
    for model in models:
        path = model / recipe.FILE
        content = path.read_bytes() if path.exists() else store.read(path)
        if content:
            yield recipe.parse(content)


def _modified(path: Path) -> float:
    return path.lstat().st_mtime
