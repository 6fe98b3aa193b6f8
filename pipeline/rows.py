"""Rows of finished bottlenecks: photos with their vectors, as the later steps read them."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import UserError

UNREADABLE = (OSError, pa.ArrowException)  # what a damaged file raises


@dataclass(frozen=True)
class Rows:
    """Photos with their vectors.

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

    def of(self, labels: tuple[str, ...]) -> "Rows":
        """The rows that have one of these labels."""
        return self.where(np.isin(self.labels, labels))

    def where(self, keep: np.ndarray) -> "Rows":
        """The rows where a mask, bool [n], is true."""
        paths = [path for path, kept in zip(self.paths, keep, strict=True) if kept]
        digests = [digest for digest, kept in zip(self.digests, keep, strict=True) if kept]
        return Rows(self.vectors[keep], self.labels[keep], paths, digests)


def read(directories: list[Path], split: str) -> Rows:
    """The photos of one split, from finished classes, all at once; none of their copies.

    Raises:
        UserError: for a damaged file, which is deleted, so that the next run computes it again.
    """
    return _rows(pa.concat_tables(_tables(directories, split)))


def labelled(
    directories: list[Path], split: str, copies: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The vectors [n, features], in the stored type, and the labels [n], in the order of `read`.

    They come a row group at a time: no more than 1,024 rows.

    For those who go through the photos again and again: texts take longer to read than vectors.
    With `copies`, the distorted copies of training photos come as well.
    """
    for table in _tables(directories, split, ("label", "vector"), copies):
        if len(table):
            yield matrix(table["vector"]), table["label"].to_pandas().to_numpy(dtype=object)


def _tables(
    directories: list[Path],
    split: str,
    columns: tuple[str, ...] = ("label", "path", "digest", "vector"),
    copies: bool = False,
) -> Iterator[pa.Table]:
    for directory in directories:
        for part in sorted(directory.glob("*.parquet")):
            try:
                with pq.ParquetFile(part, page_checksum_verification=True) as file:
                    for number in range(file.num_row_groups):
                        table = file.read_row_group(number, columns=["split", "variant", *columns])
                        wanted = pc.equal(table["split"], split)
                        if not copies:
                            wanted = pc.and_(wanted, pc.equal(table["variant"], 0))
                        yield table.filter(wanted).replace_schema_metadata(None)
            except UNREADABLE as error:
                give_up(directory, part)
                raise UserError(
                    f"{part} is damaged ({error}) and was deleted; run again, and its photos, "
                    "but no others, are computed again"
                ) from None


def _rows(table: pa.Table) -> Rows:
    return Rows(
        matrix(table["vector"]).astype(np.float32),
        table["label"].to_pandas().to_numpy(dtype=object),
        table["path"].to_pylist(),
        table["digest"].to_pylist(),
    )


def matrix(column: pa.ChunkedArray) -> np.ndarray:
    """The vectors of a column, [n, features], in the type that they are stored in."""
    width = column.type.list_size
    flat = column.combine_chunks().flatten()
    values: np.ndarray = flat.to_numpy(zero_copy_only=False).reshape(-1, width)
    return values


def give_up(directory: Path, damaged: Path) -> None:
    """Delete a class with a damaged file, but keep the rows of its other files.

    Another process may be doing so as well, or have put the class in its place again.
    """
    for part in directory.glob("*.parquet"):
        if part != damaged:
            with suppress(FileNotFoundError):
                part.rename(directory.parent / "partial" / f"{directory.name}-{part.name}")
    damaged.unlink(missing_ok=True)
    with suppress(OSError):
        directory.rmdir()
