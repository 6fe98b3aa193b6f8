"""Decoding: from encoded bytes to a module's input, in training and serving alike."""

from functools import partial
from typing import Any

# Part of every bottleneck's identity: raise it when the operations below change a pixel.
PREPROCESSING_VERSION = 1

_RATIOS = (1, 2, 4, 8)  # by which a JPEG can be reduced while it is decoded


def decode(encoded: Any, height: int, width: int) -> Any:
    """Decode and resize one photo, with operations that run in tf.data and in an exported graph.

    The photo is resized bilinearly to the module's size, without keeping its aspect ratio, as in
    retrain.py. A JPEG that is at least twice as large is decoded at a reduced scale first. The EXIF
    orientation is ignored, as in retrain.py.

    Args:
        encoded: scalar string tensor: a JPEG, PNG, GIF (first frame), BMP or still WebP file.
        height, width: target size in pixels.

    Returns:
        float32 [height, width, 3] in [0, 1], RGB.

    Raises:
        tf.errors.InvalidArgumentError: on evaluation, if the tensor is not such a file.
    """
    import tensorflow as tf

    resized = resize(pixels(encoded, height, width), (height, width))
    return tf.ensure_shape(resized, (height, width, 3))


def pixels(encoded: Any, height: Any, width: Any) -> Any:
    """Decode one photo to uint8 [any, any, 3], at least as large as the target size if possible.

    Arguments and errors are those of `decode`; height and width may be int32 scalar tensors.
    """
    import tensorflow as tf

    return tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: _decode_jpeg(encoded, height, width),
        lambda: _decode_other(encoded),
    )


def resize(photo: Any, size: Any) -> Any:
    """Resize uint8 [any, any, 3] bilinearly to float32 [height, width, 3] in [0, 1]."""
    import tensorflow as tf

    # A multiplication, since graphs replace a division by it, and the last bit would differ.
    return tf.image.resize(photo, size) * (1 / 255.0)


def decode_batch(encoded: Any, height: int, width: int) -> tuple[Any, Any]:
    """Decode a batch of photos in a graph, even if some of them cannot be decoded.

    TensorFlow's decoders raise, and a graph cannot catch exceptions. A tf.data pipeline can skip
    failing elements, though, and numbers restore the positions of the others. It also decodes
    several photos at a time.

    Args:
        encoded: string tensor [batch], as `decode` takes them.
        height, width: target size in pixels.

    Returns:
        float32 [batch, height, width, 3] in [0, 1], with zeros for photos that cannot be decoded;
        and bool [batch], whether each photo could be decoded.
    """
    import tensorflow as tf

    count = tf.size(encoded, tf.int64)
    numbered = tf.data.Dataset.from_tensor_slices(encoded).enumerate()
    decoded = numbered.map(
        lambda number, one: (number, decode(one, height, width)), tf.data.AUTOTUNE
    ).ignore_errors()
    # An extra element, since get_single_element needs at least one.
    extra = tf.data.Dataset.from_tensors((count, tf.zeros((height, width, 3))))
    numbers, pixels = decoded.concatenate(extra).batch(count + 1).get_single_element()
    indices, shape = numbers[:, None], tf.stack([count + 1, height, width, 3])
    images = tf.ensure_shape(tf.scatter_nd(indices, pixels, shape)[:-1], (None, height, width, 3))
    readable = tf.scatter_nd(indices, tf.ones_like(numbers), (count + 1)[None])[:-1] > 0
    return images, readable


def _decode_jpeg(encoded: Any, height: Any, width: Any) -> Any:
    """Decode at 1/2, 1/4 or 1/8 of the size, as long as no side falls below the target size.

    The decoder averages pixels while it decodes, which is faster and, for photos of that size, more
    accurate than bilinear resizing, which would use only a few of their pixels.
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
    # decode_image keeps the frame axis of a WebP; the last three axes are the first frame.
    return tf.reshape(pixels, tf.concat([[-1], tf.shape(pixels)[-3:]], 0))[0]
