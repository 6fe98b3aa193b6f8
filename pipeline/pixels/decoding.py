"""Decoding: from encoded bytes to a module's input, in training and serving alike.

This is the only place where the bytes of a photo become pixels. Everything that looks at photos
uses it: the bottlenecks, the exported models, the data checks and the thumbnails.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline.pixels import chunks, gif, orientation, transparency

# Part of every bottleneck's identity: raise it when the operations below change a pixel.
PREPROCESSING_VERSION = 2

WHITE = 255
_RATIOS = (1, 2, 4, 8)  # by which a JPEG can be reduced while it is decoded
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"GIF8", b"RIFF")  # of PNG, GIF and WebP


@dataclass(frozen=True)
class InputSpec:
    """The pixels that a module takes.

    Attributes:
        height, width: size in pixels.
        exif_orientation: whether photos are turned upright, as their Exif metadata says;
            retrain.py did not do that.
        background: grey level behind transparent pixels, 0 to 255.
    """

    height: int
    width: int
    exif_orientation: bool = True
    background: int = WHITE


def decode(encoded: Any, spec: InputSpec, size: Any = None) -> Any:
    """Decode and resize one photo, with operations that run in tf.data and in an exported graph.

    The photo is resized bilinearly to the module's size, without keeping its aspect ratio, as in
    retrain.py. A JPEG that is at least twice as large is decoded at a reduced scale first.

    Args:
        encoded: scalar string tensor: a JPEG, PNG, GIF (first frame), BMP or still WebP file.
        spec: the pixels wanted.
        size: int32 tensor [2], another height and width than those of `spec`.

    Returns:
        float32 [height, width, 3] in [0, 1], RGB.

    Raises:
        tf.errors.InvalidArgumentError: on evaluation, if the tensor is not such a file.
    """
    import tensorflow as tf

    wanted = tf.constant([spec.height, spec.width]) if size is None else size

    def plain_jpeg() -> Any:
        return resize(_decode_jpeg(encoded, wanted), wanted)

    def other() -> Any:
        photo, turn = _decoder(spec.exif_orientation, spec.background)(encoded, wanted)
        # Turning a photo after it is resized takes less time, since it is smaller.
        stored = tf.where(orientation.swaps_sides(turn), wanted[::-1], wanted)
        return orientation.upright(resize(photo, stored), turn)

    # Most photos: without the operations that look for metadata.
    resized = tf.cond(chunks.is_plain_jpeg(encoded), plain_jpeg, other)
    return tf.ensure_shape(
        resized, (spec.height, spec.width, 3) if size is None else (None, None, 3)
    )


def pixels(encoded: Any, spec: InputSpec) -> Any:
    """Decode one photo without resizing it, to uint8 [any, any, 3], RGB.

    A large JPEG is still decoded at a reduced scale. Arguments and errors are those of `decode`.
    """
    import tensorflow as tf

    size = tf.constant([spec.height, spec.width])
    return tf.cond(
        chunks.is_plain_jpeg(encoded),
        lambda: _decode_jpeg(encoded, size),
        lambda: orientation.upright(
            *_decoder(spec.exif_orientation, spec.background)(encoded, size)
        ),
    )


def resize(photo: Any, size: Any) -> Any:
    """Resize uint8 [any, any, 3] bilinearly to float32 [height, width, 3] in [0, 1]."""
    import tensorflow as tf

    # A multiplication, since graphs replace a division by it, and the last bit would differ.
    return tf.image.resize(photo, size) * (1 / 255.0)


def decode_batch(encoded: Any, spec: InputSpec) -> tuple[Any, Any]:
    """Decode a batch of photos in a graph, even if some of them cannot be decoded.

    TensorFlow's decoders raise, and a graph cannot catch exceptions. A tf.data pipeline can skip
    failing elements, though, and numbers restore the positions of the others. It also decodes
    several photos at a time.

    Args:
        encoded: string tensor [batch], as `decode` takes them.
        spec: the pixels wanted.

    Returns:
        float32 [batch, height, width, 3] in [0, 1], with zeros for photos that cannot be decoded;
        and bool [batch], whether each photo could be decoded.
    """
    import tensorflow as tf

    count, height, width = tf.size(encoded, tf.int64), spec.height, spec.width
    numbered = tf.data.Dataset.from_tensor_slices(encoded).enumerate()
    decoded = numbered.map(
        lambda number, one: (number, decode(one, spec)), tf.data.AUTOTUNE
    ).ignore_errors()
    # An extra element, since get_single_element needs at least one.
    extra = tf.data.Dataset.from_tensors((count, tf.zeros((height, width, 3))))
    numbers, pixels = decoded.concatenate(extra).batch(count + 1).get_single_element()
    indices, shape = numbers[:, None], tf.stack([count + 1, height, width, 3])
    images = tf.ensure_shape(tf.scatter_nd(indices, pixels, shape)[:-1], (None, height, width, 3))
    readable = tf.scatter_nd(indices, tf.ones_like(numbers), (count + 1)[None])[:-1] > 0
    return images, readable


@functools.cache
def _decoder(exif_orientation: bool, background: int) -> Callable[[Any, Any], tuple[Any, Any]]:
    """Return a function that decodes any photo as it is stored; it is traced once per process.

    It takes the encoded photo, and the height and width below which a JPEG is not reduced, int32
    [2]. It returns the photo, uint8 [any, any, 3], and the orientation in which it is upright.
    """
    import tensorflow as tf

    signature = [tf.TensorSpec([], tf.string), tf.TensorSpec([2], tf.int32)]

    # Not inlined, since it would take longer to optimize than to run.
    @tf.function(
        input_signature=signature, autograph=False, experimental_attributes={"_noinline": True}
    )
    def decode_any(encoded: Any, size: Any) -> tuple[Any, Any]:
        def exif(find: Callable[..., Any], *kind: bytes) -> Any:
            return find(encoded, *kind) if exif_orientation else b""

        starts = [tf.equal(tf.strings.substr(encoded, 0, len(s)), s) for s in _SIGNATURES]
        kind = tf.argmax([tf.io.is_jpeg(encoded), *starts, True], output_type=tf.int32)
        decoders = [
            lambda: (_decode_jpeg(encoded, size), exif(chunks.jpeg_exif)),
            lambda: (_decode_png(encoded, background), exif(chunks.png, b"eXIf")),
            lambda: (gif.decode(encoded, background), b""),
            lambda: (_decode_webp(encoded, background), exif(chunks.webp, b"EXIF")),
            lambda: (_decode_bmp(encoded), b""),
        ]
        photo, metadata = tf.switch_case(kind, decoders)
        return tf.ensure_shape(photo, (None, None, 3)), orientation.parse(metadata)

    return decode_any  # type: ignore[no-any-return]


def _decode_jpeg(encoded: Any, size: Any) -> Any:
    """Decode at 1/2, 1/4 or 1/8 of the size, as long as no side falls below the larger one of size.

    The decoder averages pixels while it decodes, which is faster and, for photos of that size, more
    accurate than bilinear resizing, which would use only a few of their pixels.
    """
    import tensorflow as tf

    fits = tf.reduce_min(tf.io.extract_jpeg_shape(encoded)[:2]) // tf.reduce_max(size)
    halvings = tf.add_n([tf.cast(fits >= ratio, tf.int32) for ratio in _RATIOS[1:]])
    decoders = [partial(tf.io.decode_jpeg, encoded, channels=3, ratio=r) for r in _RATIOS]
    return tf.switch_case(halvings, decoders)


def _decode_png(encoded: Any, background: int) -> Any:
    import tensorflow as tf

    return tf.cond(
        transparency.png_has_alpha(encoded),
        lambda: transparency.composite(tf.io.decode_png(encoded, channels=4), background),
        lambda: tf.io.decode_png(encoded, channels=3),
    )


def _decode_webp(encoded: Any, background: int) -> Any:
    import tensorflow as tf

    # TensorFlow writes all frames of an animation into the memory of one; the empty string fails.
    encoded = tf.where(chunks.is_animated_webp(encoded), b"", encoded)
    frames = tf.io.decode_image(encoded, channels=0, expand_animations=False)
    # decode_image keeps the frame axis of a WebP; the last three axes are the first frame.
    photo = tf.reshape(frames, tf.concat([[-1], tf.shape(frames)[-3:]], 0))[0]
    return tf.cond(
        tf.shape(photo)[-1] > 3,
        lambda: transparency.composite(photo, background),
        lambda: photo,
    )


def _decode_bmp(encoded: Any) -> Any:
    import tensorflow as tf

    # TensorFlow would decode the palette's indices as grey values; the empty string fails.
    encoded = tf.where(chunks.is_palette_bmp(encoded), b"", encoded)
    return tf.io.decode_image(encoded, channels=3, expand_animations=False)
