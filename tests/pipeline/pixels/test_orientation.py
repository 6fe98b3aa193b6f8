"""Exif metadata: damaged or strange metadata means that a photo is upright."""

import struct
from typing import Any

import pytest

from pipeline import tensorflow_import
from pipeline.pixels import orientation


@pytest.fixture(scope="module")
def parse() -> Any:
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    return tf.function(orientation.parse, input_signature=[tf.TensorSpec([], tf.string)])


def tiff(
    value: int = 6, order: str = "<", kind: int = 3, offset: int = 8, count: int | None = None
) -> bytes:
    """Return a TIFF structure with the width, the orientation and the resolution unit."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entries = ((0x0100, 3, 1, 640), (0x0112, kind, 1, value), (0x0128, 3, 1, 2))
    directory = struct.pack(order + "H", len(entries) if count is None else count)
    for tag, entry_kind, number, content in entries:
        directory += struct.pack(order + "HHIHH", tag, entry_kind, number, content, 0)
    gap = bytes(max(0, offset - 8)) if offset < 1000 else b""
    return mark + struct.pack(order + "I", offset) + gap + directory + bytes(4)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_all_values_are_read(parse: Any, value: int, order: str, prefix: bytes) -> None:
    assert parse(prefix + tiff(value, order)).numpy() == value


def test_the_directory_may_be_anywhere(parse: Any) -> None:
    assert parse(tiff(3, offset=100)).numpy() == 3


@pytest.mark.parametrize(
    "metadata",
    [
        b"",
        b"Exif\0\0",
        b"II*\0",
        b"XX*\0" + tiff()[4:],
        tiff(0),
        tiff(9),
        tiff(kind=7),
        tiff(offset=4_000_000_000),
        tiff()[:12],
        tiff(count=0),
    ],
    ids=[
        *("empty", "only a prefix", "only a mark", "other mark", "value 0", "value 9"),
        *("other type", "directory beyond the end", "truncated", "empty directory"),
    ],
)
def test_damaged_metadata_is_ignored(parse: Any, metadata: bytes) -> None:
    assert parse(metadata).numpy() == 1


def test_a_directory_that_claims_more_tags_than_it_has_is_read_to_its_end(parse: Any) -> None:
    assert parse(tiff(8, count=60_000)).numpy() == 8
