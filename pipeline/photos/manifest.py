"""The manifest: one Parquet table of all photos, with content digest, split and status."""

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UserError
from pipeline.files import atomic, naming, places
from pipeline.files.damage import UNREADABLE, reraise_system_errors
from pipeline.files.numbers import counted
from pipeline.files.places import Place
from pipeline.photos import (
    corrections,
    decisions,
    inspection,
    layout,
    sources,
    split,
    tar_inspection,
    tars,
)
from pipeline.photos.corrections import Correction
from pipeline.photos.decisions import Applied
from pipeline.photos.file_names import Kind, composed, kind, name_of, printable
from pipeline.photos.inspection import Problem
from pipeline.photos.layout import PLAIN, Layout
from pipeline.photos.listing import STAT, Listing
from pipeline.photos.split import SplitRule
from pipeline.progress import Progress, silent

FORMAT_VERSION = 4  # raise it when the meaning of a column or status changes
FEW_PHOTOS = 20  # retrain.py warned below this number, too

SCHEMA = pa.schema(
    [
        ("label", pa.string()),  # name of the class folder, or the label to use in its place
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
_CORRECTED = "corrected"  # field of the metadata: `decisions.Applied`, if there are any
UNLISTED = "on no list of the given split (split_file)"  # statuses
IN_NO_PART = "in no folder of a split (split_folders)"
SKIPPED = "skipped, as neither its name nor its content is that of an image"
_NOT_IN_THE_DATA_SET = (Problem.SKIPPED, Problem.EXCLUDED)
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

    @property
    def set_aside(self) -> int:
        """Number of photos that are set aside."""
        return sum(c.set_aside for c in self.classes)

    def __str__(self) -> str:
        counts = (f"{sum(getattr(c, s) for c in self.classes):,} {s}" for s in split.SPLITS)
        classes = sum(c.usable > 0 for c in self.classes)
        return f"Photos of {classes} classes: {', '.join(counts)}, {self.set_aside:,} set aside"


def build(
    listing: Listing,
    image_dir: Place,
    rule: SplitRule,
    previous: pd.DataFrame | None = None,
    progress: Progress = silent,
    unfinished: Path | None = None,
    corrected: Sequence[Correction] = (),
    corrections_file: Place = Path(corrections.FILE),
) -> pa.Table:
    """Inspect new photos, split all of them, and summarise the data set.

    Args:
        listing: the listing of `image_dir`.
        image_dir: the image folder.
        rule: how to split, unless the layout of the listing states the splits.
        previous: rows of an earlier manifest of the same folder; photos whose path, size and
            times are unchanged are not read again.
        progress: counts the photos inspected.
        unfinished: file for the photos inspected so far, in case of an interruption; `newest`
            finds it beside the manifests.
        corrected: the corrections in force. They do not affect the splits.
        corrections_file: their file, for messages.

    Returns:
        A table of SCHEMA in the order of the listing, with its Summary in the metadata.

    Raises:
        UserError: if fewer than two classes have usable photos, if the folders are those of a
            split or of none, or if an object store fails.
    """
    rows = listing.photos
    if previous is None:
        previous = pd.DataFrame(columns=["label", *STAT, *_INSPECTION])
    # Whether a photo is on a list depends on the rule, not on its inspection.
    previous = previous.replace(
        {
            "status": dict.fromkeys((UNLISTED, IN_NO_PART), inspection.OK),
            "problem": {Problem.UNLISTED.value: ""},
        }
    )
    rows = rows.merge(previous[STAT + _INSPECTION], how="left", on=STAT)
    fields = {
        "version": FORMAT_VERSION,
        "image_dir": places.absolute(image_dir),
        "layout": listing.layout.key,
    }
    from_tar_files: list[pd.DataFrame] = []
    try:
        _inspect(rows, image_dir, progress)
        from_tar_files += tar_inspection.rows(
            listing.tar_files, image_dir, listing.layout, previous, progress
        )
    except BaseException:
        if unfinished:
            done = pd.concat([rows[rows["status"].notna()], *from_tar_files]).assign(split="")
            write(_table(done, fields), unfinished)
        raise
    labels, remedy = listing.labels, ""
    if from_tar_files:
        rows = pd.concat([rows, *from_tar_files], ignore_index=True)
        labels = tuple(sorted({*labels, *rows["label"]} - {""}))
        if not listing.layout.split_folders:
            layout.refuse_split_folders(image_dir, labels, unpacked(rows["path"]))
    rows = _skip_others(rows)
    _split(rows, listing.layout, rule)
    if corrected:
        applied = decisions.apply(rows, corrected, listing.layout.merged)
        fields[_CORRECTED] = asdict(applied)
        labels = tuple(sorted({*labels, *rows.loc[rows["path"].isin(applied.relabelled), "label"]}))
        remedy = f", or delete lines of {corrections_file} ({applied})"
    summary = _summarise(rows, labels)
    _refuse_hopeless(summary, rows, image_dir, remedy)
    return _table(rows, {**fields, **asdict(summary)})


def _skip_others(rows: pd.DataFrame) -> pd.DataFrame:
    """Mark the files of unknown suffix whose content is not an image either."""
    no_image = rows["problem"].isin([Problem.NO_IMAGE, Problem.TOO_LARGE]) & (rows["format"] == "")
    unknown = [kind(name_of(path)) is Kind.UNKNOWN for path in rows["path"][no_image]]
    others = rows.index[no_image][unknown]
    rows.loc[others, ["status", "problem"]] = [SKIPPED, Problem.SKIPPED.value]
    return rows


def _split(rows: pd.DataFrame, meaning: Layout, rule: SplitRule) -> None:
    """Fill in the splits, and set photos aside that are in none."""
    usable = rows["status"] == inspection.OK
    paths = unpacked(rows["path"])
    if meaning.split_folders:
        in_use = itertools.compress(paths, usable)
        rule = replace(rule, predefined=split.folder_split(in_use))
    keys = layout.hash_keys(meaning, paths, rows["label"].to_list(), usable.to_list())
    digests = rows["digest"].where(usable, "")
    rows["split"] = split.assign_all(rule, paths, digests.to_list(), keys)
    status = IN_NO_PART if meaning.split_folders else UNLISTED
    unlisted = rows["split"].isna() & usable
    rows.loc[unlisted, ["status", "problem"]] = [status, Problem.UNLISTED.value]
    rows.loc[rows["status"] != inspection.OK, "split"] = ""


def set_aside(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Return which rows are photos that are set aside.

    Files that are skipped are not photos, and excluded photos are no longer in the data set.
    """
    return (rows["status"] != inspection.OK) & ~rows["problem"].isin(_NOT_IN_THE_DATA_SET)


def _table(rows: pd.DataFrame, fields: dict[str, Any]) -> pa.Table:
    table = pa.Table.from_pandas(rows[SCHEMA.names], SCHEMA, preserve_index=False)
    return table.replace_schema_metadata({_METADATA_KEY: json.dumps(fields)})


def unpacked(paths: "pd.Series[str]") -> list[str]:
    """Return the paths that decide about the split: without tar files, and with composed accents.

    They are the same on every machine, and predefined splits list them.
    """
    return [composed(tars.unpacked(path)) for path in paths]


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
    usable, aside = rows[rows["status"] == inspection.OK], rows[set_aside(rows)]
    content: dict[str, list[list[str]]] = {label: [] for label in labels}
    for label, *fields in usable[["label", "path", "digest", "split"]].to_numpy().tolist():
        content.setdefault(label, []).append(fields)
    photos = rows[~rows["problem"].isin(_NOT_IN_THE_DATA_SET)]
    counts = Counter(zip(photos["label"], photos["split"], strict=True))  # no split: set aside
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


def _refuse_hopeless(summary: Summary, rows: pd.DataFrame, image_dir: Place, remedy: str) -> None:
    trainable = [c.label for c in summary.classes if c.training]
    if len(trainable) >= 2:
        return
    aside = rows[set_aside(rows)].head(10)
    reasons = "".join(f"\n  {printable(str(r.path))}: {r.status}" for r in aside.itertuples())
    raise UserError(
        f"image_dir: {image_dir} has {counted(len(trainable), 'class')} with photos for training"
        f"{' (' + repr(trainable[0]) + ')' if trainable else ''}, and a classifier needs at least "
        f"two; add a folder of photos for each class{remedy}{reasons and '. Set aside:' + reasons}"
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
    exact = {inspection.OK: Problem.NONE, UNLISTED: Problem.UNLISTED}  # of the older versions

    def problem(text: str) -> str:
        other = Problem.UNSUPPORTED if " is not supported; " in text else Problem.UNREADABLE
        return exact.get(text, other).value

    return pa.chunked_array([[problem(text) for text in status.to_pylist()]], pa.string())


def read_summary(path: Path) -> Summary:
    """Return the Summary of a manifest, reading only its footer.

    Raises one of UNREADABLE if the file is damaged.
    """
    return summary_of(pq.read_schema(path))


def image_dir(path: Path) -> str:
    """Return the image folder that a manifest describes, as an absolute path or URL."""
    return str(_fields(pq.read_schema(path))["image_dir"])


def applied(schema: pa.Schema) -> Applied | None:
    """Return what corrections changed in a manifest; None if there were none."""
    fields = _fields(schema).get(_CORRECTED)
    return Applied(**fields) if fields else None


def read_applied(path: Path) -> Applied | None:
    """Return what corrections changed in a manifest, from its footer; errors: `read_summary`."""
    return applied(pq.read_schema(path))


def newest(directory: Path, image_dir: Place, meaning: Layout = PLAIN) -> pd.DataFrame | None:
    """Return the rows of the newest manifest of `image_dir` in `directory`, or None.

    Files that could not be read are left out, so that they are tried again, and so are photos in
    tar files if the layout was different: their labels may be different, too.
    """
    paths = directory.glob("*.parquet")
    for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            fields = _fields(pq.read_schema(path))
            same = fields["image_dir"] == places.absolute(image_dir)
            if same and fields["version"] == FORMAT_VERSION:
                rows = read(path)
                if _CORRECTED in fields:
                    rows = decisions.restore(rows, fields[_CORRECTED])
                in_tar_file = rows["path"].map(tar_inspection.tar_file_of) != ""
                keep_packed = fields["layout"] == meaning.key
                known = (in_tar_file & keep_packed) | (~in_tar_file & (rows["digest"] != ""))
                kept: pd.DataFrame = rows[known]
                return kept
        except (*UNREADABLE, UserError, KeyError):
            continue  # damaged, or not a manifest: the photos are read again
    return None


def _fields(schema: pa.Schema) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = json.loads((schema.metadata or {})[_METADATA_KEY])
        return {name: fields[name] for name in ("version", "image_dir")} | fields
    except (KeyError, TypeError, ValueError):
        raise pa.ArrowInvalid("it is not a manifest") from None


def summary_of(schema: pa.Schema) -> Summary:
    """Return the Summary in the metadata of a manifest.

    Raises pyarrow.ArrowInvalid if there is none.
    """
    fields = _fields(schema)
    try:
        classes = tuple(ClassSummary(**c) for c in fields["classes"])
        return Summary(fields["digest"], fields["aside_digest"], classes)
    except (KeyError, TypeError):
        raise pa.ArrowInvalid("it is not a manifest") from None
