"""Consistency: whether a module returns one vector per photo, whatever else is in the batch.

A module that was saved in training mode normalizes by the photos beside it (batch normalization) or
drops features at random (dropout). Its head looks accurate on full batches, and fails on single
photos.
"""

from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.modules import efficientnet_lite, failures, loading
from pipeline.modules.loading import Module

_COUNT = 4
# Relative to the largest value of all vectors. Rounding differs by 1e-6 between batch sizes; batch
# normalization in training mode by 1e-1.
_TOLERANCE = 1e-3
# Deviation of vectors from their mean, relative to the mean. It is 0.24 for efficientnet-lite0 on
# the photos below, and 0.007 if the module gets pixels from 0 to 1 instead of 0 to 255.
_LEAST_SPREAD = 0.03


def check(module: Module) -> str:
    """Try a module on a few images alone, together, in another order and twice.

    Built-in modules are not tried: they have no training mode.

    Returns:
        A warning if its vectors are probabilities or hardly differ between the images, or an empty
        string.

    Raises:
        UserError: if the vector of an image is not the same each time, or the module raises an
            error.
    """
    if module.handle in efficientnet_lite.VARIANTS:
        return ""
    extract, _ = loading.load(module)
    handle = module.handle

    def vectors(pixels: Any) -> np.ndarray:
        # Images without a vector, such as NaN, say nothing about the others.
        output = failures.call(extract, pixels, f"tfhub_module: {handle}").numpy()
        return np.asarray(np.nan_to_num(output, posinf=0, neginf=0))

    sample = images(module.height, module.width, _COUNT)

    together, again = vectors(sample), vectors(sample)
    reordered = vectors(sample[::-1])[::-1]
    alone = np.concatenate([vectors(sample[i : i + 1]) for i in range(_COUNT)])
    if _differ(together, again):
        raise UserError(
            f"tfhub_module: {handle} returns another vector each time it gets the same photo: "
            "probably it was saved with dropout in training mode. Save it for inference "
            "(training=False), or use another module"
        )
    if _differ(together, alone) or _differ(together, reordered):
        raise UserError(
            f"tfhub_module: {handle} returns a vector that depends on the other photos in the "
            "batch: probably it was saved with batch normalization in training mode. Save it for "
            "inference (training=False), or use another module"
        )
    if together.min() >= 0 and np.allclose(together.sum(1), 1, atol=_TOLERANCE):
        return (
            f"tfhub_module: the vectors of {handle} are probabilities (they add up to 1), so it "
            "seems to be a classifier; the output of the layer before usually separates classes "
            "better"
        )
    mean = together.mean(0)
    spread = np.linalg.norm(together - mean, axis=1).mean()
    if spread < _LEAST_SPREAD * np.linalg.norm(mean):
        return (
            f"tfhub_module: the vectors of {handle} hardly differ between photos; if it expects "
            "another pixel range, set image_range (byte: 0 to 255, signed: -1 to 1)"
        )
    return ""


def images(height: int, width: int, count: int) -> Any:
    """Return images with colours that vary like those of photos, the same each time.

    Returns:
        float32 tensor [count, height, width, 3] in [0, 1].
    """
    import tensorflow as tf

    coarse = np.random.default_rng(0).random((count, 4, 4, 3)).astype(np.float32)
    return tf.image.resize(coarse, (height, width))


def _differ(first: np.ndarray, second: np.ndarray) -> bool:
    """Return whether vectors differ by more than rounding."""
    return bool(np.abs(first - second).max() > _TOLERANCE * np.abs(first).max())
