"""The manifest: one Parquet table of all photos, with content digest, split and status."""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UserError
from pipeline.files import atomic, naming, places
from pipeline.files.damage import UNREADABLE, reraise_system_errors
from pipeline.files.places import Place
from pipeline.photos import inspection, sources, split, tar_inspection, tars
from pipeline.photos.inspection import Problem
from pipeline.photos.listing import STAT, Listing
from pipeline.photos.split import SplitRule
from pipeline.progress import Progress, silent

FORMAT_VERSION = 2  # raise it when the meaning of a column or status changes
FEW_PHOTOS = 20  # retrain.py warned below this number, too
MOST_NAMED = 20  # photos set aside that are listed individually

SCHEMA = pa.schema(
    [
        ("label", pa.string()),  # name of the class folder, unchanged
        ("path", pa.string()),  # relative to the image folder
        ("size", pa.int64()),  # bytes
        ("mtime_ns", pa.int64()),  # modification time; on an object store, a number for the version
        ("ctime_ns", pa.int64()),  # change time of the metadata; on an object store, 0
        ("digest", pa.string()),  # SHA-256 of the content, in hex
        ("width", pa.int32()),  # pixels, as stored
        ("height", pa.int32()),
        ("format", pa.string()),  # JPEG, PNG, GIF, BMP, WEBP
        ("grey", pa.bool_()),  # stored without colour
        ("split", pa.string()),  # training, validation, testing; empty if set aside
        ("status", pa.string()),  # "ok", or why the photo is set aside, for people
        ("problem", pa.string()),  # the same as a value of `Problem`; empty if ok
    ]
)
_INSPECTION = ["digest", "width", "height", "format", "grey", "status", "problem"]
_METADATA_KEY = b"retrain"
UNLISTED = "on no list of the given split (split_file)"  # status
_CHUNK = 1024  # photos inspected between two reports of progress


@dataclass(frozen=True)
class ClassSummary:
    """A class: its label, a digest of its rows, and the number of photos per split."""

    label: str
    digest: str
    training: int
    validation: int
    testing: int
    set_aside: int

    @property
    def usable(self) -> int:
        """Number of photos that are not set aside."""
        return self.training + self.validation + self.testing


@dataclass(frozen=True)
class Summary:
    """The manifest's metadata: enough to name all later results without reading the rows.

    Attributes:
        digest: digest of the label, path, content and split of all usable photos.
        aside_digest: digest of the path and status of all photos that are set aside.
        classes: sorted by label.
    """

    digest: str
    aside_digest: str
    classes: tuple[ClassSummary, ...]

    @cached_property
    def by_label(self) -> dict[str, ClassSummary]:
        """The classes by label."""
        return {c.label: c for c in self.classes}

    def __str__(self) -> str:
        counts = (f"{sum(getattr(c, s) for c in self.classes):,} {s}" for s in split.SPLITS)
        aside = sum(c.set_aside for c in self.classes)
        classes = sum(c.usable > 0 for c in self.classes)
        return f"Photos of {classes} classes: {', '.join(counts)}, {aside:,} set aside"


def build(
    listing: Listing,
    image_dir: Place,
    rule: SplitRule,
    previous: pd.DataFrame | None = None,
    progress: Progress = silent,
    unfinished: Path | None = None,
) -> pa.Table:
    """Inspect new photos, split all of them, and summarise the data set.

    Args:
        listing: the listing of `image_dir`.
        image_dir: the image folder.
        rule: how to split.
        previous: rows of an earlier manifest of the same folder; photos whose path, size and
            times are unchanged are not read again.
        progress: counts the photos inspected.
        unfinished: file for the photos inspected so far, in case of an interruption; `newest`
            finds it beside the manifests.

    Returns:
        A table of SCHEMA in the order of the listing, with its Summary in the metadata.

    Raises:
        UserError: if fewer than two classes have usable photos, or an object store fails.
    """
    rows = listing.photos
    if previous is None:
        previous = pd.DataFrame(columns=["label", *STAT, *_INSPECTION])
    # Whether a photo is on a list depends on the rule, not on its inspection.
    previous = previous.replace(
        {"status": {UNLISTED: inspection.OK}, "problem": {Problem.UNLISTED.value: ""}}
    )
    rows = rows.merge(previous[STAT + _INSPECTION], how="left", on=STAT)
    folder = places.absolute(image_dir)
    from_tar_files: list[pd.DataFrame] = []
    try:
        _inspect(rows, image_dir, progress)
        from_tar_files += tar_inspection.rows(listing.tar_files, image_dir, previous, progress)
    except BaseException:
        if unfinished:
            done = pd.concat([rows[rows["status"].notna()], *from_tar_files]).assign(split="")
            write(_table(done, {"version": FORMAT_VERSION, "image_dir": folder}), unfinished)
        raise
    labels = listing.labels
    if from_tar_files:
        rows = pd.concat([rows, *from_tar_files], ignore_index=True)
        labels = tuple(sorted({*labels, *rows["label"]} - {""}))
    digests = rows["digest"].where(rows["status"] == inspection.OK, "")
    rows["split"] = split.assign_all(rule, unpacked(rows["path"]), digests.to_list())
    unlisted = rows["split"].isna() & (rows["status"] == inspection.OK)
    rows.loc[unlisted, ["status", "problem"]] = [UNLISTED, Problem.UNLISTED.value]
    rows.loc[rows["status"] != inspection.OK, "split"] = ""
    summary = _summarise(rows, labels)
    _refuse_hopeless(summary, rows, image_dir)
    return _table(rows, {"version": FORMAT_VERSION, "image_dir": folder, **asdict(summary)})


def _table(rows: pd.DataFrame, fields: dict[str, Any]) -> pa.Table:
    table = pa.Table.from_pandas(rows[SCHEMA.names], SCHEMA, preserve_index=False)
    return table.replace_schema_metadata({_METADATA_KEY: json.dumps(fields)})


def unpacked(paths: "pd.Series[str]") -> list[str]:
    """Return the paths of photos as a predefined split lists them, without tar files."""
    return [tars.unpacked(path) for path in paths]


def _inspect(rows: pd.DataFrame, image_dir: Place, progress: Progress) -> None:
    """Inspect the photos whose rows lack an inspection, and fill it in."""
    new = rows.index[rows["status"].isna()]
    inspected: list[inspection.Inspection] = []

    def inspect(path: str, size: int, problem: str) -> inspection.Inspection:
        return sources.inspect(image_dir / path, size, problem)

    try:
        with ThreadPoolExecutor(sources.reader_threads(image_dir)) as threads:
            for start in range(0, len(new), _CHUNK):
                chunk = rows.loc[new[start : start + _CHUNK]]
                inspected += threads.map(inspect, chunk["path"], chunk["size"], chunk["unusable"])
                progress(len(inspected), len(new), "photos inspected")
    finally:
        done = new[: len(inspected)]
        for column in _INSPECTION:
            values = [getattr(each, column) for each in inspected]
            rows[column] = rows[column].astype(object)
            rows.loc[done, column] = pd.Series(values, index=done, dtype=object)


def _summarise(rows: pd.DataFrame, labels: tuple[str, ...]) -> Summary:
    usable, aside = rows[rows["status"] == inspection.OK], rows[rows["status"] != inspection.OK]
    content: dict[str, list[list[str]]] = {label: [] for label in labels}
    for label, *fields in usable[["label", "path", "digest", "split"]].to_numpy().tolist():
        content.setdefault(label, []).append(fields)
    counts = Counter(zip(rows["label"], rows["split"], strict=True))  # no split: set aside
    classes = tuple(
        ClassSummary(
            label=label,
            digest=naming.digest(label, content[label]),
            training=counts[label, split.TRAINING],
            validation=counts[label, split.VALIDATION],
            testing=counts[label, split.TESTING],
            set_aside=counts[label, ""],
        )
        for label in labels
    )
    usable_digest = naming.digest([c.digest for c in classes if c.usable])
    aside_digest = naming.digest(aside[["path", "status"]].to_numpy().tolist())
    return Summary(usable_digest, aside_digest, classes)


def _refuse_hopeless(summary: Summary, rows: pd.DataFrame, image_dir: Place) -> None:
    trainable = [c.label for c in summary.classes if c.training]
    if len(trainable) >= 2:
        return
    aside = rows[rows["status"] != inspection.OK]
    reasons = "".join(
        f"\n  {_printable(str(r.path))}: {r.status}" for r in aside.head(10).itertuples()
    )
    raise UserError(
        f"image_dir: {image_dir} has {len(trainable)} class with photos for training"
        f"{' (' + repr(trainable[0]) + ')' if trainable else ''}, and a classifier needs at least "
        f"two; add a folder of photos for each class{reasons and '. Set aside:' + reasons}"
    )


def write(table: pa.Table, path: Path) -> None:
    """Write a manifest atomically."""
    with atomic.write(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read(path: Path, labels: tuple[str, ...] | None = None) -> pd.DataFrame:
    """Return the rows of a manifest, or those of some classes.

    Raises:
        UserError: if the file is damaged.
    """
    filters = None if labels is None else [("label", "in", list(labels))]
    try:
        table = pq.read_table(path, filters=filters, page_checksum_verification=True)
        if "problem" not in table.column_names:  # written before there was this column
            table = table.append_column("problem", _problems(table["status"]))
        rows: pd.DataFrame = table.cast(SCHEMA).to_pandas()
    except UNREADABLE as error:
        reraise_system_errors(error)
        raise UserError(f"{path} is damaged ({error}); delete it, and run again") from None
    return rows


def _problems(status: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the problem of each status in a manifest that has no column for it."""
    exact = {inspection.OK: Problem.NONE, UNLISTED: Problem.UNLISTED}

    def problem(text: str) -> str:
        other = Problem.UNSUPPORTED if " is not supported; " in text else Problem.UNREADABLE
        return exact.get(text, other).value

    return pa.chunked_array([[problem(text) for text in status.to_pylist()]], pa.string())


def read_summary(path: Path) -> Summary:
    """Return the Summary of a manifest, reading only its footer.

    Raises one of UNREADABLE if the file is damaged.
    """
    return _summary(pq.read_schema(path))


def image_dir(path: Path) -> str:
    """Return the image folder that a manifest describes, as an absolute path or URL."""
    return str(_fields(pq.read_schema(path))["image_dir"])


def newest(directory: Path, image_dir: Place) -> pd.DataFrame | None:
    """Return the rows of the newest manifest of `image_dir` in `directory`, or None.

    Files that could not be read are left out, so that they are tried again.
    """
    paths = directory.glob("*.parquet")
    for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            fields = _fields(pq.read_schema(path))
            same = fields["image_dir"] == places.absolute(image_dir)
            if same and fields["version"] == FORMAT_VERSION:
                rows = read(path)
                unread = rows["digest"] == ""
                in_tar_file = rows["path"][unread].map(tar_inspection.tar_file_of) != ""
                return rows.drop(index=in_tar_file.index[~in_tar_file])
        except (*UNREADABLE, UserError):
            continue  # damaged, or not a manifest: the photos are read again
    return None


def summary_lines(table: pa.Table, image_dir: Place, stray: int = 0) -> Iterator[str]:
    """Yield what users should know about the data set before training, one line each.

    Args:
        table: the manifest.
        image_dir: the image folder.
        stray: number of photos directly in that folder.
    """
    if stray:
        yield (
            f"{stray} photos are directly in {image_dir} and belong to no class; move them into "
            "the folder of their class"
        )
    rows = table.select(["path", "status"]).to_pandas()
    aside = rows[rows["status"] != inspection.OK]
    for row in aside.head(MOST_NAMED).itertuples():
        yield f"Set aside: {_printable(str(row.path))}: {row.status}"
    if len(aside) > MOST_NAMED:
        yield f"Set aside: {len(aside) - MOST_NAMED} more; see the manifest's status column"
    summary = _summary(table.schema)
    for c in summary.classes:
        if not c.usable:
            yield f"Class {c.label!r} has no usable photos and is left out; add photos to it."
        elif not c.training:
            yield f"Class {c.label!r} has no photos for training and is left out; add photos."
    labels_by_look: dict[str, list[str]] = {}
    for c in summary.classes:
        labels_by_look.setdefault(unicodedata.normalize("NFC", c.label).strip(), []).append(c.label)
    for names in labels_by_look.values():
        if len(names) > 1:
            same = ", ".join(map(ascii, names))
            yield f"These labels look the same but are different classes: {same}"
    few = [f"{c.label} ({c.usable})" for c in summary.classes if 0 < c.usable < FEW_PHOTOS]
    if few:
        yield f"Classes with fewer than {FEW_PHOTOS} photos (accuracy may suffer): {_some(few)}"
    for part, name in ((split.VALIDATION, "validation"), (split.TESTING, "test")):
        without = [c.label for c in summary.classes if c.training and not getattr(c, part)]
        if without:
            yield (
                f"{len(without)} of {len(summary.classes)} classes have no {name} photos: "
                f"{_some(without)}. They are still used for training. To fix this, add photos or "
                f"raise {part}_percentage."
            )


def _printable(text: str) -> str:
    """Return a path as one line of a log, whatever characters it contains."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _fields(schema: pa.Schema) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = json.loads((schema.metadata or {})[_METADATA_KEY])
        return {name: fields[name] for name in ("version", "image_dir")} | fields
    except (KeyError, TypeError, ValueError):
        raise pa.ArrowInvalid("it is not a manifest") from None


def _summary(schema: pa.Schema) -> Summary:
    fields = _fields(schema)
    try:
        classes = tuple(ClassSummary(**c) for c in fields["classes"])
        return Summary(fields["digest"], fields["aside_digest"], classes)
    except (KeyError, TypeError):
        raise pa.ArrowInvalid("it is not a manifest") from None
