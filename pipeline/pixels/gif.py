"""GIF: the first frame, on a background where it is transparent.

TensorFlow's decoder makes transparent pixels black, but does not say which ones they are. Decoding
the file again with complementary colours does: only these pixels are the same both times.
"""

from typing import Any

_HEADER = 13  # bytes before the global palette
_FLAGS = 10  # position of the flags in the header; in an image descriptor, 9
_IMAGE, _EXTENSION = ord(","), ord("!")
_MAX_BLOCKS = 100_000  # before the first image, 25 MB of comments


def decode(encoded: Any, background: int) -> Any:
    """Decode the first frame of a GIF (GIF89a) to uint8 [height, width, 3].

    Args:
        encoded: scalar string tensor.
        background: grey level, 0 to 255.

    Raises:
        tf.errors.InvalidArgumentError: on evaluation, if the file is damaged.
    """
    import tensorflow as tf

    photo, other = _first_frame(encoded), _first_frame(_complemented(encoded))
    is_blank = tf.reduce_all(tf.equal(photo, other), axis=-1, keepdims=True)
    return tf.where(is_blank, tf.cast(background, tf.uint8), photo)


def _first_frame(encoded: Any) -> Any:
    import tensorflow as tf

    return tf.io.decode_image(encoded, channels=3, expand_animations=False)


def _complemented(encoded: Any) -> Any:
    """Replace each colour of the first frame's palettes, global and local, by its complement."""
    import tensorflow as tf

    start = _HEADER + _palette_bytes(encoded, _FLAGS)
    image = _first_image(encoded, start)
    local = image + 10
    local_end = local + _palette_bytes(encoded, image + 9)

    def part(begin: Any, end: Any) -> Any:
        length = tf.strings.length(encoded)
        begin, end = tf.minimum(begin, length), tf.minimum(end, length)
        return tf.strings.substr(encoded, begin, end - begin)

    def complement(palette: Any) -> Any:
        octets = tf.constant([bytes([255 - number]) for number in range(256)])
        numbers = tf.cast(tf.io.decode_raw(palette, tf.uint8), tf.int32)
        return tf.strings.reduce_join(tf.gather(octets, numbers))

    return tf.strings.join(
        [
            part(0, _HEADER),
            complement(part(_HEADER, start)),
            part(start, local),
            complement(part(local, local_end)),
            part(local_end, tf.strings.length(encoded)),
        ]
    )


def _first_image(encoded: Any, start: Any) -> Any:
    """Return the position of the first image descriptor, skipping extensions."""
    import tensorflow as tf

    length = tf.strings.length(encoded)

    def continues(position: Any, in_extension: Any) -> Any:
        is_image = tf.equal(_octet(encoded, position), _IMAGE)
        return tf.logical_and(
            position < length, tf.logical_or(in_extension, tf.logical_not(is_image))
        )

    def advance(position: Any, in_extension: Any) -> tuple[Any, Any]:
        octet = _octet(encoded, position)
        # An extension is "!", its kind, and blocks that begin with their size; the last one has 0.
        step = tf.where(in_extension, octet + 1, 2)
        in_extension = tf.where(in_extension, octet > 0, tf.equal(octet, _EXTENSION))
        return position + step, in_extension

    position, _ = tf.while_loop(
        continues, advance, (start, tf.constant(False)), maximum_iterations=_MAX_BLOCKS
    )
    return position


def _palette_bytes(encoded: Any, position: Any) -> Any:
    """Return the size of the palette that the flags at a position announce, int32."""
    import tensorflow as tf

    flags = _octet(encoded, position)
    size = 3 * tf.bitwise.left_shift(2, tf.bitwise.bitwise_and(flags, 7))
    return tf.where(flags >= 0x80, size, 0)


def _octet(encoded: Any, position: Any) -> Any:
    """Return a byte of a file, int32; 0 after its end."""
    import tensorflow as tf

    length = tf.strings.length(encoded)
    octets = tf.strings.substr(encoded, tf.minimum(position, length), 1)
    return tf.reduce_sum(tf.cast(tf.io.decode_raw(octets, tf.uint8), tf.int32))
