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
