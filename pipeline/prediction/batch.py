"""Batch prediction: classify many photos with an exported model; a killed run resumes.

The folder of the results contains

    predictions.parquet     one row per photo: path, labels and scores (best first), known, unknown,
                            problem
    predictions.csv         the same, with one column for each of the five labels and scores

During a run, `partial/<name of that folder>/<first row>.parquet` contains the completed rows.
"""

import glob
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.bottlenecks import extraction, writer
from pipeline.errors import UserError
from pipeline.export import model_json, runtimes
from pipeline.files import atomic, naming, places
from pipeline.files.object_store import RemotePath
from pipeline.modules import failures
from pipeline.photos import discovery, sources
from pipeline.photos.discovery import Found
from pipeline.photos.remarks import MOST_NAMED
from pipeline.progress import Progress, silent

FORMAT_VERSION = 3  # raise it when the files change
TOP = 5  # labels per photo
JOURNAL_ROWS = 512

SCHEMA = pa.schema(
    [
        ("path", pa.string()),  # as listed: absolute, or relative to the working directory
        ("labels", pa.list_(pa.string())),  # best first; empty for an unusable photo
        ("scores", pa.list_(pa.float32())),  # their probabilities
        ("known", pa.float32()),  # share of the known photos that fit no better; empty like labels
        ("unknown", pa.bool_()),  # whether known is at most the model's unknown_rate
        ("problem", pa.string()),  # why the photo has no labels; else empty
    ]
)


@dataclass(frozen=True)
class PredictionCounts:
    """The result of a batch prediction.

    Attributes:
        photos: number of photos.
        unusable: maps paths to the reason why a photo has no labels.
    """

    photos: int
    unusable: dict[str, str]


def find(images: str, option: str = "images") -> list[Found]:
    """Find the photos of a folder and its subfolders, a file or a glob pattern, sorted.

    A folder may be on an object store; a file or pattern must be local. `option` is the name that
    an error message gives to `images`.

    Raises:
        UserError: if there are no photos, or the object store cannot be read.
    """
    path = places.parse(images)
    if isinstance(path, RemotePath):
        photos = list(sources.list_folder(path))
    elif path.is_dir():
        photos = list(discovery.list_folder(path))
    elif path.is_file():
        photos = [discovery.describe(path)]
    else:
        photos = [discovery.describe(match) for match in _matches(path) if not match.is_dir()]
    if not photos:
        raise UserError(
            f"{option}: no photos at {images or 'an empty path'}; pass a folder, or a quoted "
            "pattern such as 'photos/**/*.jpg'"
        )
    return photos


def _matches(pattern: Path) -> list[Path]:
    """Return the files and folders that match a pattern, sorted.

    Its folders up to the last one that exists are taken literally: names such as `trip [2019]`
    contain the characters of patterns.
    """
    folder = next(parent for parent in pattern.parents if parent.is_dir())
    rest = str(pattern.relative_to(folder))
    names = glob.glob(rest, root_dir=folder, recursive=True)  # noqa: PTH207 (skips hidden files)
    return sorted((folder / name for name in names), key=str)


def key(model: Path, photos: Sequence[Found]) -> str:
    """Return a digest of everything that determines the predictions.

    Raises:
        UserError: if there is no model.
    """
    files = [(photo.path, photo.size, photo.mtime_ns) for photo in photos]
    return naming.digest(model_json.read(model)["files"], files, TOP, FORMAT_VERSION)


def write(
    model: Path,
    photos: Sequence[Found],
    directory: Path,
    progress: Progress = silent,
    journal_rows: int = JOURNAL_ROWS,
) -> PredictionCounts:
    """Write the predictions for all photos atomically.

    Args:
        model: folder of an exported model.
        photos: the photos.
        directory: folder to create, named after `key`.
        progress: counts the photos.
        journal_rows: photos per file of the journal, which a killed run may lose.

    Raises:
        UserError: if no photo is usable, one disappears during the run, or the module raises an
            error. Completed rows are kept.
    """
    journal = directory.parent / "partial" / directory.name
    journal.mkdir(parents=True, exist_ok=True)
    total = len(photos)
    chunks = {
        journal / f"{start:09}.parquet": photos[start : start + journal_rows]
        for start in range(0, total, journal_rows)
    }
    done = sum(len(chunk) for file, chunk in chunks.items() if file.exists())
    progress(done, total, "photos")
    if done < total:
        description, classify = model_json.read(model), runtimes.known(model / "saved_model")
    for file, chunk in chunks.items():
        if file.exists():
            continue
        rows = _predict(chunk, classify, description)
        with atomic.write(file) as temporary:
            pq.write_table(pa.Table.from_pylist(rows, SCHEMA), temporary)
        done += len(chunk)
        progress(done, total, "photos")
    with atomic.write(directory) as temporary:
        temporary.mkdir()
        unusable = _join(list(chunks), temporary)
        if len(unusable) == total:
            path, problem = next(iter(unusable.items()))
            raise UserError(f"images: none of {total:,} photos is usable; {path}: {problem}")
    shutil.rmtree(journal)
    return PredictionCounts(photos=len(photos), unusable=unusable)


def summary_lines(counts: PredictionCounts) -> Iterator[str]:
    """Yield what users should know, one line each, the count first."""
    yield f"Predictions: {counts.photos - len(counts.unusable):,} of {counts.photos:,} photos"
    for path, problem in list(counts.unusable.items())[:MOST_NAMED]:
        yield f"No prediction: {path}: {problem}"
    if len(counts.unusable) > MOST_NAMED:
        yield f"No prediction: {len(counts.unusable) - MOST_NAMED:,} more, in predictions.csv"


def _predict(
    photos: Sequence[Found],
    classify: Callable[[Any], tuple[np.ndarray, np.ndarray]],
    description: dict[str, Any],
) -> list[dict[str, Any]]:
    """Return one row per photo, in order."""
    labels = np.array(description["labels"], object)
    facts = description.get("known") or {"unknown_rate": 0, "other_class": ""}
    is_answer = labels != facts["other_class"]
    # Photos that training would set aside are unusable here, too, even if they can be decoded.
    rows: list[dict[str, Any]] = [
        {"path": photo.path, "labels": [], "scores": [], "problem": problem}
        for photo, problem in zip(photos, sources.problems(photos), strict=True)
    ]
    usable = [row for row in rows if not row["problem"]]
    spec = model_json.input_spec(description)
    for batch in extraction.decode([places.parse(row["path"]) for row in usable], spec):
        paths = [usable[i]["path"] for i in batch.indices]
        name = f"images: the model's module, {description['module']['handle']},"
        remedy = "or predict with another model"
        outputs = failures.call(classify, batch.pixels, name, paths, remedy)
        probabilities, known = (output[: len(paths)] for output in outputs)
        probabilities = probabilities[:, is_answer]
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
        scores = np.take_along_axis(probabilities, best, axis=1)
        answers = zip(batch.indices, labels[is_answer][best], scores, known, strict=True)
        for index, names, each, fit in answers:
            if np.isfinite(each).all():
                usable[index] |= {"labels": names.tolist(), "scores": each}
                if not np.isnan(fit):  # as for a model of an earlier version
                    # Compared in float32, where 1 / 20 is at most 0.05.
                    usable[index] |= {"known": fit, "unknown": bool(fit <= facts["unknown_rate"])}
            else:
                usable[index]["problem"] = writer.NOT_FINITE
        for index, reason in batch.rejected.items():
            usable[index]["problem"] = reason
    return rows


def _join(files: list[Path], directory: Path) -> dict[str, str]:
    """Write both tables from the files of the journal, and return the unusable photos."""
    unusable: dict[str, str] = {}
    with pq.ParquetWriter(directory / "predictions.parquet", SCHEMA) as writer:
        for number, file in enumerate(files):
            table = pq.read_table(file)
            writer.write_table(table)
            rows = table.to_pandas()
            problems = rows.loc[rows["problem"] != "", ["path", "problem"]]
            unusable |= dict(problems.to_numpy().tolist())
            wide = {"path": rows["path"]}
            for i in range(TOP):
                wide[f"label_{i + 1}"] = rows["labels"].str.get(i)
                wide[f"score_{i + 1}"] = rows["scores"].str.get(i)
            wide |= {name: rows[name] for name in ("known", "unknown", "problem")}
            pd.DataFrame(wide).to_csv(
                directory / "predictions.csv", mode="a", header=number == 0, index=False
            )
    return unusable
