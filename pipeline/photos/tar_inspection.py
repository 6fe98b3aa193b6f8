"""Manifest rows of the photos in tar files, which are read only if they have changed."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, fields, replace
from functools import partial

import pandas as pd

from pipeline.errors import reraise_exhausted
from pipeline.files.places import Place
from pipeline.photos import inspection, sources, tars
from pipeline.photos.discovery import Found
from pipeline.photos.inspection import Inspection
from pipeline.photos.layout import Layout
from pipeline.progress import Progress

# The times of a photo in a tar file are those of the tar file.
_FACTS = ["label", "path", "size", "mtime_ns", "ctime_ns"]
_COLUMNS = [*_FACTS, *(field.name for field in fields(Inspection))]


def rows(
    listed: pd.DataFrame,
    image_dir: Place,
    layout: Layout,
    previous: pd.DataFrame,
    progress: Progress,
) -> Iterator[pd.DataFrame]:
    """Yield the rows of the photos in each tar file, in order.

    Args:
        listed: the tar files, with the columns of `Found`.
        image_dir: folder that their paths are relative to.
        layout: what its folders mean.
        previous: rows of an earlier manifest; unchanged tar files are not read again.
        progress: counts the tar files read.

    Raises:
        UserError: if an object store fails.
    """
    if listed.empty:
        return
    tar_files = [Found(*fields) for fields in listed.itertuples(index=False, name=None)]
    indices = previous.groupby(previous["path"].map(tar_file_of)).indices
    before = {file: previous.iloc[indices.get(file.path, [])][_COLUMNS] for file in tar_files}
    new = [file for file in tar_files if not _is_unchanged(file, before[file])]
    done = 0
    with ThreadPoolExecutor() as threads:
        reading = threads.map(partial(_read, image_dir, layout), new)
        for tar_file in tar_files:
            if _is_unchanged(tar_file, before[tar_file]):
                yield before[tar_file]
            else:
                yield next(reading)
                done += 1
                progress(done, len(new), "tar files read")


def tar_file_of(path: str) -> str:
    """Return the path of the tar file that contains a photo, or an empty string."""
    place = tars.place(path)
    return place[0] if place else ""


def _is_unchanged(tar_file: Found, before: pd.DataFrame) -> bool:
    mtimes, ctimes = before["mtime_ns"], before["ctime_ns"]
    unchanged = (mtimes == tar_file.mtime_ns).all() and (ctimes == tar_file.ctime_ns).all()
    return bool(unchanged) and not before.empty


def _read(image_dir: Place, layout: Layout, tar_file: Found) -> pd.DataFrame:
    """Return the rows of the photos in a tar file, or one row with the file's own problem."""
    version = (tar_file.mtime_ns, tar_file.ctime_ns)
    if tar_file.unusable:
        inspected = inspection.set_aside(tar_file.unusable)
        facts = (tar_file.label, tar_file.path, tar_file.size, *version, *astuple(inspected))
        return pd.DataFrame([facts], columns=_COLUMNS)
    try:
        members = sources.members(image_dir, tar_file, layout)
    except OSError as error:
        reraise_exhausted(error)
        unusable = replace(tar_file, unusable=f"cannot be read: {error.strerror}")
        return _read(image_dir, layout, unusable)
    rows = [(m.label, m.path, m.size, *version, *astuple(m.inspection)) for m in members]
    return pd.DataFrame(rows, columns=_COLUMNS)
