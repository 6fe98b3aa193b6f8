"""The bottleneck cache: looking up vectors in the Parquet files of a recipe.

A vector is found by the digest of its photo, in any file that contains it: a complete class, a
complete shard, or the journal of a run that is active or was killed. The key of an augmented copy
also contains its number and the distortions.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
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

GROUP_ROWS = 1024  # rows per row group, which are read at once
GATHERED = 2**27  # bytes of vectors that are looked up at once
PARTIAL, SHARDS = "partial", "shards"  # folders beside those of the classes
_METADATA_KEY = b"retrain"
REJECTED, UNIFORM = "rejected.json", "uniform.json"


def with_copies(rows: pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    """Return the rows, each training photo followed by its copies, with `variant` and `key`."""
    copies = np.where(rows["split"] == split.TRAINING, recipe.augmentation.augmentations, 0)
    position = np.repeat(np.arange(len(rows)), copies + 1)
    variant = np.arange(len(position)) - np.searchsorted(position, position)
    wanted = rows.iloc[position].reset_index(drop=True)
    key = _keys(wanted["digest"].to_numpy(object), variant, recipe.augmentation.key)
    return wanted.assign(variant=variant, key=key)


def _keys(digests: np.ndarray, variants: np.ndarray, augmentation: str) -> np.ndarray:
    """Return the keys of vectors: a photo's digest, and for copies their number and distortions."""
    keys = digests.copy()
    for i in np.flatnonzero(variants):
        keys[i] = f"{digests[i]}-{variants[i]}-{augmentation}"
    return keys


def read_keys(file: Path | IO[bytes]) -> np.ndarray:
    """Return the keys of a file's vectors, object [n]. Raises one of UNREADABLE."""
    # One thread, and both columns in one request: the file may be on an object store.
    with pq.ParquetFile(file, pre_buffer=True) as parquet:
        table = parquet.read(["digest", "variant"], use_threads=False)
    augmentation = json.loads(table.schema.metadata[_METADATA_KEY])["augmentation"]
    digests = table["digest"].to_pandas().to_numpy(object)
    return _keys(digests, table["variant"].to_numpy(), augmentation)


class DamagedError(Exception):
    """A file is damaged or missing: see `delete_damaged`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path


@dataclass
class VectorCache:
    """The positions of needed vectors in the files of the cache.

    Attributes:
        needed: the keys.
        files: files that contain some of them.
        file, row: int32 [needed], index in `files` and row in that file; -1 if not found.
        damaged: files that could not be read and were deleted.
    """

    needed: pd.Index
    files: list[Path]
    file: np.ndarray
    row: np.ndarray
    damaged: list[Path] = field(default_factory=list)

    @classmethod
    def find(cls, files: Iterable[Path], needed: pd.Index) -> "VectorCache":
        """Look the keys up in files, newest first, and delete damaged files."""
        found = cls(needed, [], *np.full((2, len(needed)), -1, np.int32))
        for path in sorted(files, key=modified_at, reverse=True):
            if (found.file >= 0).all():
                break
            try:
                position = needed.get_indexer(pd.Index(read_keys(path)))
            except UNREADABLE as error:
                reraise_system_errors(error)
                if delete_damaged(path):
                    found.damaged.append(path)
                continue
            rows = np.flatnonzero(position >= 0)
            rows = rows[found.file[position[rows]] < 0]
            found.file[position[rows]] = len(found.files)
            found.row[position[rows]] = rows
            found.files.append(path)
        return found

    def take(self, position: np.ndarray, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
        """Return which positions in `needed` have vectors, as a mask, and these vectors.

        Raises:
            DamagedError: if a file cannot be read any more.
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
        """Yield the result of `take` for each piece of positions in `needed`.

        The vectors of a piece may be in any file, since shards mix classes: a file is read once for
        as many pieces as fit into GATHERED bytes.
        """
        capacity = GATHERED // (recipe.module.features * np.dtype(recipe.vector_type).itemsize)
        ends = np.cumsum([0, *map(len, pieces)])
        following = 0
        while following < len(pieces):
            fitting = int(np.searchsorted(ends, ends[following] + capacity, "right")) - 1
            some = pieces[following : max(fitting, following + 1)]
            following += len(some)
            have, vectors = self.take(np.concatenate(some), recipe)
            for piece in some:
                mine, have = np.split(have, [len(piece)])
                yield mine, vectors[: mine.sum()]
                vectors = vectors[mine.sum() :]


def files(directory: Path) -> Iterator[Path]:
    """Yield all files of vectors in a recipe's folder."""
    yield from directory.glob("[!.]*/*.parquet")
    yield from directory.glob(f"{SHARDS}/[!.]*/*.parquet")


def has_footer(path: Path, count: int | None = None) -> bool:
    """Return whether a file has its footer, which is written last and describes the rest.

    With `count`, also return whether it is one of that many files, if the file says so.
    """
    try:
        facts = json.loads((pq.read_metadata(path).metadata or {})[_METADATA_KEY])
        return count in (None, facts.get("parts", count))
    except UNREADABLE as error:
        reraise_system_errors(error)
        return False


def delete_damaged(path: Path) -> bool:
    """Delete a damaged file from the cache, and return whether it was there.

    A file that does not exist any more was not damaged: another worker has moved its vectors.
    """
    if not path.exists():
        return False
    if path.parent.name == PARTIAL or path.parent.parent.name == SHARDS:
        path.unlink(missing_ok=True)
    else:
        discard_class(path.parent, path)
    return True


def modified_at(path: Path) -> int:
    """Return the modification time of a file in ns; 0 if it does not exist any more."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:  # removed by another worker
        return 0


def _read_group(path: Path, number: int) -> np.ndarray:
    """Return the vectors of a row group: GROUP_ROWS, or fewer in the last one."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            return to_matrix(file.read_row_group(number, columns=["vector"])["vector"])
    except UNREADABLE as error:
        reraise_system_errors(error)
        raise DamagedError(path) from None


def write(
    path: Path, digests: np.ndarray, variants: np.ndarray, vectors: np.ndarray, recipe: Recipe
) -> None:
    """Write vectors and what identifies them, atomically."""
    columns = {
        "digest": pa.array(digests, pa.string()),
        "variant": pa.array(variants, pa.int8()),
        "vector": column(vectors),
    }
    with atomic.write(path) as temporary:
        write_table(pa.table(columns), temporary, recipe)


def write_journal(
    batches: list[tuple[np.ndarray, np.ndarray, np.ndarray]], recipe: Recipe, directory: Path
) -> None:
    """Write batches of digests, variants and vectors to the journal."""
    if not batches:
        return
    digests, variants, vectors = map(np.concatenate, zip(*batches, strict=True))
    number = naming.digest(digests.tolist(), variants.tolist())
    path = directory / PARTIAL / f"{os.getpid()}-{number}.parquet"
    write(path, digests, variants, vectors, recipe)


def clear_journal(directory: Path, published: pd.Index) -> None:
    """Delete the journal files whose vectors are all in complete files now."""
    for path in (directory / PARTIAL).glob("*.parquet"):
        with suppress(*UNREADABLE):  # damaged, or deleted by another worker
            if (published.get_indexer(pd.Index(read_keys(path))) >= 0).all():
                path.unlink()


def column(matrix: np.ndarray) -> pa.FixedSizeListArray:
    """Convert vectors [n, features] to a column of a table."""
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])


def write_table(table: pa.Table, path: Path, recipe: Recipe, count: int | None = None) -> None:
    """Write a Parquet file with metadata: the recipe, and the number of files of a class."""
    facts = recipe.facts() | ({"parts": count} if count else {})
    metadata = {_METADATA_KEY: json.dumps(facts)}
    # Dictionaries pay only for labels and splits: vectors and digests do not repeat.
    pq.write_table(
        table.replace_schema_metadata(metadata),
        path,
        row_group_size=GROUP_ROWS,
        compression="zstd",
        use_dictionary=[name for name in ("label", "split") if name in table.column_names],
        write_page_checksum=True,
    )


def read_notes(directory: Path, name: str = REJECTED) -> dict[str, str]:
    """Return notes about photos by their digest: why they cannot be decoded, or are UNIFORM.

    Raises:
        LostError: if the file is damaged; it is deleted.
    """
    path = directory / name
    try:
        notes: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    except ValueError:
        path.unlink(missing_ok=True)
        raise LostError(
            f"deleted {path}, which was damaged; run again to find the photos that cannot be "
            "decoded"
        ) from None
    return notes


def is_rejected(wanted: pd.DataFrame, rejected: dict[str, str]) -> np.ndarray:
    """Return which rows of `with_copies` have no vector, bool [n].

    A photo's reason has its digest, which is also its key, and applies to its copies; the reason of
    a copy has the copy's key, and applies to it alone.
    """
    noted: np.ndarray = (wanted["digest"].isin(rejected) | wanted["key"].isin(rejected)).to_numpy()
    return noted


def add_notes(directory: Path, notes: dict[str, str], name: str = REJECTED) -> None:
    """Add notes to `read_notes`; other workers may do so at the same time."""
    if not notes:
        return
    path = directory / name
    with locks.beside(path), atomic.write(path) as temporary:
        temporary.write_text(json.dumps(read_notes(directory, name) | notes, indent=2))
