"""The bottleneck store: a feature vector for each photo's content, computed once, kept as Parquet.

Below the store's folder for one way of making vectors (module, size, precision):

    <label>-<class digest>/part-00000.parquet   a finished class, one row a photo
    partial/<process>-<number>.parquet          vectors of a run that is still going, or was killed
    rejected.json                               digest -> why that photo cannot be decoded

A vector is found by the digest of its photo's bytes, in whichever file holds it, so that moved,
renamed and relabelled photos are never computed again. The distorted copies that training photos
may have are found by their number as well, and by how they were distorted.
"""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import filterfalse
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import augmentation, features, split, storage
from pipeline.augmentation import Augmentation
from pipeline.errors import UserError
from pipeline.manifest import ClassSummary
from pipeline.progress import Progress, silent
from pipeline.recipe import Recipe
from pipeline.rows import UNREADABLE, give_up, matrix

PART_ROWS = 16_384  # rows a file: 40 MB of 1,280 float16
GROUP_ROWS = 1024  # rows read at once when vectors are looked up
GROUPS_KEPT = 8  # 21 MB of 1,280 float16
JOURNAL_ROWS = 256  # photos whose work a killed run may lose
_METADATA_KEY = b"retrain"
_TEXTS = ("digest", "label", "path", "split")  # columns of a class's rows


@dataclass
class Counts:
    """What `compute` did.

    Attributes:
        computed: vectors that came out of the module.
        reused: rows whose vector was there already, of this photo or of one with equal bytes.
        rejected: path -> why the photo could not be decoded; it has no row.
        damaged: files of the store that could not be read, and were deleted.
    """

    computed: int = 0
    reused: int = 0
    rejected: dict[str, str] = field(default_factory=dict)
    damaged: list[Path] = field(default_factory=list)


def class_directory(store: Path, recipe: Recipe, of_class: ClassSummary) -> Path:
    """Where a class's finished rows are."""
    return recipe.directory(store) / class_name(of_class, recipe.augmentation)


def class_name(of_class: ClassSummary, copies: Augmentation) -> str:
    """Of the folder of a class: labels that look alike differ in their digest."""
    digest = of_class.digest
    if copies.augmentations:
        digest = storage.digest(digest, copies.augmentations, copies.key)
    return f"{storage.slug(of_class.label)}-{digest}"


def compute(
    rows: pd.DataFrame,
    classes: list[ClassSummary],
    image_dir: Path,
    recipe: Recipe,
    store: Path,
    progress: Progress = silent,
) -> Counts:
    """Write the bottlenecks of some classes, computing only vectors that the store lacks.

    Args:
        rows: the manifest's usable rows of these classes.
        classes: whose directories are to be written.
        image_dir: that the paths in `rows` are relative to.
        recipe: how to make vectors.
        store: folder of all bottlenecks.
        progress: told of the photos that have gone through the module, and of those to go.

    Raises:
        UserError: where a photo changed since the manifest was written, or vectors exceed
            float16. Whatever was computed is kept.
    """
    directory = recipe.directory(store)
    (directory / "partial").mkdir(parents=True, exist_ok=True)
    for left in store.glob("*/"):  # by killed runs with other options, which may never come back
        storage.sweep(left)
        storage.sweep(left / "partial")
    counts = Counts()
    directories = [class_directory(store, recipe, of_class) for of_class in classes]
    for class_dir in directories:
        parts = list(class_dir.glob("*.parquet"))
        for part in filterfalse(_opens, parts):
            _drop(part, counts)
        if not parts and class_dir.is_dir():  # somebody has deleted them
            class_dir.rmdir()
    wanted = _with_copies(rows, recipe)
    unique = wanted.drop_duplicates("key", ignore_index=True)
    needed = pd.Index(unique["key"])
    positions = wanted.groupby("label").indices
    written = wanted[[*_TEXTS, "variant"]].assign(position=needed.get_indexer(wanted["key"]))
    written = written.astype(object)  # one block, of which the rows of a class are taken in one go
    while True:
        vectors = _Vectors.find(directory, needed, counts)
        rejected = _read_rejected(directory)
        missing = unique[(vectors.file < 0) & ~unique["digest"].isin(rejected)]
        if missing.empty:
            of = (written.iloc[positions.get(of_class.label, [])] for of_class in classes)
            try:
                with ThreadPoolExecutor() as threads:
                    write = partial(_write_class, vectors=vectors, recipe=recipe)
                    list(threads.map(write, directories, of))
                break
            except _DamagedError as error:
                _drop(error.path, counts)
                continue
        counts.computed += _compute_missing(missing, image_dir, recipe, directory, progress)
    counts.rejected = {
        path: rejected[digest]
        for path, digest in zip(rows["path"], rows["digest"], strict=True)
        if digest in rejected
    }
    decoded = int((~wanted["digest"].isin(rejected)).sum())
    counts.reused = max(0, decoded - counts.computed)
    _clear_journal(directory, needed)
    return counts


def is_whole(class_directory: Path) -> bool:
    """Whether a finished class is there, and no file of it breaks off."""
    parts = list(class_directory.glob("*.parquet"))
    return bool(parts) and all(_opens(part) for part in parts)


def remarks(counts: Counts) -> Iterator[str]:
    """What a user should know of a computation: one line each."""
    yield f"Bottlenecks: {counts.computed:,} computed, {counts.reused:,} reused"
    for path in counts.damaged:
        yield f"Damaged and deleted, its photos were computed again: {path}"
    for name, reason in counts.rejected.items():
        yield f"Set aside: {name}: {reason}"


def _with_copies(rows: pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
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


def _read_keys(path: Path) -> np.ndarray:
    """The keys of a file's vectors. Raises what is in UNREADABLE."""
    table = pq.read_table(path, columns=["digest", "variant"], partitioning=None)
    how = json.loads(table.schema.metadata[_METADATA_KEY])["augmentation"]
    digests = table["digest"].to_pandas().to_numpy(object)
    return _keys(digests, table["variant"].to_numpy(), how)


class _DamagedError(Exception):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path


@dataclass
class _Vectors:
    """Where the needed vectors are.

    Attributes:
        needed: the keys.
        files: that hold some.
        file, row: int32 [needed], position in `files` and row in that file; -1 where not found.
        read: as `_read_group`; the last few are kept, since small classes share them.
    """

    needed: pd.Index
    files: list[Path]
    file: np.ndarray
    row: np.ndarray
    read: Callable[[Path, int], np.ndarray] = field(
        default_factory=lambda: lru_cache(GROUPS_KEPT)(_read_group)
    )

    @classmethod
    def find(cls, directory: Path, needed: pd.Index, counts: Counts) -> "_Vectors":
        """Look through the store's files, the newest first."""
        found = cls(needed, [], *np.full((2, len(needed)), -1, np.int32))
        for path in sorted(directory.glob("[!.]*/*.parquet"), key=_age, reverse=True):
            if (found.file >= 0).all():
                break
            try:
                position = needed.get_indexer(pd.Index(_read_keys(path)))
            except UNREADABLE:
                _drop(path, counts)
                continue
            rows = np.flatnonzero(position >= 0)
            rows = rows[found.file[position[rows]] < 0]
            found.file[position[rows]] = len(found.files)
            found.row[position[rows]] = rows
            found.files.append(path)
        return found

    def take(self, position: np.ndarray, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
        """Vectors at those positions in `needed`, where there are: this mask, and the array."""
        file, row = self.file[position], self.row[position]
        vectors = np.empty((len(position), recipe.module.features), recipe.vector_type)
        group, inside = np.divmod(row, GROUP_ROWS)
        for number, of in np.unique(np.stack([file, group])[:, file >= 0], axis=1).T:
            wanted = np.flatnonzero((file == number) & (group == of))
            vectors[wanted] = self.read(self.files[number], int(of))[inside[wanted]]
        return file >= 0, vectors[file >= 0]


def _opens(path: Path) -> bool:
    """Whether a Parquet file has its end, which is written last and says where all else is."""
    try:
        pq.read_metadata(path)
    except UNREADABLE:
        return False
    return True


def _age(path: Path) -> int:
    return path.stat().st_mtime_ns


def _read_group(path: Path, number: int) -> np.ndarray:
    """The vectors of one row group of a file: GROUP_ROWS, fewer in the last one."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            return matrix(file.read_row_group(number, columns=["vector"])["vector"])
    except UNREADABLE:
        raise _DamagedError(path) from None


def _compute_missing(
    missing: pd.DataFrame, image_dir: Path, recipe: Recipe, directory: Path, progress: Progress
) -> int:
    """Send photos through the module, and write their vectors to the journal as they come."""
    paths = [image_dir / path for path in missing["path"]]
    digests, variants = missing["digest"].to_numpy(object), missing["variant"].to_numpy(np.int8)
    sizes, times = missing["size"].to_numpy(), missing["mtime_ns"].to_numpy()
    copies, seeds = None, None
    if variants.any():
        copies = recipe.augmentation
        seeds = np.stack([augmentation.seed(*of) for of in zip(digests, variants, strict=True)])
    waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    rejected: dict[str, str] = {}
    done = computed = 0
    progress(done, len(paths), "photos through the module")
    try:
        for batch in features.extract(paths, recipe.module, recipe.precision, copies, seeds):
            for i in (*batch.indices, *batch.rejected):
                _refuse_changed(paths[i], sizes[i], times[i])
            stored = _stored(batch.vectors, recipe)
            waiting.append((digests[batch.indices], variants[batch.indices], stored))
            rejected |= {digests[i]: reason for i, reason in batch.rejected.items()}
            computed += len(batch.indices)
            done += len(batch.indices) + len(batch.rejected)
            progress(done, len(paths), "photos through the module")
            if sum(len(vectors) for *_, vectors in waiting) >= JOURNAL_ROWS:
                _write_journal(waiting, recipe, directory)
                waiting = []
    finally:
        _write_journal(waiting, recipe, directory)
        if rejected:
            with storage.publish(directory / "rejected.json") as temporary:
                temporary.write_text(json.dumps(_read_rejected(directory) | rejected, indent=2))
    return computed


def _refuse_changed(path: Path, size: int, mtime_ns: int) -> None:
    """The manifest's digest must be that of the bytes that were just decoded."""
    try:
        stat = path.stat()
        changed = (stat.st_size, stat.st_mtime_ns) != (size, mtime_ns)
    except OSError:
        changed = True
    if changed:
        raise UserError(f"{path} changed while the run was going on; run again")


def _stored(vectors: np.ndarray, recipe: Recipe) -> np.ndarray:
    with np.errstate(over="ignore"):
        stored = vectors.astype(recipe.vector_type)
    if not np.isfinite(stored).all():
        raise UserError(
            f"module {recipe.module.handle} gives vectors up to {np.abs(vectors).max():g}, which "
            f"{recipe.vector_type} cannot hold; set vector_type to float32"
            if np.isfinite(vectors).all()
            else f"module {recipe.module.handle} gives vectors that are not finite numbers"
        )
    return stored


def _write_journal(
    waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]], recipe: Recipe, directory: Path
) -> None:
    if not waiting:
        return
    digests, variants, vectors = map(np.concatenate, zip(*waiting, strict=True))
    columns = {
        "digest": pa.array(digests, pa.string()),
        "variant": pa.array(variants),
        "vector": _column(vectors),
    }
    number = storage.digest(digests.tolist(), variants.tolist())
    with storage.publish(directory / "partial" / f"{os.getpid()}-{number}.parquet") as temporary:
        _write(pa.table(columns), temporary, recipe)


def _clear_journal(directory: Path, published: pd.Index) -> None:
    """Delete the journal files of which every vector now stands in a finished class."""
    for path in filter(_opens, (directory / "partial").glob("*.parquet")):
        if (published.get_indexer(pd.Index(_read_keys(path))) >= 0).all():
            path.unlink(missing_ok=True)


def _write_class(directory: Path, rows: pd.DataFrame, vectors: _Vectors, recipe: Recipe) -> None:
    if directory.is_dir():
        return
    with storage.publish(directory) as temporary:
        temporary.mkdir()
        for number, start in enumerate(range(0, max(len(rows), 1), PART_ROWS)):
            part = rows.iloc[start : start + PART_ROWS]
            have, matrix = vectors.take(part["position"].to_numpy(np.int64), recipe)
            part = part[have]
            columns = {name: pa.array(part[name], pa.string()) for name in _TEXTS}
            columns["variant"] = pa.array(part["variant"], pa.int8())
            columns["vector"] = _column(matrix)
            _write(pa.table(columns), temporary / f"part-{number:05}.parquet", recipe)


def _column(matrix: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])


def _write(table: pa.Table, path: Path, recipe: Recipe) -> None:
    metadata = {_METADATA_KEY: json.dumps(recipe.facts())}
    # Dictionaries pay for labels and splits alone: vectors and digests never repeat.
    pq.write_table(
        table.replace_schema_metadata(metadata),
        path,
        row_group_size=GROUP_ROWS,
        compression="zstd",
        use_dictionary=[name for name in ("label", "split") if name in table.column_names],
        write_page_checksum=True,
    )


def _read_rejected(directory: Path) -> dict[str, str]:
    path = directory / "rejected.json"
    rejected: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return rejected


def _drop(path: Path, counts: Counts) -> None:
    """Take a damaged file out of the store."""
    counts.damaged.append(path)
    if path.parent.name == "partial":
        path.unlink(missing_ok=True)
    else:
        give_up(path.parent, path)
