"""Rows of finished bottlenecks: photos with their vectors, as the later steps read them."""

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
    """Photos with their vectors, to go through as often as one likes."""

    def batches(self) -> Iterator["Bottlenecks"]:
        """Some photos at a time, in the same order each time."""


@dataclass(frozen=True)
class Bottlenecks:
    """Photos with their vectors, in memory.

    Attributes:
        vectors: float32 [n, features].
        labels: object [n], text.
        paths: relative to the data set's folder, [n].
        digests: SHA-256 of the photos' bytes, in hex, [n].
    """

    vectors: np.ndarray
    labels: np.ndarray
    paths: list[str]
    digests: list[str]

    def batches(self) -> Iterator["Bottlenecks"]:
        """All of them at once."""
        yield self

    def of(self, labels: tuple[str, ...]) -> "Bottlenecks":
        """The rows that have one of these labels."""
        return self.where(np.isin(self.labels, labels))

    def where(self, keep: np.ndarray) -> "Bottlenecks":
        """The rows where a mask, bool [n], is true."""
        paths = [path for path, kept in zip(self.paths, keep, strict=True) if kept]
        digests = [digest for digest, kept in zip(self.digests, keep, strict=True) if kept]
        return Bottlenecks(self.vectors[keep], self.labels[keep], paths, digests)


@dataclass(frozen=True)
class SplitReader:
    """The photos of one part of the split, read from finished classes whenever they are asked for.

    They come a few at a time, no more than 1,024 rows, so that it does not matter how many
    there are. Each way to go through them raises LostError for a damaged file, which is deleted,
    or for a class that has gone, so that the next run computes it again.

    Attributes:
        directories: of the classes.
        split: name of the part.
    """

    directories: list[Path]
    split: str

    def batches(self) -> Iterator[Bottlenecks]:
        """All that there is to know of them, but none of their copies."""
        for table in self._tables((*TEXTS, "vector")):
            texts = (table[name].to_pylist() for name in TEXTS)
            yield _bottlenecks(to_matrix(table["vector"]), *texts)

    def labelled(self, copies: bool = False) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Their vectors [n, features], in the stored type, and their labels [n].

        For those who go through them again and again: other texts take longer to read than
        vectors. With `copies`, the distorted copies of training photos come as well.
        """
        for table in self._tables(("label", "vector"), copies):
            yield to_matrix(table["vector"]), table["label"].to_pandas().to_numpy(dtype=object)

    def texts(self) -> pd.DataFrame:
        """Their label, path and digest, without their vectors."""
        empty = pa.table({name: pa.array([], pa.string()) for name in TEXTS})
        texts: pd.DataFrame = pa.concat_tables([empty, *self._tables(TEXTS)]).to_pandas()
        return texts

    def _tables(self, columns: tuple[str, ...], copies: bool = False) -> Iterator[pa.Table]:
        """In order. Arrow reads some files ahead: of many classes, each file is tiny."""
        parts: list[Path] = []
        for where in self.directories:
            of_class = sorted(where.glob("*.parquet"))
            if not of_class:  # as while another process gives up a damaged file of it
                raise LostError(f"{where} has gone; run again, and it is put together again")
            parts += of_class
        if not parts:
            return
        wanted = pc.field("split") == self.split
        if not copies:
            wanted &= pc.field("variant") == 0
        try:
            batches = dataset.dataset(parts, format=_FORMAT).to_batches(
                columns=list(columns), filter=wanted, batch_size=_BATCH_ROWS
            )
            for batch in batches:
                if len(batch):
                    yield pa.table(batch).replace_schema_metadata(None)
        except damage.UNREADABLE:
            _name_damaged(parts)
            raise


def _name_damaged(parts: list[Path]) -> None:
    """Say which file is damaged, and give it up."""
    for part in parts:
        try:
            dataset.dataset(part, format=_FORMAT).to_table()
        except damage.UNREADABLE as error:
            damage.reraise_system_errors(error)
            discard_class(part.parent, part)
            raise LostError(
                f"{part} is damaged ({error}) and was deleted; run again, and its photos, "
                "but no others, are computed again"
            ) from None


def sample_by_digest(batches: Iterator[Bottlenecks], most: int) -> Bottlenecks | None:
    """The photos of the lowest digests, so many at most: drawn at random, but always the same.

    None where there are no photos at all.
    """
    drawn: Bottlenecks | None = None
    for batch in batches:
        both = concat([drawn, batch]) if drawn else batch
        keep = np.zeros(len(both.labels), bool)
        keep[np.argsort(np.array(both.digests), kind="stable")[:most]] = True
        drawn = both.where(keep)
    return drawn


def concat(parts: list[Bottlenecks]) -> Bottlenecks:
    """Some photos and then others; at least one list of them."""
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
    """Vectors as float32, into `out` if it is given.

    float16 is looked up among its 65,536 values, six times as fast as NumPy converts it.
    """
    if vectors.dtype == np.float16:
        return _WIDENED.take(vectors.view(np.uint16), out=out, mode="clip")
    if out is None:
        return vectors.astype(np.float32)
    out[:] = vectors
    return out


def to_matrix(column: pa.ChunkedArray) -> np.ndarray:
    """The vectors of a column, [n, features], in the type that they are stored in."""
    width = column.type.list_size
    flat = column.combine_chunks().flatten()
    values: np.ndarray = flat.to_numpy(zero_copy_only=False).reshape(-1, width)
    return values


def discard_class(directory: Path, damaged: Path | None = None) -> None:
    """Delete a class of which a file is damaged or missing, but keep the rows of its other files.

    Another process may be doing so as well, or have put the class in its place again.
    """
    move_to_journal(directory, directory.parent, damaged)
    if damaged:
        damaged.unlink(missing_ok=True)
    with suppress(OSError):
        directory.rmdir()


def move_to_journal(directory: Path, home: Path, damaged: Path | None = None) -> None:
    """Move a folder's files of vectors, but a damaged one, to the journal in a recipe's `home`."""
    journal = home / "partial"
    journal.mkdir(exist_ok=True)
    for part in directory.glob("*.parquet"):
        if part != damaged:
            with suppress(FileNotFoundError):
                part.rename(journal / f"{directory.name}-{part.name}")
