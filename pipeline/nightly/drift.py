"""Whether the photos that arrived lately look like those before them.

A shift in how photos look (a new camera, another light, a screen photographed) is what makes a
model worse without anybody's fault. The module's vectors show it before the accuracy does.
"""

import numpy as np

from pipeline.bottlenecks.reader import Bottlenecks

MOST_NEW, MOST_OLD = 500, 2000  # photos that are enough; of more, some are drawn at random
PERMUTATIONS = 999  # the smallest p-value is 1 / 1000
FEWEST = 5  # new photos below which nothing can be said
_SEED = 20


def p_value(new: Bottlenecks, old: Bottlenecks) -> float | None:
    """How often chance alone would set the new photos so far apart from the old ones.

    Each photo's vector is seen from the middle of its class, in units of each feature's spread.
    The new photos' mean is then compared with that of the old ones: the distance between the two
    is set against the distances after photos were exchanged at random within their classes (a
    permutation test; P. Good, Permutation Tests, 2000). So another mix of classes is no drift,
    and neither is a new class, whose photos have nothing to be compared with.

    Args:
        new: photos that arrived lately.
        old: those that were there before.

    Returns:
        From 1 / 1000 to 1, the same each time; None with fewer than 5 new photos to compare.
    """
    generator = np.random.default_rng(_SEED)
    new = new.with_labels(tuple(np.unique(old.labels)))
    old = old.with_labels(tuple(np.unique(new.labels)))
    if len(new.labels) < FEWEST:
        return None
    labels = np.concatenate([new.labels, old.labels])
    seen = _from_class_middle(np.concatenate([new.vectors, old.vectors]), labels)
    is_new = np.arange(len(labels)) < len(new.labels)
    arrangements = np.tile(is_new, (PERMUTATIONS + 1, 1))
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        mixed = np.tile(is_new[of_class], (PERMUTATIONS, 1))
        arrangements[1:, of_class] = generator.permuted(mixed, axis=1)
    # Vectors are centred by class, so the old photos' sums are the new ones' with another sign.
    distances = np.linalg.norm(arrangements.astype(np.float32) @ seen, axis=1)
    reached = int((distances[1:] >= distances[0] * (1 - 1e-6)).sum())
    return (1 + reached) / (1 + PERMUTATIONS)


def _from_class_middle(vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Vectors less their class's mean, over each feature's standard deviation within classes."""
    seen = vectors.astype(np.float32)
    for label in np.unique(labels):
        seen[labels == label] -= seen[labels == label].mean(0)
    spread = seen.std(0)
    spread[spread < 1e-6] = 1
    seen /= spread
    return seen
