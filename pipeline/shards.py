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
from contextlib import suppress
from functools import partial
from pathlib import Path

import pandas as pd

from pipeline import bottlenecks, storage, vectors
from pipeline.augmentation import Augmentation
from pipeline.bottlenecks import Counts
from pipeline.errors import UserError
from pipeline.manifest import Summary
from pipeline.progress import Progress, silent
from pipeline.recipe import Recipe
from pipeline.vectors import PARTIAL, SHARDS, DamagedError, Vectors

_COLUMNS = ["path", "size", "mtime_ns", "digest", "variant", "key"]


def most(photos: int, copies: Augmentation, shard_size: int) -> int:
    """How many shards there can be, before it is known which vectors are missing.

    Raises:
        UserError: where `shard_size` is not positive.
    """
    if shard_size < 1:
        raise UserError(f"shard_size is {shard_size}; it must be 1 or more")
    return math.ceil(photos * (1 + copies.augmentations) / shard_size)


def directory(store: Path, recipe: Recipe, summary: Summary, shard_size: int) -> Path:
    """Where the shards of a data set are."""
    copies = recipe.augmentation
    made_of = (summary.digest, copies.augmentations, copies.key, shard_size)
    return recipe.directory(store) / SHARDS / storage.digest(*made_of)


def todo(shards: Path) -> Path:
    """The folder of the lists: it is there once the work is divided."""
    return shards / "todo"


def file(directory: Path, number: int) -> Path:
    """A shard's file: of its vectors, or, in the folder `todo`, of its photos."""
    return directory / f"{number:05}.parquet"


def divide(rows: pd.DataFrame, recipe: Recipe, store: Path, shards: Path, shard_size: int) -> int:
    """Look for the vectors that the store lacks, and write the lists of them.

    Args:
        rows: the manifest's usable rows of the classes that are not finished.
        recipe: how vectors are made.
        store: folder of all bottlenecks.
        shards: as `directory` gives it.
        shard_size: vectors a shard.

    Returns:
        How many vectors are missing.
    """
    home = recipe.directory(store)
    unique = vectors.with_copies(rows, recipe).drop_duplicates("key", ignore_index=True)
    found = Vectors.find(vectors.files(home), pd.Index(unique["key"]), [])
    rejected = vectors.read_rejected(home)
    missing = unique[(found.file < 0) & ~unique["digest"].isin(rejected)]
    with storage.publish(todo(shards)) as temporary:
        temporary.mkdir()
        for number, start in enumerate(range(0, len(missing), shard_size)):
            part = missing.iloc[start : start + shard_size]
            part[_COLUMNS].to_parquet(file(temporary, number), index=False)
    return len(missing)


def compute(
    shards: Path, number: int, image_dir: Path, recipe: Recipe, progress: Progress = silent
) -> Counts:
    """Compute the vectors of one shard; what a killed run left of it is taken over.

    Raises:
        UserError: as `bottlenecks.compute`.
    """
    home = shards.parent.parent
    (home / PARTIAL).mkdir(exist_ok=True)
    missing = pd.read_parquet(file(todo(shards), number))
    where = partial((home / PARTIAL).glob, "*.parquet")
    counts = Counts()
    while True:
        found = bottlenecks.fill(missing, where, image_dir, recipe, home, counts, progress)
        try:
            have, matrix = found.take(missing["key"], recipe)
            break
        except DamagedError as error:
            vectors.drop(error.path, counts.damaged)
    done = missing[have]
    digests, variants = done["digest"].to_numpy(object), done["variant"].to_numpy()
    vectors.write(file(shards, number), digests, variants, matrix, recipe)
    vectors.clear_journal(home, found.needed)
    rejected = vectors.read_rejected(home)
    lost = missing[~have & (missing["variant"] == 0)]
    counts.rejected = {
        of: rejected[digest] for of, digest in zip(lost["path"], lost["digest"], strict=True)
    }
    counts.reused = len(done) - counts.computed
    return counts


def finished(store: Path, recipe: Recipe, summary: Summary) -> bool:
    """Whether all classes have their rows, so that no shard is needed any more."""
    classes = (bottlenecks.class_directory(store, recipe, c) for c in summary.classes)
    return all(of_class.is_dir() for of_class in classes)


def clear(shards: Path) -> None:
    """Delete the shards of a data set, of which each vector stands in a class."""
    leaving = storage.temporary(shards)
    with suppress(FileNotFoundError):  # another worker was quicker
        shards.rename(leaving)
        shutil.rmtree(leaving)
