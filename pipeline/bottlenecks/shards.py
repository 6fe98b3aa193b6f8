"""Large work divided: the vectors that the store lacks, in lists that workers take one by one.

Below the folder of a recipe, for one data set:

    shards/<digest>/todo/00000.parquet   the photos of a shard, all lists written at once
    shards/<digest>/00000.parquet        its vectors: the shard is done

One look through the store finds what is missing, and each missing vector is in one list, however
many photos have equal bytes. Lists follow the order of the manifest, so that a class finds its
vectors in few shards. The folder goes when all classes have their rows.
"""

import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
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
from pipeline.photos.augmentation import Augmentation
from pipeline.progress import Progress, silent

WINDOW = 100  # shards whose lists are in memory at once
_COLUMNS = ["path", "size", "mtime_ns", "digest", "variant", "key"]


def most(photos: int, copies: Augmentation, shard_size: int) -> int:
    """How many shards there can be, before it is known which vectors are missing.

    Raises:
        UserError: where `shard_size` is not positive.
    """
    if shard_size < 1:
        raise UserError(f"shard_size is {shard_size}; it must be 1 or more")
    return math.ceil(photos * (1 + copies.augmentations) / shard_size)


def directory(store: Path, recipe: Recipe, manifest: str, shard_size: int) -> Path:
    """Where the shards of a data set are, whose manifest has that name.

    The name changes with the times of the photos, which the lists hold as well: lists of photos
    that have been touched since would have every photo refused.
    """
    copies = recipe.augmentation
    made_of = (manifest, copies.augmentations, copies.key, shard_size)
    return recipe.directory(store) / SHARDS / naming.digest(*made_of)


def todo(shards: Path) -> Path:
    """The folder of the lists: it is there once the work is divided."""
    return shards / "todo"


def file(directory: Path, number: int) -> Path:
    """A shard's file: of its vectors, or, in the folder `todo`, of its photos."""
    return directory / f"{number:05}.parquet"


def divide(
    rows: pd.DataFrame, recipe: Recipe, store: Path, shards: Path, shard_size: int
) -> tuple[int, list[Path]]:
    """Look for the vectors that the store lacks, and write the lists of them.

    Args:
        rows: the manifest's usable rows of the classes that are not finished.
        recipe: how vectors are made.
        store: folder of all bottlenecks.
        shards: as `directory` gives it.
        shard_size: vectors a shard.

    Returns:
        How many vectors are missing; and the files that could not be read, and were deleted.
    """
    home = recipe.directory(store)
    unique = cache.with_copies(rows, recipe).drop_duplicates("key", ignore_index=True)
    damaged: list[Path] = []
    found = VectorCache.find(cache.files(home), pd.Index(unique["key"]), damaged)
    rejected = cache.read_rejected(home)
    missing = unique[(found.file < 0) & ~unique["digest"].isin(rejected)]
    with atomic.write(todo(shards)) as temporary:
        temporary.mkdir()
        for number, start in enumerate(range(0, len(missing), shard_size)):
            part = missing.iloc[start : start + shard_size]
            part[_COLUMNS].to_parquet(file(temporary, number), index=False)
    return len(missing), damaged


def _listed(shards: Path, number: int) -> pd.DataFrame:
    """The photos of a shard.

    Raises:
        LostError: where the list is; all lists are deleted, but what was computed is kept.
    """
    path = file(todo(shards), number)
    try:
        return pd.read_parquet(path)
    except UNREADABLE as error:
        reraise_system_errors(error)
        move_to_journal(shards, shards.parent.parent)
        shutil.rmtree(shards, ignore_errors=True)  # another worker may be doing so as well
        raise LostError(f"{path} is damaged, or gone; run again") from None


def _later(shards: Path) -> Iterator[Path]:
    """Files with vectors that the lists know nothing of: the journal, and what came after them."""
    divided = todo(shards).stat().st_mtime_ns
    for path in cache.files(shards.parent.parent):
        journal = path.parent.name == PARTIAL
        if journal or (path.parent != shards and cache.modified_at(path) >= divided):
            yield path


def compute(
    shards: Path, number: int, image_dir: Place, recipe: Recipe, progress: Progress = silent
) -> Counts:
    """Compute the vectors of one shard, but those that have come into the store meanwhile.

    Raises:
        UserError: as `bottlenecks.compute`.
    """
    home = shards.parent.parent
    (home / PARTIAL).mkdir(exist_ok=True)
    missing = _listed(shards, number)
    where = partial(_later, shards)
    counts = Counts()
    while True:
        found = writer.ensure_cached(missing, where, image_dir, recipe, home, counts, progress)
        try:
            have, matrix = found.take(np.arange(len(missing)), recipe)
            break
        except DamagedError as error:
            cache.delete_damaged(error.path, counts.damaged)
    done = missing[have]
    digests, variants = done["digest"].to_numpy(object), done["variant"].to_numpy()
    cache.write(file(shards, number), digests, variants, matrix, recipe)
    cache.clear_journal(home, found.needed)
    rejected = cache.read_rejected(home)
    lost = missing[~have & (missing["variant"] == 0)]
    counts.rejected = {
        of: rejected[digest] for of, digest in zip(lost["path"], lost["digest"], strict=True)
    }
    counts.reused = len(done) - counts.computed
    return counts


def compute_all(
    shards: Path,
    numbers: list[int],
    image_dir: Place,
    recipe: Recipe,
    extract: Callable[..., Iterator[Batch]],
    progress: Progress = silent,
) -> Counts:
    """Compute the vectors of many shards at once; each is written as soon as it has them.

    Args:
        shards: as `directory` gives it.
        numbers: of the shards.
        image_dir: that the paths of the photos are relative to.
        recipe: how to make vectors.
        extract: that makes them, as `features.extract` but in whatever order it likes.
        progress: told of the photos that have gone through the module, and of those to go.

    Raises:
        UserError: as `bottlenecks.compute`. Whatever was computed is kept.
    """
    counts = Counts()
    for start in range(0, len(numbers), WINDOW):
        window = numbers[start : start + WINDOW]
        lists = [_listed(shards, number).assign(shard=number) for number in window]
        listed = pd.concat(lists, ignore_index=True)
        for number in _stream(listed, shards, image_dir, recipe, extract, counts, progress):
            done = compute(shards, number, image_dir, recipe)  # from the journal
            counts.computed += done.computed
            counts.rejected |= done.rejected
            counts.damaged += done.damaged
        counts.reused += len(listed)
    counts.reused -= counts.computed + len(counts.rejected)
    return counts


def _stream(
    listed: pd.DataFrame,
    shards: Path,
    image_dir: Place,
    recipe: Recipe,
    extract: Callable[..., Iterator[Batch]],
    counts: Counts,
    progress: Progress,
) -> Iterator[int]:
    """Fill the journal with the vectors of `listed`; gives the number of each shard that has all.

    Each shard has journal files of its own, which go when it is written.
    """
    home = shards.parent.parent
    (home / PARTIAL).mkdir(exist_ok=True)
    found = VectorCache.find(_later(shards), pd.Index(listed["key"]), counts.damaged)
    known = listed["digest"].isin(cache.read_rejected(home))
    missing = listed[(found.file < 0) & ~known]
    left = dict.fromkeys(listed["shard"].tolist(), 0)
    left |= missing["shard"].value_counts().to_dict()
    yield from [number for number in left if not left[number]]
    if missing.empty:
        return
    digests, variants = missing["digest"].to_numpy(object), missing["variant"].to_numpy(np.int8)
    shard = missing["shard"].to_numpy()
    waiting = {number: list[tuple[np.ndarray, np.ndarray, np.ndarray]]() for number in left}
    try:
        for batch in writer.extract_vectors(missing, image_dir, recipe, extract, progress):
            both = np.array([*batch.indices, *batch.rejected])
            cache.add_rejected(home, {digests[i]: why for i, why in batch.rejected.items()})
            counts.computed += len(batch.indices)
            for number in np.unique(shard[both]).tolist():
                mine = shard[batch.indices] == number
                of = batch.indices[mine]
                waiting[number].append((digests[of], variants[of], batch.vectors[mine]))
                left[number] -= int((shard[both] == number).sum())
                rows = sum(len(some) for some, *_ in waiting[number])
                if rows >= JOURNAL_ROWS or not left[number]:
                    cache.write_journal(waiting[number], recipe, home)
                    waiting[number] = []
                if not left[number]:
                    yield number
    finally:
        for some in waiting.values():
            cache.write_journal(some, recipe, home)


def clear(shards: Path) -> None:
    """Delete the shards of a data set, of which each vector stands in a class."""
    leaving = atomic.temporary(shards)
    with suppress(FileNotFoundError):  # another worker was quicker
        shards.rename(leaving)
        shutil.rmtree(leaving)
