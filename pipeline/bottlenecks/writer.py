"""Writing bottlenecks: compute the vectors that are not cached, and write the files of classes.

The folder of a recipe (module, size, precision) contains

    <label>-<class digest>/part-00000.parquet   a complete class, one row per photo
    partial/<process>-<number>.parquet          the journal of a run that is active or was killed
    shards/<digest>/00000.parquet               vectors of a shard, one of several workers' tasks
    rejected.json                               digest -> why that photo cannot be decoded
    uniform.json                                the photos that are nearly of one colour

`cache` looks vectors up, and `shards` divides large work.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, filterfalse, pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.bottlenecks import cache, extraction
from pipeline.bottlenecks.cache import (
    PARTIAL,
    SHARDS,
    UNIFORM,
    DamagedError,
    VectorCache,
    has_footer,
)
from pipeline.bottlenecks.extraction import Batch
from pipeline.bottlenecks.reader import discard_class
from pipeline.bottlenecks.recipe import Recipe
from pipeline.errors import UserError
from pipeline.files import atomic, naming
from pipeline.files.places import Place
from pipeline.photos import sources
from pipeline.photos.manifest import ClassSummary
from pipeline.pixels import augmentation
from pipeline.pixels.augmentation import Augmentation
from pipeline.progress import Progress, silent

FILE_ROWS = 16_384  # rows per file: 40 MB of 1,280 float16
JOURNAL_ROWS = 256  # photos whose vectors a killed run may lose
NOT_FINITE = "the module returns NaN or infinity for it; replace it, or use another module"
# The largest value of a batch must be at least this: float16 has steps of 6e-8 near 0.
_LEAST_VALUES = {"float16": 1e-5}
WRITERS = 2  # threads; more would mostly wait for Python's global lock
_TEXTS = ("digest", "label", "path", "split")  # columns of a class


@dataclass
class Counts:
    """The result of a computation.

    Attributes:
        computed: vectors computed by the module.
        reused: rows whose vector was cached, from this photo or an identical one.
        rejected: maps paths to the reason why the photo cannot be decoded; it has no row.
        damaged: files of the cache that could not be read and were deleted.
    """

    computed: int = 0
    reused: int = 0
    rejected: dict[str, str] = field(default_factory=dict)
    damaged: list[Path] = field(default_factory=list)


def class_directory(root: Path, recipe: Recipe, summary: ClassSummary) -> Path:
    """Return the folder of a class's bottlenecks below the folder of all bottlenecks."""
    return recipe.directory(root) / class_name(summary, recipe.augmentation)


def class_name(summary: ClassSummary, augmentation: Augmentation) -> str:
    """Return the name of a class's folder; the digest distinguishes labels that look alike."""
    digest = summary.digest
    if augmentation.augmentations:
        digest = naming.digest(digest, augmentation.augmentations, augmentation.key)
    return f"{naming.slug(summary.label)}-{digest}"


def compute(
    rows: pd.DataFrame,
    classes: list[ClassSummary],
    image_dir: Place,
    recipe: Recipe,
    root: Path,
    progress: Progress = silent,
) -> Counts:
    """Write the bottlenecks of classes, computing only vectors that are not cached.

    Args:
        rows: the manifest's usable rows of these classes.
        classes: classes to write.
        image_dir: folder that the paths in `rows` are relative to.
        recipe: how to make vectors.
        root: folder of all bottlenecks.
        progress: counts the photos that the module has processed.

    Raises:
        UserError: if a photo changed since the manifest was written, vectors do not fit into
            float16, or the module returns NaN for all photos. Vectors computed so far are kept.
    """
    directory = recipe.directory(root)
    (directory / PARTIAL).mkdir(parents=True, exist_ok=True)
    for recipe_dir in root.glob("*/"):  # killed runs with other options may never come back
        atomic.remove_stale(recipe_dir)
        atomic.remove_stale(recipe_dir / PARTIAL)
        atomic.remove_stale(recipe_dir / SHARDS)
    directories = [class_directory(root, recipe, summary) for summary in classes]
    computed, damaged = 0, list[Path]()
    for class_dir in directories:
        truncated = filterfalse(has_footer, list(class_dir.glob("*.parquet")))
        damaged += filter(cache.delete_damaged, truncated)
        if class_dir.is_dir() and not is_complete(class_dir):  # some files were deleted
            discard_class(class_dir)
    wanted = cache.with_copies(rows, recipe)
    unique = wanted.drop_duplicates("key", ignore_index=True)
    needed = pd.Index(unique["key"])
    position = needed.get_indexer(wanted["key"])
    texts = {name: pa.array(wanted[name], pa.string()) for name in _TEXTS}
    written = pa.table({**texts, "variant": pa.array(wanted["variant"], pa.int8())})
    written = written.combine_chunks()  # makes taking the rows of a class 100 times as fast
    while True:
        list_files = partial(cache.files, directory)
        found, new = ensure_cached(unique, list_files, image_dir, recipe, directory, progress)
        computed += new
        damaged += found.damaged
        rejected = cache.read_notes(directory)
        lost = rows[rows["digest"].isin(rejected)]
        _refuse_only_nan(lost, rows, rejected, recipe, directory)
        kept = np.flatnonzero(~cache.is_rejected(wanted, rejected))
        labels = wanted["label"].iloc[kept]
        numbers = {label: kept[group] for label, group in labels.groupby(labels).indices.items()}
        todo = [
            (class_dir, numbers.get(summary.label, np.empty(0, np.int64)))
            for class_dir, summary in zip(directories, classes, strict=True)
            if not class_dir.is_dir()
        ]
        ends = [len(todo) * number // WRITERS for number in range(WRITERS + 1)]
        shares = [todo[start:end] for start, end in pairwise(ends)]
        try:
            with ThreadPoolExecutor(WRITERS) as threads:
                write = partial(
                    _write_classes, rows=written, position=position, found=found, recipe=recipe
                )
                list(threads.map(write, shares))
            break
        except DamagedError as error:
            damaged += filter(cache.delete_damaged, [error.path])
    cache.clear_journal(directory, found.needed)
    return Counts(
        computed=computed,
        reused=max(0, len(kept) - computed),
        rejected=dict(zip(lost["path"], lost["digest"].map(rejected), strict=True)),
        damaged=damaged,
    )


def _refuse_only_nan(
    lost: pd.DataFrame,
    rows: pd.DataFrame,
    rejected: dict[str, str],
    recipe: Recipe,
    directory: Path,
) -> None:
    """Check that the module returns a vector for some photo.

    Args:
        lost: the `rows` without a vector.
        rows, recipe: as in `compute`.
        rejected: as `cache.read_notes` returns it.
        directory: folder of the recipe; it has no class as long as no photo had a vector.

    Raises:
        UserError: if it returns none. No class is written, so the step stays incomplete.
    """
    if len(lost) < len(rows) or NOT_FINITE not in set(lost["digest"].map(rejected)):
        return
    if not any(directory.glob("[!.]*/part-*.parquet")):
        raise UserError(
            f"tfhub_module: {recipe.module.handle} returns NaN or infinity for all photos; use "
            "another module, or another image_range"
        )


def ensure_cached(
    unique: pd.DataFrame,
    list_files: Callable[[], Iterable[Path]],
    image_dir: Place,
    recipe: Recipe,
    directory: Path,
    progress: Progress,
) -> tuple[VectorCache, int]:
    """Look vectors up in files, and compute those that are in none of them.

    Args:
        unique: rows of the manifest, with `variant` and unique `key`s.
        list_files: returns the files to search, including the journal.
        image_dir: folder that the paths in `unique` are relative to.
        recipe: how to make vectors.
        directory: folder of the recipe.
        progress: as in `compute`.

    Returns:
        The positions of the vectors, except those of photos that cannot be decoded; and the number
        of vectors computed.

    Raises:
        UserError: as `compute`.
    """
    needed = pd.Index(unique["key"])
    computed, damaged = 0, list[Path]()
    while True:
        found = VectorCache.find(list_files(), needed)
        damaged += found.damaged
        rejected = cache.read_notes(directory)
        missing = unique[(found.file < 0) & ~cache.is_rejected(unique, rejected)]
        if missing.empty:
            return replace(found, damaged=damaged), computed
        computed += _compute_missing(missing, image_dir, recipe, directory, progress)


def is_complete(class_directory: Path) -> bool:
    """Return whether a class has all of its files, and none of them is truncated."""
    files = list(class_directory.glob("*.parquet"))
    return bool(files) and all(has_footer(file, len(files)) for file in files)


def summary_lines(counts: Counts, name_rejected: bool = True) -> Iterator[str]:
    """Yield what users should know about a computation, one line each."""
    yield f"Bottlenecks: {counts.computed:,} computed, {counts.reused:,} reused"
    for path in counts.damaged:
        yield f"Deleted corrupt file {path}; its missing vectors will be recomputed"
    for name, reason in counts.rejected.items() if name_rejected else ():
        yield f"Set aside: {name}: {reason}"


def _compute_missing(
    missing: pd.DataFrame, image_dir: Place, recipe: Recipe, directory: Path, progress: Progress
) -> int:
    """Compute vectors, write them to the journal as they come, and return their number."""
    digests, variants = missing["digest"].to_numpy(object), missing["variant"].to_numpy(np.int8)
    keys = missing["key"].to_numpy(object)
    pending: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    rejected: dict[str, str] = {}
    uniform: dict[str, str] = {}
    computed = 0
    try:
        for batch in extract_vectors(missing, image_dir, recipe, extraction.extract, progress):
            pending.append((digests[batch.indices], variants[batch.indices], batch.vectors))
            rejected |= {keys[i]: reason for i, reason in batch.rejected.items()}
            uniform |= {digests[i]: "" for i in batch.uniform}
            computed += len(batch.indices)
            if sum(len(batch_digests) for batch_digests, *_ in pending) >= JOURNAL_ROWS:
                cache.write_journal(pending, recipe, directory)
                pending = []
    finally:
        cache.write_journal(pending, recipe, directory)
        cache.add_notes(directory, rejected)
        cache.add_notes(directory, uniform, UNIFORM)
    return computed


def extract_vectors(
    missing: pd.DataFrame,
    image_dir: Place,
    recipe: Recipe,
    extract: Callable[..., Iterator[Batch]],
    progress: Progress,
) -> Iterator[Batch]:
    """Yield batches of vectors in the stored type, refusing photos that have changed.

    Args:
        missing: rows of the manifest, with `variant`.
        image_dir: folder that their paths are relative to.
        recipe: how to make vectors.
        extract: function such as `extraction.extract`; it may return photos in any order.
        progress: counts the photos of each batch when the next one is requested.

    Raises:
        UserError: as `compute`.
    """
    paths = [image_dir / path for path in missing["path"]]
    digests, variants = missing["digest"].to_list(), missing["variant"].to_numpy()
    sizes, times = missing["size"].to_numpy(), missing["mtime_ns"].to_numpy()
    distortions, seeds = None, None
    if variants.any():
        distortions = recipe.augmentation
        copies = zip(digests, variants, strict=True)
        seeds = np.stack([augmentation.seed(digest, variant) for digest, variant in copies])
    done = 0
    progress(done, len(paths), "photos processed by the module")
    for batch in extract(paths, recipe.module, recipe.precision, distortions, seeds, digests):
        for i in (*batch.indices, *batch.rejected):
            _refuse_changed(paths[i], sizes[i], times[i])
        batch = _without_nan(batch)
        yield replace(batch, vectors=to_storage_type(batch.vectors, recipe))
        done += len(batch.indices) + len(batch.rejected)
        progress(done, len(paths), "photos processed by the module")


def _without_nan(batch: Batch) -> Batch:
    """Reject the photos for which the module returns numbers that are not finite."""
    finite = np.isfinite(batch.vectors).all(1)
    if finite.all():
        return batch
    rejected = dict.fromkeys(batch.indices[~finite].tolist(), NOT_FINITE)
    return replace(
        batch,
        indices=batch.indices[finite],
        vectors=batch.vectors[finite],
        rejected=batch.rejected | rejected,
    )


def _refuse_changed(photo: Place, size: int, mtime_ns: int) -> None:
    """Check that the manifest describes the bytes that were just decoded.

    The digests of photos that are not local files of their own have been compared already.

    Raises:
        UserError: if the photo has changed since the manifest was written.
    """
    if not sources.is_file(photo):
        return
    try:
        stat = photo.stat()
        changed = (stat.st_size, stat.st_mtime_ns) != (size, mtime_ns)
    except OSError:
        changed = True
    if changed:
        raise UserError(f"{photo} changed during the run; run again")


def to_storage_type(computed: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Convert vectors to the stored type.

    Raises:
        UserError: if their values exceed its range, or are all too small for it.
    """
    with np.errstate(over="ignore"):
        stored = computed.astype(recipe.vector_type)
    largest = np.abs(computed).max(initial=0)
    if not np.isfinite(stored).all():
        problem = "exceed the range of"
    elif 0 < largest < _LEAST_VALUES.get(recipe.vector_type, 0):
        problem = "are too small for"
    else:
        return stored
    raise UserError(
        f"module {recipe.module.handle} returns values up to {largest:g}, which {problem} "
        f"{recipe.vector_type}; set vector_type to float32"
    )


def _write_classes(
    classes: list[tuple[Path, np.ndarray]],
    rows: pa.Table,
    position: np.ndarray,
    found: VectorCache,
    recipe: Recipe,
) -> None:
    """Write classes.

    Args:
        classes: folder and row numbers of each class.
        rows: the rows of all classes.
        position: index of each row's vector among the needed ones, int [rows].
        found: where the needed vectors are.
        recipe: how the vectors were made.
    """
    pieces = [
        [numbers[start : start + FILE_ROWS] for start in range(0, max(len(numbers), 1), FILE_ROWS)]
        for _, numbers in classes
    ]
    gathered = found.gather([position[piece] for piece in chain(*pieces)], recipe)
    for (directory, _), class_pieces in zip(classes, pieces, strict=True):
        with atomic.write(directory) as temporary:
            temporary.mkdir()
            for number, piece in enumerate(class_pieces):
                have, matrix = next(gathered)
                table = rows.take(piece[have]).append_column("vector", cache.column(matrix))
                path = temporary / f"part-{number:05}.parquet"
                cache.write_table(table, path, recipe, len(class_pieces))
