"""Distorted copies of the training photos, from which a head learns what does not matter.

The options are retrain.py's, with its meaning, and a rotation. retrain.py distorted each photo anew
at each step and gave up its cache for that; here a photo gets a fixed number of copies, each
distorted by what its digest and its number say, so that they are computed once and kept.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.files import naming
from pipeline.photos import decoding

VERSION = 1  # raise it when the ops below change a pixel
MOST = 100  # copies of a photo


@dataclass(frozen=True)
class Augmentation:
    """How many distorted copies each training photo gets, and how far they may go.

    Attributes:
        augmentations: copies of each training photo.
        flip_left_right: mirror half of the copies.
        random_crop: percent by which a copy is larger than the module's input before it is cut to
            size at a random place.
        random_scale: percent by which it is enlarged besides, at most.
        random_brightness: percent by which it gets brighter or darker, at most.
        random_rotation: degrees by which it is turned to either side, at most.

    Raises:
        UserError: where a value is out of its range, or copies would be equal to their photo.
    """

    augmentations: int = 0
    flip_left_right: bool = False
    random_crop: int = 0
    random_scale: int = 0
    random_brightness: int = 0
    random_rotation: int = 0

    def __post_init__(self) -> None:
        limits = {
            "augmentations": MOST,
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
                "photos are to be distorted, but augmentations is 0; set it to the number of "
                "distorted copies that each training photo should get, such as 4"
            )
        if self.augmentations and not distorts:
            raise UserError(
                f"augmentations is {self.augmentations}, but nothing says how to distort a photo; "
                "set flip_left_right, random_crop, random_scale, random_brightness or "
                "random_rotation"
            )

    @property
    def key(self) -> str:
        """Digest of how copies are distorted, however many there are."""
        return naming.digest(VERSION, {**asdict(self), "augmentations": None})


def seed(digest: str, variant: int) -> np.ndarray:
    """What makes a copy the same each time: int64 [2]; the second is 0 for the photo itself."""
    return np.array([int(digest[:15], 16), variant], np.int64)


def decode(encoded: Any, height: int, width: int, how: Augmentation, seed: Any) -> Any:
    """Decode one photo and distort it, with ops that run in tf.data.

    Args:
        encoded: scalar string tensor, as `images.decode` takes it.
        height, width: wanted size in pixels.
        how: how far to go.
        seed: int64 [2].

    Returns:
        float32 [height, width, 3] in [0, 1], RGB.
    """
    import tensorflow as tf

    seeds = tf.unstack(tf.random.split(seed, 5))

    def between(least: float, most: float, number: int) -> Any:
        return tf.random.stateless_uniform([], seeds[number], least, most)

    scale = (1 + how.random_crop / 100) * between(1, 1 + how.random_scale / 100, 0)
    size = tf.cast(tf.constant([height, width], tf.float32) * scale, tf.int32)
    photo = decoding.resize(decoding.pixels(encoded, size[0], size[1]), size)
    if how.random_rotation:
        most = math.radians(how.random_rotation)
        photo = _rotate(photo, between(-most, most, 1))
    photo = tf.image.stateless_random_crop(photo, [height, width, 3], seeds[2])
    if how.flip_left_right:
        photo = tf.image.stateless_random_flip_left_right(photo, seeds[3])
    part = how.random_brightness / 100
    return tf.clip_by_value(photo * between(1 - part, 1 + part, 4), 0, 1)


def _rotate(photo: Any, angle: Any) -> Any:
    """Turn a photo around its middle; what was not on it is filled with its reflection."""
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
