"""Chunks: where a JPEG, PNG or WebP file stores its metadata, found with TensorFlow operations.

The functions run in tf.data and in exported graphs. They walk from chunk to chunk, as the formats
prescribe, so that bytes that only look like a chunk, such as those of an embedded thumbnail, are
not mistaken for one. Damaged files have no chunks.
"""

from collections.abc import Callable
from typing import Any

_MAX_CHUNKS = 10_000  # a malicious file could consist of millions; no real one has that many
_MAX_BYTES = 2**16  # of a chunk's content, as much as a JPEG segment can hold
_EXIF = (0x4578, 0x6966, 0x0000)  # "Exif\0\0" as three big-endian numbers
_HEADER, _TABLE = b"\xff\xd8\xff\xe0\x00\x10JFIF", b"\xff\xdb"  # at positions 0 and 20
_APP0, _APP1, _APP15, _COMMENT = 0xFFE0, 0xFFE1, 0xFFEF, 0xFFFE


def is_plain_jpeg(encoded: Any) -> Any:
    """Return whether a file is a JPEG without metadata but a JFIF header of the usual size.

    Others may have no metadata either, but looking for it takes longer.
    """
    import tensorflow as tf

    header = tf.strings.substr(encoded, 0, len(_HEADER))
    following = tf.strings.substr(encoded, tf.minimum(20, tf.strings.length(encoded)), 2)
    return tf.logical_and(tf.equal(header, _HEADER), tf.equal(following, _TABLE))


def jpeg_exif(encoded: Any) -> Any:
    """Return the content of a JPEG's Exif segment (JEITA CP-3451), or an empty string.

    It is searched among the application and comment segments, which come before all others.

    Args:
        encoded: scalar string tensor, a JPEG file.
    """
    import tensorflow as tf

    def step(header: Any) -> tuple[Any, Any, Any]:
        marker, length = header[0], header[1]
        found = tf.reduce_all(tf.equal(tf.gather(header, [0, 2, 3, 4]), [_APP1, *_EXIF]))
        is_application = tf.logical_and(marker >= _APP0, marker <= _APP15)
        return found, tf.logical_or(is_application, tf.equal(marker, _COMMENT)), 2 + length

    def search() -> Any:
        found, position, size = _walk(encoded, 2, 10, tf.uint16, False, step)
        return _content(encoded, found, position + 10, size - 10)

    def first() -> Any:
        length = tf.io.decode_raw(tf.strings.substr(encoded, 4, 2), tf.uint16, False)[0]
        return tf.strings.substr(encoded, 12, tf.maximum(tf.cast(length, tf.int32) - 8, 0))

    # Cameras write it as the first segment, where it is found without a loop.
    end = tf.strings.length(encoded)
    is_first = tf.logical_and(
        tf.equal(tf.strings.substr(encoded, tf.minimum(2, end), 2), b"\xff\xe1"),
        tf.equal(tf.strings.substr(encoded, tf.minimum(6, end), 6), b"Exif\0\0"),
    )
    return tf.cond(is_first, first, search)


def png(encoded: Any, kind: bytes, before_pixels: bool = False) -> Any:
    """Return the content of a PNG's first chunk of a kind, or an empty string.

    Args:
        encoded: scalar string tensor, a PNG file.
        kind: four letters.
        before_pixels: whether to search only up to the first IDAT chunk.
    """
    import tensorflow as tf

    wanted, last = _number(kind, "big"), _number(b"IDAT" if before_pixels else b"IEND", "big")

    def step(header: Any) -> tuple[Any, Any, Any]:
        return tf.equal(header[1], wanted), tf.not_equal(header[1], last), 12 + header[0]

    found, position, size = _walk(encoded, 8, 8, tf.int32, False, step)
    return _content(encoded, found, position + 8, size - 12)


def webp(encoded: Any, kind: bytes) -> Any:
    """Return the content of a WebP's first chunk of a kind, or an empty string."""
    import tensorflow as tf

    wanted = _number(kind, "little")

    def step(header: Any) -> tuple[Any, Any, Any]:
        return tf.equal(header[0], wanted), True, 8 + header[1] + header[1] % 2

    found, position, size = _walk(encoded, 12, 8, tf.int32, True, step)
    return _content(encoded, found, position + 8, size - 8)


def is_animated_webp(encoded: Any) -> Any:
    """Return whether a WebP's header (VP8X) announces an animation."""
    import tensorflow as tf

    start = tf.strings.substr(encoded, tf.minimum(12, tf.strings.length(encoded)), 9)
    flags = tf.io.decode_raw(
        tf.strings.substr(start, tf.minimum(8, tf.strings.length(start)), 1), tf.uint8
    )
    is_extended = tf.equal(tf.strings.substr(start, 0, 4), b"VP8X")
    return tf.logical_and(is_extended, tf.reduce_any(tf.bitwise.bitwise_and(flags, 2) > 0))


def is_palette_bmp(encoded: Any) -> Any:
    """Return whether a BMP stores indices of a palette, unless that contains all greys in order.

    The header has the position of the pixels at byte 10, its size less 14 at 14, and the bits per
    pixel at 28; the palette lies between header and pixels, four bytes a colour.
    """
    import tensorflow as tf

    def number(start: int, dtype: Any) -> Any:
        field = tf.strings.substr(encoded, start, dtype.size)
        return tf.cast(tf.io.decode_raw(field, dtype)[0], tf.int32)

    def is_coloured() -> Any:
        first = 14 + number(14, tf.int32)
        colours = tf.clip_by_value((number(10, tf.int32) - first) // 4, 0, 256)
        palette = tf.io.decode_raw(tf.strings.substr(encoded, first, 4 * colours), tf.uint8)
        blue_green_red = tf.cast(tf.reshape(palette, [-1, 4])[:, :3], tf.int32)
        greys = tf.range(tf.shape(blue_green_red)[0])[:, None]
        return tf.reduce_any(tf.not_equal(blue_green_red, greys))

    def has_palette() -> Any:
        bits = number(28, tf.uint16)
        return tf.cond(tf.equal(bits, 8), is_coloured, lambda: bits < 8)

    is_bmp = tf.equal(tf.strings.substr(encoded, 0, 2), b"BM")
    is_complete = tf.strings.length(encoded) >= 54  # both headers
    return tf.cond(tf.logical_and(is_bmp, is_complete), has_palette, lambda: tf.constant(False))


def _walk(
    encoded: Any,
    start: int,
    header_bytes: int,
    dtype: Any,
    little_endian: bool,
    step: Callable[[Any], tuple[Any, Any, Any]],
) -> tuple[Any, Any, Any]:
    """Walk through the chunks of a file until one is found.

    Args:
        encoded: scalar string tensor, the file.
        start: position of the first chunk.
        header_bytes: size of a chunk's header.
        dtype, little_endian: type of the numbers in the header.
        step: from a header, int64 [numbers], returns whether it is the wanted chunk, whether
            others may follow, and the chunk's size in bytes.

    Returns:
        Scalars: whether the chunk was found, its position, and its size.
    """
    import tensorflow as tf

    last = tf.cast(tf.strings.length(encoded) - header_bytes, tf.int64)

    def continues(_found: Any, more: Any, position: Any, size: Any) -> Any:
        return tf.logical_and(more, position + size <= last)

    def advance(_found: Any, _more: Any, position: Any, size: Any) -> tuple[Any, Any, Any, Any]:
        position += size
        header = tf.strings.substr(encoded, position, header_bytes)
        numbers = tf.cast(tf.io.decode_raw(header, dtype, little_endian), tf.int64)
        found, more, size = step(numbers)
        more = tf.logical_and(tf.logical_and(more, size > 0), tf.logical_not(found))
        return found, more, position, size

    beginning = (tf.constant(False), tf.constant(True), tf.constant(0, tf.int64))
    found, _, position, size = tf.while_loop(
        continues,
        advance,
        (*beginning, tf.constant(start, tf.int64)),
        maximum_iterations=_MAX_CHUNKS,
    )
    return found, position, size


def _content(encoded: Any, found: Any, position: Any, size: Any) -> Any:
    import tensorflow as tf

    size = tf.where(found, tf.clip_by_value(size, 0, _MAX_BYTES), 0)
    return tf.strings.substr(encoded, tf.where(found, position, 0), size)


def _number(kind: bytes, order: Any) -> int:
    return int.from_bytes(kind, order)
