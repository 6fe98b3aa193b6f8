"""Ask an exported model what is on many photos; a run that was killed goes on where it was.

Below the folder of results:

    predictions.parquet     one row a photo: path, labels and scores (best first), problem
    predictions.csv         the same, a column for each of the five labels and scores

While it goes on, `partial/<name of that folder>/<first row>.parquet` holds the rows that are done.
"""

import glob
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.bottlenecks import extraction
from pipeline.errors import UserError
from pipeline.export import model_json, runtimes
from pipeline.files import atomic, naming, places
from pipeline.files.object_store import READERS, RemotePath
from pipeline.photos import discovery, inspection, sources
from pipeline.photos.discovery import Found
from pipeline.progress import Progress, silent

FORMAT_VERSION = 1  # raise it when the files change
TOP = 5
PART = 512  # photos a file of the journal: what a killed run may lose
MOST_NAMED = 20  # bad photos that are named one by one in the log; the table has all

SCHEMA = pa.schema(
    [
        ("path", pa.string()),  # as listed: absolute, or relative to where the run was started
        ("labels", pa.list_(pa.string())),  # best first; empty for a bad photo
        ("scores", pa.list_(pa.float32())),  # their probabilities
        ("problem", pa.string()),  # why the photo has no labels; empty where it has
    ]
)


@dataclass(frozen=True)
class Counts:
    """What `write` found.

    Attributes:
        photos: all of them.
        bad: path -> why it has no labels.
    """

    photos: int
    bad: dict[str, str]


def find(images: str) -> list[Found]:
    """The photos that a folder (with the folders in it), a file or a glob pattern names, in order.

    A folder may be in a store; a file or a pattern may not.

    Raises:
        UserError: where there are none, or the store cannot be read.
    """
    path = places.parse(images)
    if isinstance(path, RemotePath):
        found = list(sources.list_folder(path))
    elif path.is_dir():
        found = list(discovery.list_folder(path))
    elif path.is_file():
        found = [discovery.describe(path)]
    else:
        names = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 (absolute ones too)
        found = [discovery.describe(Path(name)) for name in names if not Path(name).is_dir()]
    if not found:
        raise UserError(
            f"images: no photo at {images or 'an empty path'}; give a folder, or a pattern in "
            "quotes such as 'photos/**/*.jpg'"
        )
    return found


def key(model: Path, found: Sequence[Found]) -> str:
    """Digest of all that makes the predictions: the model's files, the photos, the format.

    Raises:
        UserError: where there is no model.
    """
    files = [(photo.path, photo.size, photo.mtime_ns) for photo in found]
    return naming.digest(model_json.read(model)["files"], files, TOP, FORMAT_VERSION)


def write(
    model: Path, found: Sequence[Found], directory: Path, progress: Progress = silent
) -> Counts:
    """Write the predictions for all photos into `directory`, whole or not at all.

    Args:
        model: an exported model's folder; nothing else of the pipeline is needed.
        found: the photos.
        directory: for the results, named after `key`.
        progress: told of the photos done.

    Raises:
        UserError: where no photo can be used, or one disappears meanwhile. What is done is kept.
    """
    journal = directory.parent / "partial" / directory.name
    journal.mkdir(parents=True, exist_ok=True)
    parts = {journal / f"{n:09}.parquet": found[n : n + PART] for n in range(0, len(found), PART)}
    done = sum(len(some) for part, some in parts.items() if part.exists())
    progress(done, len(found), "photos")
    if done < len(found):
        described, answer = model_json.read(model), runtimes.saved_model(model / "saved_model")
    for part, some in parts.items():
        if part.exists():
            continue
        rows = _predict(some, answer, described)
        with atomic.write(part) as temporary:
            pq.write_table(pa.Table.from_pylist(rows, SCHEMA), temporary)
        done += len(some)
        progress(done, len(found), "photos")
    with atomic.write(directory) as temporary:
        temporary.mkdir()
        bad = _join(list(parts), temporary)
        if len(bad) == len(found):
            path, problem = next(iter(bad.items()))
            raise UserError(f"images: none of {len(found):,} can be used; {path}: {problem}")
    shutil.rmtree(journal)
    return Counts(len(found), bad)


def summary_lines(counts: Counts) -> Iterator[str]:
    """What a user should know: one line each, the count first."""
    yield f"Predictions: {counts.photos - len(counts.bad):,} of {counts.photos:,} photos"
    for path, problem in list(counts.bad.items())[:MOST_NAMED]:
        yield f"No prediction: {path}: {problem}"
    if len(counts.bad) > MOST_NAMED:
        yield f"No prediction: {len(counts.bad) - MOST_NAMED:,} more, in predictions.csv"


def _predict(
    found: Sequence[Found], answer: runtimes.Answering, described: dict[str, Any]
) -> list[dict[str, Any]]:
    """One row a photo, in order."""
    labels = np.array(described["labels"], object)
    with ThreadPoolExecutor(READERS) as threads:
        # What training would set aside is no photo here either, though it might be decoded.
        problems = list(threads.map(_problem, found))
    rows: list[dict[str, Any]] = [
        {"path": photo.path, "labels": [], "scores": [], "problem": problem}
        for photo, problem in zip(found, problems, strict=True)
    ]
    usable = [row for row in rows if not row["problem"]]
    size = described["input"]["height"], described["input"]["width"]
    for part in extraction.decode([places.parse(row["path"]) for row in usable], *size):
        probabilities = answer(part.pixels)[: len(part.indices)]
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
        scores = np.take_along_axis(probabilities, best, axis=1)
        for index, names, each in zip(part.indices, labels[best], scores, strict=True):
            usable[index] |= {"labels": names.tolist(), "scores": each}
        for index, reason in part.rejected.items():
            usable[index]["problem"] = reason
    return rows


def _problem(photo: Found) -> str:
    """What is wrong with a photo, as far as can be told before it is decoded."""
    status = sources.inspect(places.parse(photo.path), photo.size, photo.unusable).status
    return "" if status == inspection.OK else status


def _join(parts: list[Path], directory: Path) -> dict[str, str]:
    """Write both tables from the journal, a part at a time; returns the bad photos."""
    bad: dict[str, str] = {}
    with pq.ParquetWriter(directory / "predictions.parquet", SCHEMA) as writer:
        for number, part in enumerate(parts):
            table = pq.read_table(part)
            writer.write_table(table)
            rows = table.to_pandas()
            bad |= dict(rows.loc[rows["problem"] != "", ["path", "problem"]].to_numpy().tolist())
            wide = {"path": rows["path"]}
            for i in range(TOP):
                wide[f"label_{i + 1}"] = rows["labels"].str.get(i)
                wide[f"score_{i + 1}"] = rows["scores"].str.get(i)
            wide["problem"] = rows["problem"]
            pd.DataFrame(wide).to_csv(
                directory / "predictions.csv", mode="a", header=number == 0, index=False
            )
    return bad
