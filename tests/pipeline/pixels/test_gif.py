"""GIF: transparent pixels are told from black ones."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline import tensorflow_import
from pipeline.pixels import gif


@pytest.fixture(scope="module")
def tf() -> Any:
    tensorflow_import.import_tensorflow()
    import tensorflow

    return tensorflow


def encoded(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "GIF", **options)
    return file.getvalue()


def striped() -> Image.Image:
    image = Image.fromarray(np.repeat([[0, 1, 2, 3]], 4, axis=0).astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 0, 128, 127, 128])  # two of them are black
    return image


def test_black_pixels_stay_black_and_transparent_ones_show_the_background(tf: Any) -> None:
    photo = tf.constant(encoded(striped(), transparency=2))
    row = gif.decode(photo, 255).numpy()[0].tolist()
    assert row == [[0, 0, 0], [255, 0, 0], [255, 255, 255], [128, 127, 128]]


def with_local_palette(photo: bytes) -> bytes:
    """Move the global palette of a GIF to its first image, after a comment."""
    size = 3 << ((photo[10] & 7) + 1)
    palette, rest = photo[13 : 13 + size], photo[13 + size :]
    image = rest.index(b",")
    flags = bytes([0x80 | (photo[10] & 7)])
    comment = b"!\xfe" + bytes([3]) + b",,," + b"\0"
    header = photo[:10] + bytes([photo[10] & 0x7F]) + photo[11:13]
    return (
        header
        + rest[:image]
        + comment
        + rest[image : image + 9]
        + flags
        + palette
        + rest[image + 10 :]
    )


def test_a_local_palette_is_found_after_comments(tf: Any) -> None:
    photo = with_local_palette(encoded(striped(), transparency=2))
    with Image.open(io.BytesIO(photo)) as image:
        assert image.convert("RGBA").getpixel((2, 0)) == (0, 0, 0, 0)
    row = gif.decode(tf.constant(photo), 90).numpy()[0].tolist()
    assert row == [[0, 0, 0], [255, 0, 0], [90, 90, 90], [128, 127, 128]]


@pytest.mark.parametrize("length", range(0, 60, 7))
def test_truncated_files_fail_like_other_damaged_files(tf: Any, length: int) -> None:
    photo = encoded(striped(), transparency=2)[:length]
    with pytest.raises(tf.errors.InvalidArgumentError):
        gif.decode(tf.constant(photo), 255)
