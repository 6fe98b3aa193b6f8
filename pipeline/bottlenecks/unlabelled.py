"""Vectors of photos without labels, which no head is trained on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.bottlenecks import extraction, reader, writer
from pipeline.bottlenecks.recipe import Recipe
from pipeline.errors import UserError
from pipeline.files import atomic, places
from pipeline.photos import sources
from pipeline.photos.discovery import Found
from pipeline.progress import Progress, silent

FORMAT_VERSION = 1  # raise it when the file changes


def compute(
    photos: Sequence[Found], recipe: Recipe, path: Path, progress: Progress = silent
) -> dict[str, str]:
    """Write the paths and vectors of all usable photos.

    Args:
        photos: the photos, at least one, with complete paths.
        recipe: how vectors are made.
        path: Parquet file to create: `path`, and `vector` as a list of float16 or float32.
        progress: counts the photos.

    Returns:
        The paths of the unusable photos, and why they are.

    Raises:
        UserError: if no photo is usable, or one disappears.
    """
    problems = dict(zip((photo.path for photo in photos), sources.problems(photos), strict=True))
    usable = [name for name, problem in problems.items() if not problem]
    names: list[str] = []
    vectors: list[np.ndarray] = []
    files = [places.parse(name) for name in usable]
    for batch in extraction.extract(files, recipe.module, recipe.precision) if files else ():
        finite = np.isfinite(batch.vectors).all(1)
        names += [usable[i] for i in batch.indices[finite]]
        vectors.append(batch.vectors[finite])
        problems |= {usable[i]: reason for i, reason in batch.rejected.items()}
        problems |= {usable[i]: writer.NOT_FINITE for i in batch.indices[~finite]}
        progress(len(names), len(usable), "unknown photos")
    unusable = {name: problem for name, problem in problems.items() if problem}
    if not names:
        name, problem = next(iter(unusable.items()))
        raise UserError(f"unknown_dir: none of {len(photos):,} photos is usable; {name}: {problem}")
    flat = np.concatenate(vectors).astype(recipe.vector_type).ravel()
    column = pa.FixedSizeListArray.from_arrays(pa.array(flat), recipe.module.features)
    with atomic.write(path) as temporary:
        pq.write_table(pa.table({"path": names, "vector": column}), temporary)
    return unusable


def read(path: Path) -> np.ndarray:
    """Read the vectors of a file, float32 [n, features]."""
    return reader.to_float32(reader.to_matrix(pq.read_table(path, columns=["vector"])["vector"]))
