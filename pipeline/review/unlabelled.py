"""Unlabelled photos: inspecting them, and their vectors, which are cached like those of others."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.bottlenecks import cache, writer
from pipeline.bottlenecks.reader import to_float32
from pipeline.bottlenecks.recipe import Recipe
from pipeline.errors import UserError
from pipeline.files import places
from pipeline.photos import inspection, sources
from pipeline.photos.discovery import Found
from pipeline.progress import Progress, silent


def inspect(found: Sequence[Found], known: set[str]) -> pd.DataFrame:
    """Return the photos that can be used, without copies.

    Args:
        found: the photos, with absolute paths, paths relative to the working directory, or URLs.
        known: digests of the photos that are left out: those that have a label, or need none.

    Returns:
        digest, path (absolute, or a URL), size and mtime_ns of each photo.

    Raises:
        UserError: if none is left.
    """
    place_of = [places.parse(photo.path) for photo in found]
    with ThreadPoolExecutor(sources.reader_threads(place_of[0])) as threads:
        sizes, problems = zip(*((photo.size, photo.unusable) for photo in found), strict=True)
        inspected = list(threads.map(sources.inspect, place_of, sizes, problems))
    rows = pd.DataFrame(
        {
            "digest": [each.digest for each in inspected],
            "path": [places.absolute(place) for place in place_of],
            "size": sizes,
            "mtime_ns": [photo.mtime_ns for photo in found],
            "usable": [each.status == inspection.OK for each in inspected],
        }
    )
    left = rows[rows["usable"] & ~rows["digest"].isin(known)].drop_duplicates("digest")
    if left.empty:
        raise UserError(
            f"images: of {len(rows):,} photos, {int(rows['usable'].sum()):,} are usable, and all "
            "of these have a label already; pass a folder of other photos"
        )
    return left.drop(columns="usable").reset_index(drop=True)


def with_vectors(
    photos: pd.DataFrame, recipe: Recipe, directory: Path, progress: Progress = silent
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the photos that can be decoded, and their vectors, float32 [n, features].

    Args:
        photos: result of `inspect`.
        recipe: how vectors are made.
        directory: folder of the recipe, where vectors are cached.
        progress: counts the photos that the module has processed.

    Raises:
        UserError: if a photo has changed, or none can be decoded. Vectors computed so far are kept.
    """
    (directory / cache.PARTIAL).mkdir(parents=True, exist_ok=True)
    unique = photos.assign(variant=0, key=photos["digest"])
    list_files = partial(cache.files, directory)
    found, _ = writer.ensure_cached(unique, list_files, Path(), recipe, directory, progress)
    have, vectors = found.take(np.arange(len(unique)), recipe)
    if not have.any():
        raise UserError("images: none of the photos can be decoded; pass other photos")
    return photos[have].reset_index(drop=True), to_float32(vectors)
