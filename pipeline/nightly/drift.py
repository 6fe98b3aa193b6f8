"""Drift: whether recently added photos differ from earlier photos of the same classes.

A new camera, different light or photographed screens change the appearance of photos, and the model
becomes less accurate on them. The module's vectors show it before the accuracy does.
"""

import numpy as np

from pipeline.bottlenecks.reader import Bottlenecks

MAX_NEW, MAX_OLD = 500, 2000  # sample sizes
PERMUTATIONS = 999  # the smallest p-value is 1 / 1000
MIN_NEW = 5  # new photos that a test needs
_SEED = 20


def p_value(new: Bottlenecks, old: Bottlenecks) -> float | None:
    """Return the p-value of a permutation test for a difference between new and old photos.

    Vectors are centred by class and scaled by each feature's standard deviation. The distance
    between the means of new and old photos is compared with the distances after permuting photos
    within their classes (P. Good, Permutation Tests, 2000). A different mix of classes is therefore
    no drift, nor is a new class, which has no photos for comparison.

    Args:
        new: recently added photos.
        old: earlier photos.

    Returns:
        From 1 / 1000 to 1, always the same for the same photos; None with fewer than 5 new photos.
    """
    generator = np.random.default_rng(_SEED)
    new = new.with_labels(tuple(np.unique(old.labels)))
    old = old.with_labels(tuple(np.unique(new.labels)))
    if len(new.labels) < MIN_NEW:
        return None
    labels = np.concatenate([new.labels, old.labels])
    centred = _centre_by_class(np.concatenate([new.vectors, old.vectors]), labels)
    is_new = np.arange(len(labels)) < len(new.labels)
    arrangements = np.tile(is_new, (PERMUTATIONS + 1, 1))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        mixed = np.tile(is_new[members], (PERMUTATIONS, 1))
        arrangements[1:, members] = generator.permuted(mixed, axis=1)
    # Vectors are centred by class, so the sums of old and new photos differ only in their sign.
    distances = np.linalg.norm(arrangements.astype(np.float32) @ centred, axis=1)
    reached = int((distances[1:] >= distances[0] * (1 - 1e-6)).sum())
    return (1 + reached) / (1 + PERMUTATIONS)


def _centre_by_class(vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Subtract the mean of the class, and divide by the standard deviation within classes."""
    centred = vectors.astype(np.float32)
    for label in np.unique(labels):
        centred[labels == label] -= centred[labels == label].mean(0)
    deviation = centred.std(0)
    deviation[deviation < 1e-6] = 1
    centred /= deviation
    return centred
