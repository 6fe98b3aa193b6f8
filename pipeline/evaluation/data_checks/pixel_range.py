"""Pixel range: whether the module would separate the classes better with another one.

A module that expects pixels from -1 to 1 still returns plausible vectors for pixels from 0 to 1.
The model is then less accurate, and its photos look hard.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pipeline.bottlenecks import extraction
from pipeline.evaluation.data_checks.context import CheckContext, Finding
from pipeline.evaluation.statistics import sign_test_p_value
from pipeline.modules import efficientnet_lite, engines
from pipeline.modules.signatures import RANGES
from pipeline.photos import split

PIXEL_RANGE = "pixel_range"
# Sampled photos, and the fewest of a class. On 50 kinds of groceries, 200 photos showed a wrong
# range that cost 8 points; on 6 kinds of trash, only one that cost more.
_PHOTOS, _PER_CLASS = 240, 4
_SIGNIFICANCE = 0.01  # probability of a false alarm
_LEAST_GAIN = 0.05  # of the accuracy; less is not worth a warning


def find(context: CheckContext) -> Iterator[Finding]:
    """Yield the pixel range that separates a sample of the classes best, if it is clearly better.

    The criterion is the accuracy of the nearest class mean, leaving the photo out. Built-in modules
    are not checked, since their range is known.
    """
    module = context.module
    if module is None or module.handle in efficientnet_lite.VARIANTS:
        return
    photos = context.photos[context.photos["split"] == split.TRAINING].sort_values("digest")
    counts = photos["label"].value_counts()
    labels = sorted(counts.index[counts > 1])[: _PHOTOS // _PER_CLASS]
    photos = photos[photos["label"].isin(labels)]
    photos = photos.groupby("label").head(_PHOTOS // max(len(labels), 1))
    if len(labels) < 2:
        return
    paths = [context.image_dir / path for path in photos["path"]]
    correct: dict[str, np.ndarray] = {}
    for image_range in RANGES:
        # The frozen graph contains the range of the module.
        variant = replace(module, image_range=image_range, frozen="", frozen_digest="")
        vectors = np.zeros((len(paths), module.features), np.float32)
        for batch in extraction.extract(paths, variant, engines.FLOAT32):
            vectors[batch.indices] = np.nan_to_num(batch.vectors, posinf=0, neginf=0)
        correct[image_range] = _is_nearest(vectors, photos["label"].to_numpy(object))
    best = max(correct, key=lambda image_range: correct[image_range].mean())
    now, then = correct[module.image_range], correct[best]
    p_value = sign_test_p_value(int((then & ~now).sum()), int((now & ~then).sum()))
    if then.mean() - now.mean() >= _LEAST_GAIN and p_value < _SIGNIFICANCE:
        detail = (
            f"with image_range {best}, the module separates {then.mean():.0%} of {len(paths)} "
            f"photos of {len(labels)} classes; with {module.image_range}, {now.mean():.0%}"
        )
        yield Finding(PIXEL_RANGE, detail, label="all classes")


def _is_nearest(vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return whether the mean of its class, without itself, is nearest to each vector, bool [n].

    Vectors are standardized and compared by their cosine.
    """
    vectors = (vectors - vectors.mean(0)) / np.maximum(vectors.std(0), 1e-6)
    classes, number = np.unique(labels, return_inverse=True)
    sums = np.stack([vectors[number == c].sum(0) for c in range(len(classes))])
    counts = np.bincount(number).astype(np.float32)
    similarity = vectors @ _unit(sums / counts[:, None]).T
    own = _unit((sums[number] - vectors) / (counts[number] - 1)[:, None])
    similarity[np.arange(len(vectors)), number] = (vectors * own).sum(1)
    nearest: np.ndarray = similarity.argmax(1) == number
    return nearest


def _unit(vectors: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    return unit
