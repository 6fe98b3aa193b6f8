"""From encoded bytes to the pixels a module takes: one code path for training and serving."""

from functools import partial
from typing import Any

# Part of every bottleneck's identity: raise it when the ops below change a pixel.
PREPROCESSING_VERSION = 1

_RATIOS = (1, 2, 4, 8)  # what a JPEG can be shrunk by while it is decoded


def decode(encoded: Any, height: int, width: int) -> Any:
    """Decode and resize one photo, with ops that run in tf.data and inside an exported graph.

    The whole photo is squeezed to the module's size, bilinearly, as retrain.py did. A JPEG at
    least twice as large is decoded at a reduced scale first. EXIF orientation is not honoured, as
    in retrain.py.

    Args:
        encoded: scalar string tensor: a JPEG, PNG, GIF (first frame), BMP or still WebP file.
        height, width: wanted size in pixels.

    Returns:
        float32 [height, width, 3] in [0, 1], RGB.

    Raises:
        tf.errors.InvalidArgumentError: when the tensor is evaluated and is no such file.
    """
    import tensorflow as tf

    resized = resize(pixels(encoded, height, width), (height, width))
    return tf.ensure_shape(resized, (height, width, 3))


def pixels(encoded: Any, height: Any, width: Any) -> Any:
    """Decode one photo: uint8 [any, any, 3], no smaller than wanted where the file is as large.

    Args and errors are those of `decode`; height and width may be scalar tensors, int32.
    """
    import tensorflow as tf

    return tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: _decode_jpeg(encoded, height, width),
        lambda: _decode_other(encoded),
    )


def resize(photo: Any, size: Any) -> Any:
    """uint8 [any, any, 3] -> float32 [height, width, 3] in [0, 1], bilinearly."""
    import tensorflow as tf

    # Times, not divided by: graphs turn a division into this, and the last bit would differ.
    return tf.image.resize(photo, size) * (1 / 255.0)


def decode_batch(encoded: Any, height: int, width: int) -> tuple[Any, Any]:
    """Decode several photos at once, in a graph, whatever is wrong with some of them.

    TensorFlow's decoders raise, and a graph cannot catch; a data set can skip what raises, and
    being numbered, the photos it lets through still find their places. It also decodes several at
    a time.

    Args:
        encoded: string tensor [batch], as `decode` takes them.
        height, width: wanted size in pixels.

    Returns:
        float32 [batch, height, width, 3] in [0, 1], zeros for what cannot be decoded; and bool
        [batch], what can.
    """
    import tensorflow as tf

    count = tf.size(encoded, tf.int64)
    numbered = tf.data.Dataset.from_tensor_slices(encoded).enumerate()
    decoded = numbered.map(
        lambda number, one: (number, decode(one, height, width)), tf.data.AUTOTUNE
    ).ignore_errors()
    # One more, since get_single_element needs something to get.
    more = tf.data.Dataset.from_tensors((count, tf.zeros((height, width, 3))))
    numbers, pixels = decoded.concatenate(more).batch(count + 1).get_single_element()
    indices, shape = numbers[:, None], tf.stack([count + 1, height, width, 3])
    images = tf.ensure_shape(tf.scatter_nd(indices, pixels, shape)[:-1], (None, height, width, 3))
    readable = tf.scatter_nd(indices, tf.ones_like(numbers), (count + 1)[None])[:-1] > 0
    return images, readable


def _decode_jpeg(encoded: Any, height: Any, width: Any) -> Any:
    """Decode at a half, a quarter or an eighth, as long as no side falls below the wanted size.

    The decoder averages while it decodes, which is quicker and, with photos as large as that,
    nearer to what is on them than a few of their pixels.
    """
    import tensorflow as tf

    size = tf.io.extract_jpeg_shape(encoded)
    fits = tf.minimum(size[0] // height, size[1] // width)
    halvings = tf.add_n([tf.cast(fits >= ratio, tf.int32) for ratio in _RATIOS[1:]])
    decoders = [partial(tf.io.decode_jpeg, encoded, channels=3, ratio=r) for r in _RATIOS]
    return tf.switch_case(halvings, decoders)


def _decode_other(encoded: Any) -> Any:
    import tensorflow as tf

    pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    # decode_image leaves a WebP with its frame axis; the last three axes are the first frame.
    return tf.reshape(pixels, tf.concat([[-1], tf.shape(pixels)[-3:]], 0))[0]
