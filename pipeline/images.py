"""From encoded bytes to the pixels a module takes: one code path for training and serving."""

from typing import Any

# Part of every bottleneck's identity: raise it when the ops below change a pixel.
PREPROCESSING_VERSION = 1


def decode(encoded: Any, height: int, width: int) -> Any:
    """Decode and resize one photo, with ops that run in tf.data and inside an exported graph.

    The whole photo is squeezed to the module's size, bilinearly, as retrain.py did. EXIF
    orientation is not honoured, as there.

    Args:
        encoded: scalar string tensor: a JPEG, PNG, GIF (first frame), BMP or still WebP file.
        height, width: wanted size in pixels.

    Returns:
        float32 [height, width, 3] in [0, 1], RGB.

    Raises:
        tf.errors.InvalidArgumentError: when the tensor is evaluated and is no such file.
    """
    import tensorflow as tf

    pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    # decode_image leaves a WebP with its frame axis; the last three axes are the first frame.
    pixels = tf.reshape(pixels, tf.concat([[-1], tf.shape(pixels)[-3:]], 0))[0]
    resized = tf.image.resize(pixels, (height, width))
    # Times, not divided by: graphs turn a division into this, and the last bit would differ.
    return tf.ensure_shape(resized, (height, width, 3)) * (1 / 255.0)
