"""Data augmentation: a fixed number of distorted copies of each training photo.

The options are those of retrain.py, with the same meaning, and a rotation. retrain.py distorted
every photo again in each step, without a cache. Here, the photo's digest and the number of the copy
determine its distortion, so that the vectors of copies are computed once and cached.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.files import naming
from pipeline.pixels import decoding
from pipeline.pixels.decoding import InputSpec

VERSION = 1  # raise it when the operations below change a pixel
MAX_COPIES = 100  # per photo


@dataclass(frozen=True)
class Augmentation:
    """The number of augmented copies of each training photo, and their distortions.

    Attributes:
        augmentations: copies of each training photo.
        flip_left_right: mirror half of the copies.
        random_crop: percentage by which a copy exceeds the module's input before it is cropped at
            a random position.
        random_scale: maximum additional enlargement, in percent.
        random_brightness: maximum change of brightness, in percent.
        random_rotation: maximum rotation to either side, in degrees.

    Raises:
        UserError: if a value is out of range, or the copies would equal their photo.
    """

    augmentations: int = 0
    flip_left_right: bool = False
    random_crop: int = 0
    random_scale: int = 0
    random_brightness: int = 0
    random_rotation: int = 0

    def __post_init__(self) -> None:
        limits = {
            "augmentations": MAX_COPIES,
            "random_crop": 100,
            "random_scale": 100,
            "random_brightness": 100,
            "random_rotation": 180,
        }
        for name, limit in limits.items():
            value = getattr(self, name)
            if not 0 <= value <= limit:
                raise UserError(f"{name} is {value}; it must be from 0 to {limit}")
        distorts = any(value for name, value in asdict(self).items() if name != "augmentations")
        if distorts and not self.augmentations:
            raise UserError(
                "a distortion is set, but augmentations is 0; set it to the number of augmented "
                "copies of each training photo, such as 4"
            )
        if self.augmentations and not distorts:
            raise UserError(
                f"augmentations is {self.augmentations}, but no distortion is set; "
                "set flip_left_right, random_crop, random_scale, random_brightness or "
                "random_rotation"
            )

    @property
    def key(self) -> str:
        """Digest of the distortions, independent of the number of copies."""
        return naming.digest(VERSION, {**asdict(self), "augmentations": None})


def seed(digest: str, variant: int) -> np.ndarray:
    """Return the random seed of a copy: int64 [2]; variant 0 is the photo itself."""
    return np.array([int(digest[:15], 16), variant], np.int64)


def decode(encoded: Any, spec: InputSpec, augmentation: Augmentation, seed: Any) -> Any:
    """Decode one photo and distort it, with operations that run in tf.data.

    Args:
        encoded: scalar string tensor, as `decoding.decode` takes it.
        spec: the pixels wanted.
        augmentation: the distortions.
        seed: int64 [2].

    Returns:
        float32 [height, width, 3] in [0, 1], RGB.
    """
    return distort(lambda size: decoding.decode(encoded, spec, size), spec, augmentation, seed)


def distort(
    photo_of_size: Callable[[Any], Any], spec: InputSpec, augmentation: Augmentation, seed: Any
) -> Any:
    """Distort one photo, with operations that run in a graph.

    Args:
        photo_of_size: function from a height and width, int32 [2], to the photo in this size,
            float32 [height, width, 3] in [0, 1].
        spec, augmentation, seed: as in `decode`.

    Returns:
        float32 [height, width, 3] in [0, 1], RGB.
    """
    import tensorflow as tf

    height, width = spec.height, spec.width
    seeds = tf.unstack(tf.random.split(seed, 5))

    def between(least: float, most: float, number: int) -> Any:
        return tf.random.stateless_uniform([], seeds[number], least, most)

    scale = (1 + augmentation.random_crop / 100) * between(
        1, 1 + augmentation.random_scale / 100, 0
    )
    size = tf.cast(tf.constant([height, width], tf.float32) * scale, tf.int32)
    photo = photo_of_size(size)
    if augmentation.random_rotation:
        most = math.radians(augmentation.random_rotation)
        photo = _rotate(photo, between(-most, most, 1))
    photo = tf.image.stateless_random_crop(photo, [height, width, 3], seeds[2])
    if augmentation.flip_left_right:
        photo = tf.image.stateless_random_flip_left_right(photo, seeds[3])
    change = augmentation.random_brightness / 100
    return tf.clip_by_value(photo * between(1 - change, 1 + change, 4), 0, 1)


def _rotate(photo: Any, angle: Any) -> Any:
    """Rotate a photo around its centre, filling the corners with its reflection."""
    import tensorflow as tf

    cos, sin = tf.cos(angle), tf.sin(angle)
    size = tf.shape(photo)[:2]
    y, x = tf.unstack(tf.cast(size - 1, tf.float32) / 2)
    transform = [cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y, 0.0, 0.0]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=photo[None],
        transforms=tf.stack(transform)[None],
        output_shape=size,
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )[0]
