"""Vectors of photos without labels, which no head is trained on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.bottlenecks import extraction, reader
from pipeline.bottlenecks.recipe import Recipe
from pipeline.errors import UserError
from pipeline.files import atomic, places
from pipeline.photos.discovery import Found
from pipeline.progress import Progress, silent

FORMAT_VERSION = 1  # raise it when the file changes


def compute(
    photos: Sequence[Found], recipe: Recipe, path: Path, progress: Progress = silent
) -> int:
    """Write the paths and vectors of all photos that can be decoded.

    Args:
        photos: the photos.
        recipe: how vectors are made.
        path: Parquet file to create: `path`, and `vector` as a list of float16 or float32.
        progress: counts the photos.

    Returns:
        The number of vectors.

    Raises:
        UserError: if there are none, or a photo disappears.
    """
    names: list[str] = []
    vectors = [np.empty((0, recipe.module.features), np.float32)]
    files = [places.parse(photo.path) for photo in photos]
    for batch in extraction.extract(files, recipe.module, recipe.precision):
        finite = np.isfinite(batch.vectors).all(1)
        names += [photos[i].path for i in batch.indices[finite]]
        vectors.append(batch.vectors[finite])
        progress(len(names), len(photos), "unknown photos")
    if not names:
        raise UserError(f"unknown_dir: none of {len(photos):,} photos can be decoded; check them")
    flat = np.concatenate(vectors).astype(recipe.vector_type).ravel()
    column = pa.FixedSizeListArray.from_arrays(pa.array(flat), recipe.module.features)
    table = pa.table({"path": names, "vector": column})
    with atomic.write(path) as temporary:
        pq.write_table(table, temporary)
    return len(names)


def read(path: Path) -> np.ndarray:
    """Read the vectors of a file, float32 [n, features]."""
    return reader.to_float32(reader.to_matrix(pq.read_table(path, columns=["vector"])["vector"]))
