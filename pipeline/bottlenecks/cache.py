"""Where vectors are kept, and how they are found again: the Parquet files of one recipe.

A vector is found by the digest of its photo's bytes, in whichever file holds it: a finished class,
a finished shard, or the journal of a run that is still going or was killed. Distorted copies of a
photo are found by their number as well, and by how they were distorted.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.bottlenecks.reader import discard_class, to_matrix
from pipeline.bottlenecks.recipe import Recipe
from pipeline.errors import LostError
from pipeline.files import atomic, locks, naming
from pipeline.files.damage import UNREADABLE, reraise_system_errors
from pipeline.photos import split

GROUP_ROWS = 1024  # rows read at once when vectors are looked up
GATHERED = 2**27  # bytes of vectors that are looked up at once
PARTIAL, SHARDS = "partial", "shards"  # folders beside those of the classes
_METADATA_KEY = b"retrain"
REJECTED = "rejected.json"


def with_copies(rows: pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    """The rows, each training photo followed by its copies, with their `variant` and `key`."""
    copies = np.where(rows["split"] == split.TRAINING, recipe.augmentation.augmentations, 0)
    position = np.repeat(np.arange(len(rows)), copies + 1)
    variant = np.arange(len(position)) - np.searchsorted(position, position)
    wanted = rows.iloc[position].reset_index(drop=True)
    key = _keys(wanted["digest"].to_numpy(object), variant, recipe.augmentation.key)
    return wanted.assign(variant=variant, key=key)


def _keys(digests: np.ndarray, variants: np.ndarray, how: str) -> np.ndarray:
    """What vectors are found by: a photo's digest, or a copy's with its number and making."""
    keys = digests.copy()
    for i in np.flatnonzero(variants):
        keys[i] = f"{digests[i]}-{variants[i]}-{how}"
    return keys


def read_keys(file: Path | IO[bytes]) -> np.ndarray:
    """The keys of a file's vectors, object [n]. Raises what is in UNREADABLE."""
    # One thread, and its parts read at once: the file may be in a store.
    with pq.ParquetFile(file, pre_buffer=True) as parquet:
        table = parquet.read(["digest", "variant"], use_threads=False)
    how = json.loads(table.schema.metadata[_METADATA_KEY])["augmentation"]
    digests = table["digest"].to_pandas().to_numpy(object)
    return _keys(digests, table["variant"].to_numpy(), how)


class DamagedError(Exception):
    """A file cannot be read, or is no longer there: see `drop`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path


@dataclass
class VectorCache:
    """Where the needed vectors are.

    Attributes:
        needed: the keys.
        files: that hold some.
        file, row: int32 [needed], position in `files` and row in that file; -1 where not found.
    """

    needed: pd.Index
    files: list[Path]
    file: np.ndarray
    row: np.ndarray

    @classmethod
    def find(cls, files: Iterable[Path], needed: pd.Index, damaged: list[Path]) -> "VectorCache":
        """Look through files, the newest first; damaged ones are deleted and added to `damaged`."""
        found = cls(needed, [], *np.full((2, len(needed)), -1, np.int32))
        for path in sorted(files, key=modified_at, reverse=True):
            if (found.file >= 0).all():
                break
            try:
                position = needed.get_indexer(pd.Index(read_keys(path)))
            except UNREADABLE as error:
                reraise_system_errors(error)
                delete_damaged(path, damaged)
                continue
            rows = np.flatnonzero(position >= 0)
            rows = rows[found.file[position[rows]] < 0]
            found.file[position[rows]] = len(found.files)
            found.row[position[rows]] = rows
            found.files.append(path)
        return found

    def take(self, position: np.ndarray, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
        """Vectors at those positions in `needed`, where there are: this mask, and the array.

        Raises:
            DamagedError: where a file cannot be read any more.
        """
        file, (group, inside) = self.file[position], np.divmod(self.row[position], GROUP_ROWS)
        have = file >= 0
        vectors = np.empty((len(position), recipe.module.features), recipe.vector_type)
        order = np.lexsort((group, file))[np.count_nonzero(~have) :]
        changes = np.diff(file[order]) | np.diff(group[order])
        for wanted in np.split(order, np.flatnonzero(changes) + 1) if len(order) else ():
            path, number = self.files[file[wanted[0]]], int(group[wanted[0]])
            vectors[wanted] = _read_group(path, number)[inside[wanted]]
        return have, vectors if have.all() else vectors[have]

    def gather(
        self, pieces: Sequence[np.ndarray], recipe: Recipe
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """What `take` gives of one piece after another, each of positions in `needed`.

        Any piece may have vectors in any file, as where shards mix the classes: a file is read once
        for all pieces that fit into GATHERED bytes.
        """
        room = GATHERED // (recipe.module.features * np.dtype(recipe.vector_type).itemsize)
        ends = np.cumsum([0, *map(len, pieces)])
        following = 0
        while following < len(pieces):
            fitting = int(np.searchsorted(ends, ends[following] + room, "right")) - 1
            some = pieces[following : max(fitting, following + 1)]
            following += len(some)
            have, vectors = self.take(np.concatenate(some), recipe)
            for piece in some:
                mine, have = np.split(have, [len(piece)])
                yield mine, vectors[: mine.sum()]
                vectors = vectors[mine.sum() :]


def files(directory: Path) -> Iterator[Path]:
    """All files of a recipe's folder that hold vectors."""
    yield from directory.glob("[!.]*/*.parquet")
    yield from directory.glob(f"{SHARDS}/[!.]*/*.parquet")


def has_footer(path: Path, parts: int | None = None) -> bool:
    """Whether a file has its end, which is written last and says where and what all else is.

    With `parts`, also whether it is one of so many; files of older stores do not say.
    """
    try:
        facts = json.loads((pq.read_metadata(path).metadata or {})[_METADATA_KEY])
        return parts in (None, facts.get("parts", parts))
    except UNREADABLE as error:
        reraise_system_errors(error)
        return False


def delete_damaged(path: Path, damaged: list[Path]) -> None:
    """Take a damaged file out of the store, and add it to `damaged`.

    One that is no longer there was no damage: another worker has put its vectors elsewhere.
    """
    if not path.exists():
        return
    damaged.append(path)
    if path.parent.name == PARTIAL or path.parent.parent.name == SHARDS:
        path.unlink(missing_ok=True)
    else:
        discard_class(path.parent, path)


def modified_at(path: Path) -> int:
    """When a file was changed, ns; 0 where it is gone."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:  # taken away by another worker
        return 0


def _read_group(path: Path, number: int) -> np.ndarray:
    """The vectors of one row group of a file: GROUP_ROWS, fewer in the last one."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            return to_matrix(file.read_row_group(number, columns=["vector"])["vector"])
    except UNREADABLE as error:
        reraise_system_errors(error)
        raise DamagedError(path) from None


def write(
    path: Path, digests: np.ndarray, variants: np.ndarray, vectors: np.ndarray, recipe: Recipe
) -> None:
    """Write vectors with what they are found by, whole or not at all."""
    columns = {
        "digest": pa.array(digests, pa.string()),
        "variant": pa.array(variants, pa.int8()),
        "vector": column(vectors),
    }
    with atomic.write(path) as temporary:
        write_table(pa.table(columns), temporary, recipe)


def write_journal(
    waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]], recipe: Recipe, directory: Path
) -> None:
    """Keep what was computed: some digests, variants and vectors."""
    if not waiting:
        return
    digests, variants, vectors = map(np.concatenate, zip(*waiting, strict=True))
    number = naming.digest(digests.tolist(), variants.tolist())
    path = directory / PARTIAL / f"{os.getpid()}-{number}.parquet"
    write(path, digests, variants, vectors, recipe)


def clear_journal(directory: Path, published: pd.Index) -> None:
    """Delete the journal files of which every vector now stands in a finished file."""
    for path in (directory / PARTIAL).glob("*.parquet"):
        with suppress(*UNREADABLE):  # damaged, or another worker was quicker
            if (published.get_indexer(pd.Index(read_keys(path))) >= 0).all():
                path.unlink()


def column(matrix: np.ndarray) -> pa.FixedSizeListArray:
    """Vectors [n, features] as a column of a table."""
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])


def write_table(table: pa.Table, path: Path, recipe: Recipe, parts: int | None = None) -> None:
    """Write a Parquet file that says how its vectors were made, and how many files a class has."""
    facts = recipe.facts() | ({"parts": parts} if parts else {})
    metadata = {_METADATA_KEY: json.dumps(facts)}
    # Dictionaries pay for labels and splits alone: vectors and digests never repeat.
    pq.write_table(
        table.replace_schema_metadata(metadata),
        path,
        row_group_size=GROUP_ROWS,
        compression="zstd",
        use_dictionary=[name for name in ("label", "split") if name in table.column_names],
        write_page_checksum=True,
    )


def read_rejected(directory: Path) -> dict[str, str]:
    """Why photos could not be decoded, by their digest.

    Raises:
        LostError: where the file that says so is damaged; it is deleted.
    """
    path = directory / REJECTED
    try:
        rejected: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    except ValueError:
        path.unlink(missing_ok=True)
        raise LostError(
            f"{path} is damaged and was deleted; run again, and photos that cannot be decoded are "
            "set aside again"
        ) from None
    return rejected


def add_rejected(directory: Path, rejected: dict[str, str]) -> None:
    """Add to what `read_rejected` gives; other workers may do so at the same time."""
    if not rejected:
        return
    path = directory / REJECTED
    with locks.beside(path), atomic.write(path) as temporary:
        temporary.write_text(json.dumps(read_rejected(directory) | rejected, indent=2))
