"""Unlabelled photos: inspecting them, and their vectors, which are cached like those of others."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.bottlenecks import cache, reader, writer
from pipeline.bottlenecks.recipe import Recipe
from pipeline.errors import UserError
from pipeline.files import atomic, places
from pipeline.files.object_store import RemotePath
from pipeline.files.places import Place
from pipeline.photos import inspection, sources
from pipeline.photos.discovery import Found
from pipeline.photos.file_names import printable
from pipeline.photos.remarks import MOST_NAMED
from pipeline.progress import Progress, silent

FORMAT_VERSION = 1  # raise it when the file changes


def inspect(found: Sequence[Found]) -> pd.DataFrame:
    """Inspect photos.

    Args:
        found: the photos, with absolute paths, paths relative to the working directory, or URLs.

    Returns:
        digest, path (absolute, or a URL), size, mtime_ns and problem of each photo. The problem is
        empty if the photo is usable.
    """
    place_of = [places.parse(photo.path) for photo in found]
    with ThreadPoolExecutor(sources.reader_threads(place_of[0])) as threads:
        sizes, problems = zip(*((photo.size, photo.unusable) for photo in found), strict=True)
        inspected = list(threads.map(sources.inspect, place_of, sizes, problems))
    statuses = (each.status for each in inspected)
    return pd.DataFrame(
        {
            "digest": [each.digest for each in inspected],
            "path": [places.absolute(place) for place in place_of],
            "size": sizes,
            "mtime_ns": [photo.mtime_ns for photo in found],
            "problem": ["" if status == inspection.OK else status for status in statuses],
        }
    )


def with_vectors(
    photos: pd.DataFrame, recipe: Recipe, directory: Path, progress: Progress = silent
) -> tuple[pd.DataFrame, np.ndarray]:
    """Compute the vectors of photos, except those that are cached.

    Args:
        photos: result of `inspect`.
        recipe: how vectors are made.
        directory: folder of the recipe, where vectors are cached.
        progress: counts the photos that the module has processed.

    Returns:
        The photos with the problems of those that cannot be decoded, and the vectors of the usable
        ones, float32 [usable photos, features].

    Raises:
        UserError: if a photo has changed. Vectors computed so far are kept.
    """
    usable = photos[photos["problem"] == ""]
    unique = usable.drop_duplicates("digest").assign(variant=0)
    unique["key"] = unique["digest"]
    image_dir, unique["path"] = _split(unique["path"])
    (directory / cache.PARTIAL).mkdir(parents=True, exist_ok=True)
    list_files = partial(cache.files, directory)
    found, _ = writer.ensure_cached(unique, list_files, image_dir, recipe, directory, progress)
    have, vectors = found.take(found.needed.get_indexer(pd.Index(usable["digest"])), recipe)
    lost = usable.loc[~have, "digest"].map(cache.read_notes(directory))
    photos = photos.assign(problem=photos["problem"].mask(photos.index.isin(lost.index), lost))
    return photos, reader.to_float32(vectors)


def _split(paths: "pd.Series[str]") -> tuple[Place, "pd.Series[str]"]:
    """Return the folder or bucket that all photos are in, and their paths below it."""
    scheme, is_remote, rest = next(iter(paths), "").partition("://")
    if not is_remote:
        return Path(), paths
    root = f"{scheme}://{rest.partition('/')[0]}"
    return RemotePath(root), paths.str.removeprefix(f"{root}/")


def summary_lines(photos: pd.DataFrame, kind: str) -> Iterator[str]:
    """Yield how many photos are usable, and why others are not, one line each.

    Args:
        photos: result of `with_vectors`.
        kind: what photos they are, such as "Unknown".
    """
    unusable = photos[photos["problem"] != ""]
    yield f"{kind} photos: {len(photos) - len(unusable):,} of {len(photos):,} are usable"
    for row in unusable.head(MOST_NAMED).itertuples():
        yield f"{kind} photos: {printable(str(row.path))} is not used: {row.problem}"
    if len(unusable) > MOST_NAMED:
        yield f"{kind} photos: {len(unusable) - MOST_NAMED:,} more are not used"


def refuse_unusable(photos: pd.DataFrame, option: str) -> None:
    """Check that a photo is usable.

    Args:
        photos: result of `inspect` or `with_vectors`.
        option: the option that names the photos.

    Raises:
        UserError: if none is.
    """
    if (photos["problem"] != "").all():
        path, problem = photos[["path", "problem"]].iloc[0]
        raise UserError(
            f"{option}: none of {len(photos):,} photos is usable; {printable(path)}: {problem}"
        )


def write(photos: pd.DataFrame, vectors: np.ndarray, recipe: Recipe, path: Path) -> None:
    """Write the usable photos as Parquet: `path`, and `vector` as a list of float16 or float32.

    Args:
        photos, vectors: result of `with_vectors`.
        recipe: how the vectors were made.
        path: file to create.
    """
    names = photos.loc[photos["problem"] == "", "path"]
    column = cache.column(vectors.astype(recipe.vector_type))
    with atomic.write(path) as temporary:
        pq.write_table(pa.table({"path": pa.array(names), "vector": column}), temporary)


def read(path: Path) -> np.ndarray:
    """Read the vectors of a file, float32 [n, features]."""
    return reader.to_float32(reader.to_matrix(pq.read_table(path, columns=["vector"])["vector"]))
