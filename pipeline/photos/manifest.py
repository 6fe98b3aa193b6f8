"""The data set as one Parquet table: a row a photo, with its content digest, split and status."""

import hashlib
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
from pipeline.photos import discovery, inspection, sources, split, tar_inspection, tars
from pipeline.photos.split import SplitRule
from pipeline.progress import Progress, silent

FORMAT_VERSION = 2  # raise it when the meaning of a column or of a status changes
FEW_PHOTOS = 20  # below this retrain.py warned, and so do we
MOST_NAMED = 20  # photos set aside that are named one by one

SCHEMA = pa.schema(
    [
        ("label", pa.string()),  # name of the class folder, unchanged
        ("path", pa.string()),  # relative to the data set's folder
        ("size", pa.int64()),  # bytes
        ("mtime_ns", pa.int64()),  # last change of content; in a store: its version, as a number
        ("ctime_ns", pa.int64()),  # last change of the file's entry; in a store: 0
        ("digest", pa.string()),  # SHA-256 of the content, in hex
        ("width", pa.int32()),  # pixels, as stored
        ("height", pa.int32()),
        ("format", pa.string()),  # JPEG, PNG, GIF, BMP, WEBP
        ("grey", pa.bool_()),  # stored without colour
        ("split", pa.string()),  # training, validation, testing; empty where set aside
        ("status", pa.string()),  # "ok", or why the photo is set aside
    ]
)
_STAT = ["path", "size", "mtime_ns", "ctime_ns"]
_INSPECTION = ["digest", "width", "height", "format", "grey", "status"]
_METADATA_KEY = b"retrain"
UNLISTED = "on no list of the given split (split_file)"
_CHUNK = 1024  # photos inspected between two reports of progress


@dataclass(frozen=True)
class Listing:
    """What the folder holds at one moment, before any photo is opened.

    Attributes:
        photos: one row a file: label, path, size, mtime_ns, ctime_ns, problem.
        shards: the same of the tar files, which are opened by `build`; label is empty where the
            labels are in there.
        labels: the class folders, in order.
        stray: photos that lie beside the class folders.
        digest: of all but these; equal digests mean that no photo was touched.
    """

    photos: pd.DataFrame
    shards: pd.DataFrame
    labels: tuple[str, ...]
    stray: int
    digest: str


@dataclass(frozen=True)
class ClassSummary:
    """One class of the data set: its label, a digest of its rows, and its counts of photos."""

    label: str
    digest: str
    training: int
    validation: int
    testing: int
    set_aside: int

    @property
    def usable(self) -> int:
        return self.training + self.validation + self.testing


@dataclass(frozen=True)
class Summary:
    """The manifest's metadata: enough to name every later result without reading the rows.

    Attributes:
        digest: over the label, path, content and split of every usable photo.
        aside_digest: over the path and status of every photo that is set aside.
        classes: in the order of their labels.
    """

    digest: str
    aside_digest: str
    classes: tuple[ClassSummary, ...]

    @cached_property
    def by_label(self) -> dict[str, ClassSummary]:
        return {of_class.label: of_class for of_class in self.classes}

    def __str__(self) -> str:
        parts = (f"{sum(getattr(c, p) for c in self.classes):,} {p}" for p in split.SPLITS)
        aside = sum(c.set_aside for c in self.classes)
        return f"Photos of {len(self.classes)} classes: {', '.join(parts)}, {aside:,} set aside"


def list_photos(image_dir: Place) -> Listing:
    """List the data set's folder without opening a photo.

    Raises:
        UserError: where there is no such folder, no class folder in it, or no photo.
    """
    columns: dict[str, list[object]] = {name: [] for name in ["label", *_STAT, "problem"]}
    hasher = hashlib.sha256()
    contents = sources.contents(image_dir)
    for photo in contents.found:
        row = (photo.label, photo.path, photo.size, photo.mtime_ns, photo.ctime_ns, photo.problem)
        hasher.update(repr(row).encode())
        for column, value in zip(columns.values(), row, strict=True):
            column.append(value)
    hasher.update(repr(contents.labels).encode())
    frame = pd.DataFrame(columns)
    if frame.empty:
        raise UserError(
            f"image_dir: the class folders of {image_dir} hold no photo; "
            "put JPEG, PNG, GIF, BMP or WebP files into them"
        )
    packed = frame["path"].map(discovery.is_tar)
    rows, shards = (frame[of].reset_index(drop=True) for of in (~packed, packed))
    return Listing(rows, shards, contents.labels, contents.stray, hasher.hexdigest())


def build(
    listing: Listing,
    image_dir: Place,
    rule: SplitRule,
    known: pd.DataFrame | None = None,
    progress: Progress = silent,
    unfinished: Path | None = None,
) -> pa.Table:
    """Inspect what is new, split, and describe the data set.

    Args:
        listing: of `image_dir`.
        rule: how to split.
        known: rows of an earlier manifest of the same folder; a photo whose path, size and
            times are still the same is not read again.
        progress: told of the photos inspected.
        unfinished: file for what was inspected, should that break off; `newest` finds it beside
            the manifests.

    Returns:
        A table of SCHEMA in the order of the listing, with its Summary in the metadata.

    Raises:
        UserError: where fewer than two classes have a usable photo, or a store fails.
    """
    rows = listing.photos
    if known is None:
        known = pd.DataFrame(columns=["label", *_STAT, *_INSPECTION])
    # That a photo was on no list was the rule's finding, not the inspection's.
    known = known.replace({"status": {UNLISTED: inspection.OK}})
    rows = rows.merge(known[_STAT + _INSPECTION], how="left", on=_STAT)
    where = places.absolute(image_dir)
    packed: list[pd.DataFrame] = []
    try:
        _inspect(rows, image_dir, progress)
        packed += tar_inspection.rows(listing.shards, image_dir, known, progress)
    except BaseException:
        if unfinished:
            done = pd.concat([rows[rows["status"].notna()], *packed]).assign(split="")
            write(_table(done, {"version": FORMAT_VERSION, "image_dir": where}), unfinished)
        raise
    labels = listing.labels
    if packed:
        rows = pd.concat([rows, *packed], ignore_index=True)
        labels = tuple(sorted({*labels, *rows["label"]} - {""}))
    digests = rows["digest"].where(rows["status"] == inspection.OK, "")
    rows["split"] = split.assign_all(rule, unpacked(rows["path"]), digests.to_list())
    rows.loc[rows["split"].isna() & (rows["status"] == inspection.OK), "status"] = UNLISTED
    rows.loc[rows["status"] != inspection.OK, "split"] = ""
    summary = _summarise(rows, labels)
    _refuse_hopeless(summary, rows, image_dir)
    return _table(rows, {"version": FORMAT_VERSION, "image_dir": where, **asdict(summary)})


def _table(rows: pd.DataFrame, fields: dict[str, Any]) -> pa.Table:
    table = pa.Table.from_pandas(rows[SCHEMA.names], SCHEMA, preserve_index=False)
    return table.replace_schema_metadata({_METADATA_KEY: json.dumps(fields)})


def unpacked(paths: "pd.Series[str]") -> list[str]:
    """The paths that photos have on lists of a given split, where they stand as files."""
    return [tars.unpacked(path) for path in paths]


def _inspect(rows: pd.DataFrame, image_dir: Place, progress: Progress) -> None:
    """Fill in the inspection of the rows that have none yet."""
    new = rows.index[rows["status"].isna()]
    found: list[inspection.Inspection] = []

    def inspect(path: str, size: int, problem: str) -> inspection.Inspection:
        return sources.inspect(image_dir / path, size, problem)

    try:
        with ThreadPoolExecutor(sources.reader_threads(image_dir)) as threads:
            for start in range(0, len(new), _CHUNK):
                chunk = rows.loc[new[start : start + _CHUNK]]
                found += threads.map(inspect, chunk["path"], chunk["size"], chunk["problem"])
                progress(len(found), len(new), "photos inspected")
    finally:
        done = new[: len(found)]
        for column in _INSPECTION:
            values = [getattr(inspected, column) for inspected in found]
            rows[column] = rows[column].astype(object)
            rows.loc[done, column] = pd.Series(values, index=done, dtype=object)


def _summarise(rows: pd.DataFrame, labels: tuple[str, ...]) -> Summary:
    usable, aside = rows[rows["status"] == inspection.OK], rows[rows["status"] != inspection.OK]
    content: dict[str, list[list[str]]] = {label: [] for label in labels}
    for label, *of_photo in usable[["label", "path", "digest", "split"]].to_numpy().tolist():
        content.setdefault(label, []).append(of_photo)
    counts = Counter(zip(rows["label"], rows["split"], strict=True))  # no split: set aside
    classes = tuple(
        ClassSummary(
            label,
            naming.digest(label, content[label]),
            *(counts[label, part] for part in (*split.SPLITS, "")),
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
    """Write a manifest whole or not at all."""
    with atomic.write(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read(path: Path, labels: tuple[str, ...] | None = None) -> pd.DataFrame:
    """The rows of a manifest, or those of some classes.

    Raises:
        UserError: where the file is damaged.
    """
    filters = None if labels is None else [("label", "in", list(labels))]
    try:
        table = pq.read_table(path, filters=filters, page_checksum_verification=True)
        rows: pd.DataFrame = table.cast(SCHEMA).to_pandas()
    except UNREADABLE as error:
        reraise_system_errors(error)
        raise UserError(f"{path} is damaged ({error}); delete it, and run again") from None
    return rows


def read_summary(path: Path) -> Summary:
    """The Summary of a manifest, from its footer alone. Raises what is in UNREADABLE."""
    return _summary(pq.read_schema(path))


def image_dir(path: Path) -> str:
    """The folder of photos that a manifest describes, as an absolute path or a URL."""
    return str(_fields(pq.read_schema(path))["image_dir"])


def newest(directory: Path, image_dir: Place) -> pd.DataFrame | None:
    """The rows of the latest manifest of `image_dir` in `directory`, if there is one.

    Left out are the files that could not be read, so that they are tried again.
    """
    paths = directory.glob("*.parquet")
    for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            fields = _fields(pq.read_schema(path))
            same = fields["image_dir"] == places.absolute(image_dir)
            if same and fields["version"] == FORMAT_VERSION:
                rows = read(path)
                unread = rows["digest"] == ""
                packed = rows["path"][unread].map(tar_inspection.shard_of) != ""
                return rows.drop(index=packed.index[~packed])
        except (*UNREADABLE, UserError):
            continue  # damaged, or not ours: the photos are read again
    return None


def summary_lines(table: pa.Table, image_dir: Place, stray: int = 0) -> Iterator[str]:
    """What a user should know of the data set before training: one line each.

    Args:
        table: the manifest.
        image_dir: that it describes.
        stray: photos that lie directly in there.
    """
    if stray:
        yield (
            f"{stray} photos lie directly in {image_dir} and belong to no class; move them into "
            "the folder of their class"
        )
    rows = table.select(["path", "status"]).to_pandas()
    aside = rows[rows["status"] != inspection.OK]
    for row in aside.head(MOST_NAMED).itertuples():
        yield f"Set aside: {_printable(str(row.path))}: {row.status}"
    if len(aside) > MOST_NAMED:
        yield f"Set aside: {len(aside) - MOST_NAMED} more; the manifest's status column says why"
    summary = _summary(table.schema)
    for c in summary.classes:
        if not c.usable:
            yield f"Class {c.label!r} has no usable photo and is left out; add some to its folder."
        elif not c.training:
            yield f"Class {c.label!r} has no photo for training and is left out; add photos."
    alike: dict[str, list[str]] = {}
    for c in summary.classes:
        alike.setdefault(unicodedata.normalize("NFC", c.label).strip(), []).append(c.label)
    for names in alike.values():
        if len(names) > 1:
            same = ", ".join(map(ascii, names))
            yield f"These classes look the same, and count as several: {same}"
    few = [f"{c.label} ({c.usable})" for c in summary.classes if 0 < c.usable < FEW_PHOTOS]
    if few:
        yield f"Fewer than {FEW_PHOTOS} photos, which learn less well: {_some(few)}"
    for part in (split.VALIDATION, split.TESTING):
        without = [c.label for c in summary.classes if c.training and not getattr(c, part)]
        if without:
            yield (
                f"{len(without)} of {len(summary.classes)} classes have no {part} photo: "
                f"{_some(without)}. They train as usual; more photos, or a higher percentage, "
                "would mend it."
            )


def _printable(text: str) -> str:
    """A path as one line of a log, whatever it holds."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _fields(schema: pa.Schema) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = json.loads((schema.metadata or {})[_METADATA_KEY])
        return {name: fields[name] for name in ("version", "image_dir")} | fields
    except (KeyError, TypeError, ValueError):
        raise pa.ArrowInvalid("it has no summary of a data set") from None


def _summary(schema: pa.Schema) -> Summary:
    fields = _fields(schema)
    try:
        classes = tuple(ClassSummary(**c) for c in fields["classes"])
        return Summary(fields["digest"], fields["aside_digest"], classes)
    except (KeyError, TypeError):
        raise pa.ArrowInvalid("it has no summary of a data set") from None
