"""Transparency: photos with transparent pixels, placed on a background of one colour."""

from typing import Any

from pipeline.pixels import chunks

_HAS_ALPHA = 4  # bit of a PNG's colour type
_COLOR_TYPE = 25  # its position in the file


def png_has_alpha(encoded: Any) -> Any:
    """Return whether a PNG has an alpha channel, or a colour that its tRNS chunk makes transparent.

    Args:
        encoded: scalar string tensor, a PNG file.
    """
    import tensorflow as tf

    octets = tf.io.decode_raw(tf.strings.substr(encoded, 0, _COLOR_TYPE + 1), tf.uint8)
    has_channel = tf.reduce_any(tf.bitwise.bitwise_and(octets[_COLOR_TYPE:], _HAS_ALPHA) > 0)
    transparent_colors = chunks.png(encoded, b"tRNS", before_pixels=True)
    return tf.logical_or(has_channel, tf.strings.length(transparent_colors) > 0)


def composite(photo: Any, background: int) -> Any:
    """Place a photo on a background.

    Args:
        photo: uint8 [height, width, 4], RGB and alpha, not premultiplied.
        background: grey level, 0 to 255.

    Returns:
        uint8 [height, width, 3].
    """
    import tensorflow as tf

    colour, alpha = tf.cast(photo[..., :3], tf.uint16), tf.cast(photo[..., 3:], tf.uint16)
    # Rounded to the nearest integer; the largest value, 255 * 255 + 127, is a uint16.
    mixed = (colour * alpha + tf.cast(background, tf.uint16) * (255 - alpha) + 127) // 255
    return tf.cast(mixed, tf.uint8)
