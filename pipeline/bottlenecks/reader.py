"""Reading bottlenecks: photos with their vectors, for the steps after the bottleneck stage."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import dataset

from pipeline.errors import LostError
from pipeline.files import damage

TEXTS = ("label", "path", "digest")
_BATCH_ROWS = 1024
_WIDENED = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
_FORMAT = dataset.ParquetFileFormat(
    default_fragment_scan_options=dataset.ParquetFragmentScanOptions(
        page_checksum_verification=True, pre_buffer=False
    )
)


class BottleneckSource(Protocol):
    """A source of photos with their vectors, which can be read repeatedly."""

    def batches(self) -> Iterator["Bottlenecks"]:
        """Yield a few photos at a time, always in the same order."""


@dataclass(frozen=True)
class Bottlenecks:
    """Photos with their vectors, in memory.

    Attributes:
        vectors: float32 [n, features].
        labels: object [n], text.
        paths: relative to the image folder, [n].
        digests: SHA-256 of the photos in hex, [n].
    """

    vectors: np.ndarray
    labels: np.ndarray
    paths: list[str]
    digests: list[str]

    def batches(self) -> Iterator["Bottlenecks"]:
        """Yield all of them at once."""
        yield self

    def with_labels(self, labels: tuple[str, ...]) -> "Bottlenecks":
        """Return the rows with one of these labels."""
        return self.where(np.isin(self.labels, labels))

    def where(self, keep: np.ndarray) -> "Bottlenecks":
        """Return the rows where a mask, bool [n], is true."""
        paths = [path for path, kept in zip(self.paths, keep, strict=True) if kept]
        digests = [digest for digest, kept in zip(self.digests, keep, strict=True) if kept]
        return Bottlenecks(self.vectors[keep], self.labels[keep], paths, digests)


@dataclass(frozen=True)
class SplitReader:
    """The photos of one split, read from the files of the classes on request.

    Batches have at most 1,024 rows, so memory does not depend on the number of photos. All methods
    raise LostError for a damaged file, which is deleted, or a missing class; the next run computes
    it again.

    Attributes:
        directories: folders of the classes.
        split: training, validation or testing.
    """

    directories: list[Path]
    split: str

    def batches(self) -> Iterator[Bottlenecks]:
        """Yield the photos without their augmented copies."""
        for table in self._tables((*TEXTS, "vector")):
            texts = (table[name].to_pylist() for name in TEXTS)
            yield _bottlenecks(to_matrix(table["vector"]), *texts)

    def labelled(self, copies: bool = False) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield vectors [n, features], in the stored type, and labels [n].

        This is faster for repeated reading: the other texts take longer to read than vectors.
        `copies` includes the augmented copies of training photos.
        """
        for table in self._tables(("label", "vector"), copies):
            yield to_matrix(table["vector"]), table["label"].to_pandas().to_numpy(dtype=object)

    def texts(self) -> pd.DataFrame:
        """Return the photos' label, path and digest, without vectors."""
        empty = pa.table({name: pa.array([], pa.string()) for name in TEXTS})
        texts: pd.DataFrame = pa.concat_tables([empty, *self._tables(TEXTS)]).to_pandas()
        return texts

    def _tables(self, columns: tuple[str, ...], copies: bool = False) -> Iterator[pa.Table]:
        """Yield tables in order. Arrow reads ahead: with many classes, each file is tiny."""
        files: list[Path] = []
        for directory in self.directories:
            class_files = sorted(directory.glob("*.parquet"))
            if not class_files:  # for example, while another process deletes a damaged file
                raise LostError(f"{directory} is missing; run again to rebuild it")
            files += class_files
        if not files:
            return
        wanted = pc.field("split") == self.split
        if not copies:
            wanted &= pc.field("variant") == 0
        try:
            batches = dataset.dataset(files, format=_FORMAT).to_batches(
                columns=list(columns), filter=wanted, batch_size=_BATCH_ROWS
            )
            for batch in batches:
                if len(batch):
                    yield pa.table(batch).replace_schema_metadata(None)
        except damage.UNREADABLE:
            _delete_damaged(files)
            raise


def _delete_damaged(files: list[Path]) -> None:
    """Find the damaged file, delete it, and raise LostError."""
    for file in files:
        try:
            dataset.dataset(file, format=_FORMAT).to_table()
        except damage.UNREADABLE as error:
            damage.reraise_system_errors(error)
            discard_class(file.parent, file)
            raise LostError(
                f"deleted {file}, which was damaged ({error}); run again to recompute its photos, "
                "but no others"
            ) from None


def sample_by_digest(batches: Iterator[Bottlenecks], size: int) -> Bottlenecks | None:
    """Return the photos with the lowest digests: a random sample that is always the same.

    None if there are no photos.
    """
    drawn: Bottlenecks | None = None
    for batch in batches:
        both = concat([drawn, batch]) if drawn else batch
        keep = np.zeros(len(both.labels), bool)
        keep[np.argsort(np.array(both.digests), kind="stable")[:size]] = True
        drawn = both.where(keep)
    return drawn


def concat(parts: list[Bottlenecks]) -> Bottlenecks:
    """Concatenate at least one list of photos."""
    return Bottlenecks(
        np.concatenate([part.vectors for part in parts]),
        np.concatenate([part.labels for part in parts]),
        [path for part in parts for path in part.paths],
        [digest for part in parts for digest in part.digests],
    )


def _bottlenecks(
    vectors: np.ndarray, labels: list[str], paths: list[str], digests: list[str]
) -> Bottlenecks:
    return Bottlenecks(to_float32(vectors), np.array(labels, dtype=object), paths, digests)


def to_float32(vectors: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Convert vectors to float32, into `out` if it is passed.

    float16 values are looked up in a table, which is six times as fast as NumPy's conversion.
    """
    if vectors.dtype == np.float16:
        return _WIDENED.take(vectors.view(np.uint16), out=out, mode="clip")
    if out is None:
        return vectors.astype(np.float32)
    out[:] = vectors
    return out


def to_matrix(column: pa.ChunkedArray) -> np.ndarray:
    """Return the vectors of a column, [n, features], in the stored type."""
    width = column.type.list_size
    flat = column.combine_chunks().flatten()
    values: np.ndarray = flat.to_numpy(zero_copy_only=False).reshape(-1, width)
    return values


def discard_class(directory: Path, damaged: Path | None = None) -> None:
    """Delete a class with a damaged or missing file, but keep the rows of its other files.

    Another process may do the same, or may have rebuilt the class already.
    """
    move_to_journal(directory, directory.parent, damaged)
    if damaged:
        damaged.unlink(missing_ok=True)
    with suppress(OSError):
        directory.rmdir()


def move_to_journal(directory: Path, recipe_dir: Path, damaged: Path | None = None) -> None:
    """Move a folder's files, except a damaged one, to the journal in a recipe's folder."""
    journal = recipe_dir / "partial"
    journal.mkdir(exist_ok=True)
    for file in directory.glob("*.parquet"):
        if file != damaged:
            with suppress(FileNotFoundError):
                file.rename(journal / f"{directory.name}-{file.name}")
