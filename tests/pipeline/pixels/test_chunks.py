"""Chunks: found where they are, and nowhere else."""

import io
import struct
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline import tensorflow_import
from pipeline.pixels import chunks

EXIF = b"II*\0" + bytes(40)


@pytest.fixture(scope="module")
def tf() -> Any:
    tensorflow_import.import_tensorflow()
    import tensorflow

    return tensorflow


def encoded(kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (30, 20), (9, 99, 200)).save(file, kind, **options)
    return file.getvalue()


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">HH", marker, len(content) + 2) + content


PLAIN = encoded("JPEG")
APP1 = segment(0xFFE1, b"Exif\0\0" + EXIF)


@pytest.mark.parametrize(
    "before",
    [
        b"",
        PLAIN[2:20],
        segment(0xFFE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"),
        segment(0xFFE2, b"ICC_PROFILE\0" + bytes(60_000)),
        segment(0xFFFE, b"Exif\0\0 in a comment"),
    ],
    ids=["first", "after JFIF", "after XMP", "after a profile", "after a comment"],
)
def test_exif_is_found_among_the_segments_of_a_jpeg(tf: Any, before: bytes) -> None:
    photo = PLAIN[:2] + before + APP1 + PLAIN[20:]
    assert not chunks.is_plain_jpeg(tf.constant(photo)).numpy()
    assert chunks.jpeg_exif(tf.constant(photo)).numpy() == EXIF


def test_bytes_that_look_like_exif_are_not_mistaken_for_it(tf: Any) -> None:
    thumbnail = segment(0xFFE3, PLAIN[:2] + APP1 + PLAIN[2:])
    photo = PLAIN[:20] + thumbnail + PLAIN[20:]
    assert chunks.jpeg_exif(tf.constant(photo)).numpy() == b""
    photo = PLAIN[:-2] + APP1 + PLAIN[-2:]  # in the image data
    assert chunks.jpeg_exif(tf.constant(photo)).numpy() == b""


def test_a_plain_jpeg_is_recognised(tf: Any) -> None:
    assert chunks.is_plain_jpeg(tf.constant(PLAIN)).numpy()
    assert chunks.jpeg_exif(tf.constant(PLAIN)).numpy() == b""
    for other in (b"", PLAIN[:9], encoded("PNG"), encoded("JPEG", exif=b"Exif\0\0" + EXIF)):
        assert not chunks.is_plain_jpeg(tf.constant(other)).numpy()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + bytes(4)


def test_a_png_chunk_is_found_before_and_after_the_pixels(tf: Any) -> None:
    photo, chunk = encoded("PNG"), png_chunk(b"eXIf", EXIF)
    before, after = photo[:33] + chunk + photo[33:], photo[:-12] + chunk + photo[-12:]
    assert chunks.png(tf.constant(before), b"eXIf").numpy() == EXIF
    assert chunks.png(tf.constant(after), b"eXIf").numpy() == EXIF
    assert chunks.png(tf.constant(after), b"eXIf", before_pixels=True).numpy() == b""
    assert chunks.png(tf.constant(photo), b"eXIf").numpy() == b""
    assert chunks.png(tf.constant(photo + chunk), b"eXIf").numpy() == b""  # after the end


def test_a_webp_chunk_is_found(tf: Any) -> None:
    photo = encoded("WEBP", exif=EXIF)
    assert chunks.webp(tf.constant(photo), b"EXIF").numpy() == EXIF
    assert chunks.webp(tf.constant(encoded("WEBP")), b"EXIF").numpy() == b""


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 11, 20, 30])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_truncated_files_have_no_chunks(tf: Any, kind: str, length: int) -> None:
    photo = tf.constant(encoded(kind, exif=b"Exif\0\0" + EXIF)[:length])
    assert chunks.jpeg_exif(photo).numpy() in (b"", EXIF[: max(0, length - 12)])
    assert chunks.png(photo, b"eXIf").numpy() == b""
    assert chunks.webp(photo, b"EXIF").numpy() == b""


def test_random_bytes_and_negative_sizes_do_not_fail(tf: Any) -> None:
    generator = np.random.default_rng(0)
    starts = [b"\x89PNG\r\n\x1a\n\xff\xff\xff\xf4eXIg", b"RIFF1234WEBPEXIG\xff\xff\xff\xff"]
    for start in (*starts, b"\xff\xd8\xff\xe1\0\0", b"\xff\xd8\xff\xe1\0\2Exif\0\0"):
        photo = tf.constant(start + generator.bytes(500))
        assert chunks.png(photo, b"eXIf").numpy() == b""
        assert chunks.webp(photo, b"EXIF").numpy() == b""
        assert chunks.jpeg_exif(photo).numpy() == b""


def test_a_file_of_countless_chunks_does_not_take_forever(tf: Any) -> None:
    photo = tf.constant(PLAIN[:2] + segment(0xFFE5, b"") * 2_000_000)
    start = time.monotonic()
    assert tf.function(chunks.jpeg_exif)(photo).numpy() == b""
    assert time.monotonic() - start < 30
