"""The manifest's rows of photos that are packed in shards: read where they are not known."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, fields, replace
from functools import partial

import pandas as pd

from pipeline.errors import reraise_exhausted
from pipeline.files.places import Place
from pipeline.photos import sources, tars
from pipeline.photos.discovery import Found
from pipeline.photos.inspection import Inspection
from pipeline.progress import Progress

# Of a photo in a shard, the times are the shard's.
_FACTS = ["label", "path", "size", "mtime_ns", "ctime_ns"]
_COLUMNS = [*_FACTS, *(field.name for field in fields(Inspection))]


def rows(
    listed: pd.DataFrame, image_dir: Place, known: pd.DataFrame, progress: Progress
) -> Iterator[pd.DataFrame]:
    """The rows of the photos in each shard, in order.

    Args:
        listed: the shards, with the columns of `Found`.
        image_dir: that their paths are relative to.
        known: rows of an earlier manifest; a shard that has not changed since is not read again.
        progress: told of the shards read.

    Raises:
        UserError: where a store fails.
    """
    if listed.empty:
        return
    found = [Found(*shard) for shard in listed.itertuples(index=False, name=None)]
    of_shard = known.groupby(known["path"].map(shard_of)).indices
    before = {shard: known.iloc[of_shard.get(shard.path, [])][_COLUMNS] for shard in found}
    new = [shard for shard in found if not _same(shard, before[shard])]
    done = 0
    with ThreadPoolExecutor() as threads:
        reading = threads.map(partial(_read, image_dir), new)
        for shard in found:
            if _same(shard, before[shard]):
                yield before[shard]
            else:
                yield next(reading)
                done += 1
                progress(done, len(new), "shards read")


def shard_of(path: str) -> str:
    """The path of the shard that a photo is in; empty for a photo that is a file of its own."""
    place = tars.place(path)
    return place[0] if place else ""


def _same(shard: Found, before: pd.DataFrame) -> bool:
    mtimes, ctimes = before["mtime_ns"], before["ctime_ns"]
    unchanged = (mtimes == shard.mtime_ns).all() and (ctimes == shard.ctime_ns).all()
    return bool(unchanged) and not before.empty


def _read(image_dir: Place, shard: Found) -> pd.DataFrame:
    """Rows of the photos in a shard; or one, of the shard itself, that says what is wrong."""
    version = (shard.mtime_ns, shard.ctime_ns)
    if shard.problem:
        inspected = Inspection("", 0, 0, "", False, shard.problem)
        facts = (shard.label, shard.path, shard.size, *version, *astuple(inspected))
        return pd.DataFrame([facts], columns=_COLUMNS)
    try:
        members = sources.members(image_dir, shard)
    except OSError as error:
        reraise_exhausted(error)
        return _read(image_dir, replace(shard, problem=f"cannot be read: {error.strerror}"))
    found = [(m.label, m.path, m.size, *version, *astuple(m.inspection)) for m in members]
    return pd.DataFrame(found, columns=_COLUMNS)
