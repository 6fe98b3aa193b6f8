"""Batches: the training photos of one epoch, distorted, prepared while the last batch is trained.

The order depends only on the seed and the epoch, and the distortion of a photo only on its content
and the epoch. A resumed training therefore sees the same batches.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.fine_tuning.photo_cache import PhotoCache
from pipeline.pixels import augmentation
from pipeline.pixels.augmentation import Augmentation
from pipeline.pixels.decoding import InputSpec

Batch = tuple[np.ndarray, np.ndarray]
"""Pixels, float32 [n, height, width, 3] in [0, 1], and classes, int64 [n]."""


@dataclass(frozen=True)
class TrainingPhotos:
    """The photos that a module is trained on.

    Attributes:
        cache: the photos, decoded at `enlarged_size`.
        digests: SHA-256 of each in hex.
        classes: int64 [n].
        spec: the pixels that the module takes.
        distortions: how photos are distorted.
        size: photos per batch.
        seed: seed of the order.
    """

    cache: PhotoCache
    digests: list[str]
    classes: np.ndarray
    spec: InputSpec
    distortions: Augmentation
    size: int
    seed: int

    @property
    def steps(self) -> int:
        """Batches per epoch; the photos that do not fill one are left to other epochs."""
        return len(self.classes) // self.size

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from the given number on, one ahead of the caller."""
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.classes))
        distort = _distorter(self.spec, self.distortions)

        def prepare(number: int) -> Batch:
            indices = order[number * self.size : (number + 1) * self.size]
            photos = self.cache.read(indices)
            seeds = [augmentation.seed(self.digests[i], epoch + 1) for i in indices]
            return np.stack(list(threads.map(distort, photos, seeds))), self.classes[indices]

        with ThreadPoolExecutor(os.cpu_count()) as threads, ThreadPoolExecutor(1) as ahead:
            following = ahead.submit(prepare, first) if first < self.steps else None
            for number in range(first, self.steps):
                assert following is not None
                batch = following.result()
                if number + 1 < self.steps:
                    following = ahead.submit(prepare, number + 1)
                yield batch


def enlarged_size(spec: InputSpec, distortions: Augmentation) -> tuple[int, int]:
    """Return the height and width from which the largest crop has the module's size."""
    factor = (1 + distortions.random_crop / 100) * (1 + distortions.random_scale / 100)
    # Like `augmentation.distort`, in float32 and rounded down.
    height, width = (np.array([spec.height, spec.width], np.float32) * factor).astype(int)
    return int(height), int(width)


def _distorter(
    spec: InputSpec, distortions: Augmentation
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    import tensorflow as tf

    pixels = tf.TensorSpec([*enlarged_size(spec, distortions), 3], tf.uint8)

    @tf.function(input_signature=[pixels, tf.TensorSpec([2], tf.int64)], autograph=False)
    def distorted(photo: Any, seed: Any) -> Any:
        stored = tf.cast(photo, tf.float32) / 255

        def of_size(size: Any) -> Any:
            return tf.image.resize(stored, size) if distortions.random_scale else stored

        return augmentation.distort(of_size, spec, distortions, seed)

    return lambda photo, seed: distorted(photo, seed).numpy()
