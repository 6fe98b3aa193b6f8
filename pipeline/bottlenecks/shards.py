"""Shards: missing vectors, divided into lists that workers process one by one.

The folder of a recipe contains, for one data set,

    shards/<digest>/todo/00000.parquet   the photos of a shard; all lists are written at once
    shards/<digest>/00000.parquet        the vectors of a complete shard

One search of the cache finds the missing vectors. Each of them is in exactly one list, even if
several photos are identical. Lists follow the order of the manifest, so that the vectors of a class
are in few shards. The folder is deleted once all classes are complete.
"""

import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.bottlenecks import cache, writer
from pipeline.bottlenecks.cache import PARTIAL, SHARDS, DamagedError, VectorCache
from pipeline.bottlenecks.extraction import Batch
from pipeline.bottlenecks.reader import move_to_journal
from pipeline.bottlenecks.recipe import Recipe
from pipeline.bottlenecks.writer import JOURNAL_ROWS, Counts
from pipeline.errors import LostError, UserError
from pipeline.files import atomic, naming
from pipeline.files.damage import UNREADABLE, reraise_system_errors
from pipeline.files.places import Place
from pipeline.pixels.augmentation import Augmentation
from pipeline.progress import Progress, silent

WINDOW = 100  # shards whose lists are in memory at once
_COLUMNS = ["path", "size", "mtime_ns", "digest", "variant", "key"]


def max_shards(photos: int, augmentation: Augmentation, shard_size: int) -> int:
    """Return the maximum number of shards, before the missing vectors are known.

    Raises:
        UserError: if `shard_size` is not positive.
    """
    if shard_size < 1:
        raise UserError(f"shard_size is {shard_size}; it must be 1 or more")
    return math.ceil(photos * (1 + augmentation.augmentations) / shard_size)


def directory(root: Path, recipe: Recipe, manifest: str, shard_size: int) -> Path:
    """Return the folder of a data set's shards, by the name of its manifest.

    That name, like the lists, depends on the photos' modification times: with lists of photos that
    were touched since, every photo would be refused.
    """
    augmentation = recipe.augmentation
    made_of = (manifest, augmentation.augmentations, augmentation.key, shard_size)
    return recipe.directory(root) / SHARDS / naming.digest(*made_of)


def todo(shards: Path) -> Path:
    """Return the folder of the lists, which exists once the work is divided."""
    return shards / "todo"


def file(directory: Path, number: int) -> Path:
    """Return the file of a shard's vectors or, in the folder `todo`, its list of photos."""
    return directory / f"{number:05}.parquet"


def divide(
    rows: pd.DataFrame, recipe: Recipe, root: Path, shards: Path, shard_size: int
) -> tuple[int, list[Path]]:
    """Find the vectors that are not cached, and write the lists.

    Args:
        rows: the manifest's usable rows of the incomplete classes.
        recipe: how vectors are made.
        root: folder of all bottlenecks.
        shards: the folder that `directory` returns.
        shard_size: vectors per shard.

    Returns:
        The number of missing vectors, and the damaged files that were deleted.
    """
    home = recipe.directory(root)
    unique = cache.with_copies(rows, recipe).drop_duplicates("key", ignore_index=True)
    found = VectorCache.find(cache.files(home), pd.Index(unique["key"]))
    rejected = cache.read_notes(home)
    missing = unique[(found.file < 0) & ~cache.is_rejected(unique, rejected)]
    with atomic.write(todo(shards)) as temporary:
        temporary.mkdir()
        for number, start in enumerate(range(0, len(missing), shard_size)):
            photos = missing.iloc[start : start + shard_size]
            photos[_COLUMNS].to_parquet(file(temporary, number), index=False)
    return len(missing), found.damaged


def _read_list(shards: Path, number: int) -> pd.DataFrame:
    """Return the photos of a shard.

    Raises:
        LostError: if the list is damaged or missing; all lists are deleted, but computed vectors
            are kept.
    """
    path = file(todo(shards), number)
    try:
        return pd.read_parquet(path)
    except UNREADABLE as error:
        reraise_system_errors(error)
        move_to_journal(shards, shards.parent.parent)
        shutil.rmtree(shards, ignore_errors=True)  # another worker may do the same
        raise LostError(f"{path} is damaged or missing; run again") from None


def _newer_files(shards: Path) -> Iterator[Path]:
    """Yield files with vectors that are newer than the lists, and the journal."""
    divided = todo(shards).stat().st_mtime_ns
    for path in cache.files(shards.parent.parent):
        journal = path.parent.name == PARTIAL
        if journal or (path.parent != shards and cache.modified_at(path) >= divided):
            yield path


def compute(
    shards: Path, number: int, image_dir: Place, recipe: Recipe, progress: Progress = silent
) -> Counts:
    """Compute the vectors of one shard, except those that have been cached in the meantime.

    Raises:
        UserError: as `writer.compute`.
    """
    home = shards.parent.parent
    (home / PARTIAL).mkdir(exist_ok=True)
    missing = _read_list(shards, number)
    list_files = partial(_newer_files, shards)
    computed, damaged = 0, list[Path]()
    while True:
        found, new = writer.ensure_cached(missing, list_files, image_dir, recipe, home, progress)
        computed += new
        damaged += found.damaged
        try:
            have, matrix = found.take(np.arange(len(missing)), recipe)
            break
        except DamagedError as error:
            damaged += filter(cache.delete_damaged, [error.path])
    done = missing[have]
    digests, variants = done["digest"].to_numpy(object), done["variant"].to_numpy()
    cache.write(file(shards, number), digests, variants, matrix, recipe)
    cache.clear_journal(home, found.needed)
    rejected = cache.read_notes(home)
    lost = missing[~have & (missing["variant"] == 0)]
    return Counts(
        computed=computed,
        reused=len(done) - computed,
        rejected=dict(zip(lost["path"], lost["digest"].map(rejected), strict=True)),
        damaged=damaged,
    )


def compute_all(
    shards: Path,
    numbers: list[int],
    image_dir: Place,
    recipe: Recipe,
    extract: Callable[..., Iterator[Batch]],
    progress: Progress = silent,
) -> Counts:
    """Compute the vectors of many shards at once, and write each shard once it is complete.

    Args:
        shards: the folder that `directory` returns.
        numbers: the numbers of the shards.
        image_dir: folder that the paths of the photos are relative to.
        recipe: how to make vectors.
        extract: function such as `extraction.extract`; it may return photos in any order.
        progress: counts the photos that the module has processed.

    Raises:
        UserError: as `writer.compute`. Vectors computed so far are kept.
    """
    home = shards.parent.parent
    (home / PARTIAL).mkdir(exist_ok=True)
    total = Counts()
    for start in range(0, len(numbers), WINDOW):
        window = numbers[start : start + WINDOW]
        lists = [_read_list(shards, number).assign(shard=number) for number in window]
        listed = pd.concat(lists, ignore_index=True)
        found = VectorCache.find(_newer_files(shards), pd.Index(listed["key"]))
        total.damaged += found.damaged
        missing = listed[(found.file < 0) & ~cache.is_rejected(listed, cache.read_notes(home))]
        complete = sorted(set(window).difference(missing["shard"]))
        for number in chain(
            complete, _extract(missing, image_dir, recipe, extract, home, progress)
        ):
            counts = compute(shards, number, image_dir, recipe)  # from the journal
            total.computed += counts.computed
            total.rejected |= counts.rejected
            total.damaged += counts.damaged
        total.computed += int((~cache.is_rejected(missing, cache.read_notes(home))).sum())
        total.reused += len(listed)
    total.reused -= total.computed + len(total.rejected)
    return total


def _extract(
    missing: pd.DataFrame,
    image_dir: Place,
    recipe: Recipe,
    extract: Callable[..., Iterator[Batch]],
    home: Path,
    progress: Progress,
) -> Iterator[int]:
    """Write missing vectors to the journal, and yield the number of each shard once it has all.

    Each shard has its own journal files, which are deleted when the shard is written.
    """
    if missing.empty:
        return
    digests, variants = missing["digest"].to_numpy(object), missing["variant"].to_numpy(np.int8)
    keys, shard = missing["key"].to_numpy(object), missing["shard"].to_numpy()
    remaining = missing["shard"].value_counts().to_dict()
    pending = {number: list[tuple[np.ndarray, np.ndarray, np.ndarray]]() for number in remaining}
    try:
        for batch in writer.extract_vectors(missing, image_dir, recipe, extract, progress):
            processed = np.array([*batch.indices, *batch.rejected])
            cache.add_notes(home, {keys[i]: why for i, why in batch.rejected.items()})
            cache.add_notes(home, {digests[i]: "" for i in batch.uniform}, cache.UNIFORM)
            for number in np.unique(shard[processed]).tolist():
                in_shard = shard[batch.indices] == number
                indices = batch.indices[in_shard]
                vectors = batch.vectors[in_shard]
                pending[number].append((digests[indices], variants[indices], vectors))
                remaining[number] -= int((shard[processed] == number).sum())
                rows = sum(len(batch_digests) for batch_digests, *_ in pending[number])
                if rows >= JOURNAL_ROWS or not remaining[number]:
                    cache.write_journal(pending[number], recipe, home)
                    pending[number] = []
                if not remaining[number]:
                    yield number
    finally:
        for batches in pending.values():
            cache.write_journal(batches, recipe, home)


def clear(shards: Path) -> None:
    """Delete the shards of a data set, whose vectors are all in complete classes."""
    temporary = atomic.temporary(shards)
    with suppress(FileNotFoundError):  # another worker was faster
        shards.rename(temporary)
        shutil.rmtree(temporary)
