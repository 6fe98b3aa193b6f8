"""Thumbnails of photos, from the pixels that modules see: for comparisons and for the pages."""

import base64
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline import tensorflow_import
from pipeline.files.places import Place
from pipeline.photos import sources
from pipeline.pixels import decoding
from pipeline.pixels.decoding import InputSpec

SIDE = 96  # pixels of the longer side on a page
_QUALITY = 60  # about 2 KB per thumbnail
_CHUNK = 64  # photos read at the same time


def data_uris(paths: Sequence[Place], spec: InputSpec) -> list[str]:
    """Return JPEGs of at most 96 x 96 pixels as data URIs; empty for photos that are unreadable.

    Args:
        paths: the photos.
        spec: how they are decoded; its size is ignored.

    Raises:
        UserError: if an object store fails.
    """

    def encode(photo: Any) -> Any:
        import tensorflow as tf

        sides = tf.cast(tf.shape(photo)[:2], tf.float32)
        scale = tf.minimum(SIDE / tf.reduce_max(sides), 1)
        size = tf.maximum(tf.cast(tf.round(sides * scale), tf.int32), 1)
        small = _resize(photo, size)
        return tf.io.encode_jpeg(small, quality=_QUALITY, optimize_size=True)

    encoded = _map(encode, paths, replace(spec, height=SIDE, width=SIDE))
    prefix = "data:image/jpeg;base64,"
    return [prefix + base64.b64encode(jpeg).decode() if jpeg else "" for jpeg in encoded]


def pixels(paths: Sequence[Place], side: int, spec: InputSpec) -> list[np.ndarray | None]:
    """Return photos resized to uint8 [side, side, 3]; None for photos that cannot be decoded.

    Arguments and errors are those of `data_uris`.
    """
    # A smaller size would shift the image by fractions of a pixel.
    large = replace(spec, height=4 * side, width=4 * side)
    return _map(lambda photo: _resize(photo, (side, side)), paths, large)


def _resize(photo: Any, size: Any) -> Any:
    import tensorflow as tf

    return tf.cast(tf.round(tf.image.resize(photo, size, method="area")), tf.uint8)


def _map(transform: Callable[[Any], Any], paths: Sequence[Place], spec: InputSpec) -> list[Any]:
    """Decode photos, transform each in a graph, and return the results; None if unreadable."""
    if not paths:
        return []
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    failure: Exception | None = None

    def contents() -> Iterator[bytes]:
        nonlocal failure
        try:
            with ThreadPoolExecutor() as threads:
                for start in range(0, len(paths), _CHUNK):
                    yield from threads.map(_read, paths[start : start + _CHUNK])
        except Exception as error:  # TensorFlow would not pass it on
            failure = error

    @tf.autograph.experimental.do_not_convert
    def transformed(number: Any, photo: Any) -> tuple[Any, Any]:
        encoded = tf.io.read_file(photo) if are_files else photo
        return number, transform(decoding.pixels(encoded, spec))

    are_files = all(sources.is_file(path) for path in paths)
    if are_files:  # TensorFlow reads them faster
        photos = tf.data.Dataset.from_tensor_slices([str(path) for path in paths])
    else:
        scalar = tf.TensorSpec([], tf.string)
        photos = tf.data.Dataset.from_generator(contents, output_signature=scalar)
    results: list[Any] = [None] * len(paths)
    decoded = photos.enumerate().map(transformed, os.cpu_count()).ignore_errors()
    for number, result in decoded.as_numpy_iterator():
        results[number] = result
    if failure:
        raise failure
    return results


def _read(path: Place) -> bytes:
    """Return the bytes of a photo; none, which cannot be decoded, if it is unreadable."""
    try:
        return sources.read(path)
    except OSError:
        return b""
