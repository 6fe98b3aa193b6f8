"""Orientation: how a photo must be turned to be upright, as its Exif metadata says."""

from typing import Any

_TAG, _SHORT = 0x0112, 3  # the tag and its type (TIFF 6.0)
_ENTRY = 12  # bytes of a tag in the directory
UPRIGHT = 1
# Whether the rows and columns of a stored photo are mirrored, by orientation, before they are
# swapped if the orientation is 5 or more.
_MIRRORED = [
    [rows, columns, False]
    for rows, columns in (
        *((False, False), (False, True), (True, True), (True, False)),
        *((False, False), (True, False), (True, True), (False, True)),
    )
]


def parse(exif: Any) -> Any:
    """Return the orientation in Exif metadata, int32 from 1 to 8.

    It is 1, upright, if the metadata is empty, damaged or says nothing about the orientation.

    Args:
        exif: scalar string tensor: a TIFF structure of either byte order, possibly after
            `Exif\\0\\0`.
    """
    import tensorflow as tf

    prefixed = tf.equal(tf.strings.substr(exif, 0, 6), b"Exif\0\0")
    tiff = tf.strings.substr(exif, tf.where(prefixed, 6, 0), tf.strings.length(exif))
    mark = tf.strings.substr(tiff, 0, 4)
    big, little = tf.equal(mark, b"MM\0*"), tf.equal(mark, b"II*\0")
    # The zeros let numbers be read at all positions up to the end.
    content = tf.pad(tf.io.decode_raw(tiff, tf.uint8), [[0, 8]])
    size = tf.strings.length(tiff)

    def number(octets: Any) -> Any:
        """Convert octets, uint8 [..., 2 or 4], to int64 [...]."""
        powers = [256**i for i in range(octets.shape[-1])]
        weights = tf.where(big, powers[::-1], powers)
        return tf.reduce_sum(tf.cast(octets, tf.int64) * tf.cast(weights, tf.int64), -1)

    def slice_at(position: Any, count: int) -> Any:
        return tf.ensure_shape(content[position : position + count], [count])

    directory = tf.cast(tf.minimum(number(slice_at(4, 4)), tf.cast(size, tf.int64)), tf.int32)
    entries = content[directory + 2 : size]
    count = tf.minimum(
        tf.cast(number(slice_at(directory, 2)), tf.int32), tf.size(entries) // _ENTRY
    )
    entries = tf.reshape(entries[: count * _ENTRY], [-1, _ENTRY])
    is_orientation = tf.logical_and(
        tf.equal(number(entries[:, :2]), _TAG), tf.equal(number(entries[:, 2:4]), _SHORT)
    )
    value = tf.reduce_max(tf.where(is_orientation, number(entries[:, 8:10]), 0))
    is_valid = tf.logical_and(tf.logical_or(big, little), tf.logical_and(value >= 1, value <= 8))
    return tf.cast(tf.where(is_valid, value, UPRIGHT), tf.int32)


def swaps_sides(orientation: Any) -> Any:
    """Return whether the upright photo is as wide as the stored one is high."""
    return orientation >= 5


def upright(photo: Any, orientation: Any) -> Any:
    """Turn and mirror a photo, [height, width, channels], so that it is upright."""
    import tensorflow as tf

    def turn() -> Any:
        mirrored = tf.raw_ops.Reverse(tensor=photo, dims=tf.gather(_MIRRORED, orientation - 1))
        axes = tf.where(swaps_sides(orientation), [1, 0, 2], [0, 1, 2])
        return tf.transpose(mirrored, axes)

    return tf.cond(orientation > UPRIGHT, turn, lambda: photo)
