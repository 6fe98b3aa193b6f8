"""The bottleneck store: a feature vector for each photo's content, computed once, kept as Parquet.

Below the store's folder for one way of making vectors (module, size, precision):

    <label>-<class digest>/part-00000.parquet   a finished class, one row a photo
    partial/<process>-<number>.parquet          vectors of a run that is still going, or was killed
    shards/<digest>/00000.parquet               vectors of many photos, divided among workers
    rejected.json                               digest -> why that photo cannot be decoded

`vectors` says how they are found again, `shards` how large work is divided.
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
from pipeline.bottlenecks.cache import PARTIAL, SHARDS, DamagedError, VectorCache, has_footer
from pipeline.bottlenecks.extraction import Batch
from pipeline.bottlenecks.reader import discard_class
from pipeline.bottlenecks.recipe import Recipe
from pipeline.errors import UserError
from pipeline.files import atomic, naming
from pipeline.files.places import Place
from pipeline.photos import augmentation, sources
from pipeline.photos.augmentation import Augmentation
from pipeline.photos.manifest import ClassSummary
from pipeline.progress import Progress, silent

PART_ROWS = 16_384  # rows a file: 40 MB of 1,280 float16
JOURNAL_ROWS = 256  # photos whose work a killed run may lose
WRITERS = 2  # classes written at once; more would mostly wait for Python's lock
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
        digest = naming.digest(digest, copies.augmentations, copies.key)
    return f"{naming.slug(of_class.label)}-{digest}"


def compute(
    rows: pd.DataFrame,
    classes: list[ClassSummary],
    image_dir: Place,
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
    (directory / PARTIAL).mkdir(parents=True, exist_ok=True)
    for left in store.glob("*/"):  # by killed runs with other options, which may never come back
        atomic.remove_stale(left)
        atomic.remove_stale(left / PARTIAL)
        atomic.remove_stale(left / SHARDS)
    counts = Counts()
    directories = [class_directory(store, recipe, of_class) for of_class in classes]
    for class_dir in directories:
        for part in filterfalse(has_footer, list(class_dir.glob("*.parquet"))):
            cache.delete_damaged(part, counts.damaged)
        if class_dir.is_dir() and not is_complete(class_dir):  # somebody has deleted some, or all
            discard_class(class_dir)
    wanted = cache.with_copies(rows, recipe)
    unique = wanted.drop_duplicates("key", ignore_index=True)
    needed = pd.Index(unique["key"])
    position, numbers = needed.get_indexer(wanted["key"]), wanted.groupby("label").indices
    texts = {name: pa.array(wanted[name], pa.string()) for name in _TEXTS}
    written = pa.table({**texts, "variant": pa.array(wanted["variant"], pa.int8())})
    written = written.combine_chunks()  # of which a class takes its rows at a hundredth of the time
    while True:
        where = partial(cache.files, directory)
        found = ensure_cached(unique, where, image_dir, recipe, directory, counts, progress)
        todo = [
            (class_dir, numbers.get(of_class.label, np.empty(0, np.int64)))
            for class_dir, of_class in zip(directories, classes, strict=True)
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
            cache.delete_damaged(error.path, counts.damaged)
    rejected = cache.read_rejected(directory)
    lost = rows[rows["digest"].isin(rejected)]
    counts.rejected = {
        path: rejected[digest] for path, digest in zip(lost["path"], lost["digest"], strict=True)
    }
    decoded = int((~wanted["digest"].isin(rejected)).sum())
    counts.reused = max(0, decoded - counts.computed)
    cache.clear_journal(directory, found.needed)
    return counts


def ensure_cached(
    unique: pd.DataFrame,
    where: Callable[[], Iterable[Path]],
    image_dir: Place,
    recipe: Recipe,
    directory: Path,
    counts: Counts,
    progress: Progress,
) -> VectorCache:
    """Find vectors in some files, computing those that are in none of them.

    Args:
        unique: rows of the manifest, with `variant` and `key`; no key occurs twice.
        where: gives the files, the journal among them.
        image_dir: that the paths in `unique` are relative to.
        recipe: how to make vectors.
        directory: of this recipe.
        counts: which are raised.
        progress: as `compute`.

    Returns:
        Where the vectors are, but for those of photos that cannot be decoded.

    Raises:
        UserError: as `compute`.
    """
    needed = pd.Index(unique["key"])
    while True:
        found = VectorCache.find(where(), needed, counts.damaged)
        rejected = cache.read_rejected(directory)
        missing = unique[(found.file < 0) & ~unique["digest"].isin(rejected)]
        if missing.empty:
            return found
        counts.computed += _compute_missing(missing, image_dir, recipe, directory, progress)


def is_complete(class_directory: Path) -> bool:
    """Whether a finished class is there with all of its files, and none of them breaks off."""
    parts = list(class_directory.glob("*.parquet"))
    return bool(parts) and all(has_footer(part, len(parts)) for part in parts)


def summary_lines(counts: Counts) -> Iterator[str]:
    """What a user should know of a computation: one line each."""
    yield f"Bottlenecks: {counts.computed:,} computed, {counts.reused:,} reused"
    for path in counts.damaged:
        yield f"Damaged and deleted; vectors that were in no other file are computed again: {path}"
    for name, reason in counts.rejected.items():
        yield f"Set aside: {name}: {reason}"


def _compute_missing(
    missing: pd.DataFrame, image_dir: Place, recipe: Recipe, directory: Path, progress: Progress
) -> int:
    """Send photos through the module, and write their vectors to the journal as they come."""
    digests, variants = missing["digest"].to_numpy(object), missing["variant"].to_numpy(np.int8)
    waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    rejected: dict[str, str] = {}
    computed = 0
    try:
        for batch in extract_vectors(missing, image_dir, recipe, extraction.extract, progress):
            waiting.append((digests[batch.indices], variants[batch.indices], batch.vectors))
            rejected |= {digests[i]: reason for i, reason in batch.rejected.items()}
            computed += len(batch.indices)
            if sum(len(of) for of, *_ in waiting) >= JOURNAL_ROWS:
                cache.write_journal(waiting, recipe, directory)
                waiting = []
    finally:
        cache.write_journal(waiting, recipe, directory)
        cache.add_rejected(directory, rejected)
    return computed


def extract_vectors(
    missing: pd.DataFrame,
    image_dir: Place,
    recipe: Recipe,
    extract: Callable[..., Iterator[Batch]],
    progress: Progress,
) -> Iterator[Batch]:
    """Photos through the module: vectors as they are stored, of photos that have not changed.

    Args:
        missing: rows of the manifest, with `variant`.
        image_dir: that their paths are relative to.
        recipe: how to make vectors.
        extract: that makes them, as `features.extract` but in whatever order it likes.
        progress: told of each batch when the next one is asked for.

    Raises:
        UserError: as `compute`.
    """
    paths = [image_dir / path for path in missing["path"]]
    digests, variants = missing["digest"].to_list(), missing["variant"].to_numpy()
    sizes, times = missing["size"].to_numpy(), missing["mtime_ns"].to_numpy()
    copies, seeds = None, None
    if variants.any():
        copies = recipe.augmentation
        seeds = np.stack([augmentation.seed(*of) for of in zip(digests, variants, strict=True)])
    done = 0
    progress(done, len(paths), "photos through the module")
    for batch in extract(paths, recipe.module, recipe.precision, copies, seeds, digests):
        for i in (*batch.indices, *batch.rejected):
            _refuse_changed(paths[i], sizes[i], times[i])
        yield replace(batch, vectors=to_storage_type(batch.vectors, recipe))
        done += len(batch.indices) + len(batch.rejected)
        progress(done, len(paths), "photos through the module")


def _refuse_changed(photo: Place, size: int, mtime_ns: int) -> None:
    """The manifest's digest must be that of the bytes that were just decoded.

    Where these were no file of their own, the digest itself was compared.

    Raises:
        UserError: where the photo has changed since the manifest was written.
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
    """Vectors in the type that they are stored in.

    Raises:
        UserError: where that type cannot hold them.
    """
    with np.errstate(over="ignore"):
        kept = computed.astype(recipe.vector_type)
    if not np.isfinite(kept).all():
        raise UserError(
            f"module {recipe.module.handle} gives vectors up to {np.abs(computed).max():g}, which "
            f"{recipe.vector_type} cannot hold; set vector_type to float32"
            if np.isfinite(computed).all()
            else f"module {recipe.module.handle} gives vectors that are not finite numbers"
        )
    return kept


def _write_classes(
    classes: list[tuple[Path, np.ndarray]],
    rows: pa.Table,
    position: np.ndarray,
    found: VectorCache,
    recipe: Recipe,
) -> None:
    """Write classes, each given by its folder and the numbers of its rows.

    `position` says which of the needed vectors a row has.
    """
    parts = [
        [numbers[start : start + PART_ROWS] for start in range(0, max(len(numbers), 1), PART_ROWS)]
        for _, numbers in classes
    ]
    gathered = found.gather([position[part] for part in chain(*parts)], recipe)
    for (directory, _), of_class in zip(classes, parts, strict=True):
        with atomic.write(directory) as temporary:
            temporary.mkdir()
            for number, part in enumerate(of_class):
                have, matrix = next(gathered)
                table = rows.take(part[have]).append_column("vector", cache.column(matrix))
                path = temporary / f"part-{number:05}.parquet"
                cache.write_table(table, path, recipe, len(of_class))
