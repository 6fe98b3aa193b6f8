"""Duplicates: identical files, and near duplicates, which are the same picture saved again.

Identical files have the same digest. For near duplicates, each photo is compared pixel by pixel, at
a small size, with the photo whose vector is most similar: judging by vectors alone, any two heaps
of oranges would be duplicates.
"""

from collections.abc import Iterator

import numpy as np

from pipeline.evaluation.data_checks.context import CheckContext, Finding
from pipeline.pixels import thumbnails

LEAK, CONFLICT = "leak", "conflict"
DUPLICATE, NEAR_DUPLICATE = "duplicate", "near_duplicate"
_MIN_COSINE = 0.6  # of photos that are compared by pixels; near duplicates had 0.7 and more
# Maximum distance (1 - correlation) between the pixels of near duplicates, each channel relative to
# its mean. Photos saved at half the size with quality 40 had up to 0.008, photos of a shelf taken a
# moment later up to 0.044, other photos of groceries 0.075 and more. If all photos look alike, such
# as scanned digits, a tenth of the median distance is the limit.
_SAVED_AGAIN, _MOMENT_LATER = 0.01, 0.05
_MAX_PAIRS = 20_000  # compared by pixels, most similar first
_SIDE = 24  # pixels


def find(context: CheckContext) -> Iterator[Finding]:
    """Yield groups of duplicates, by their most severe consequence."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    photos = context.photos
    first = photos.groupby("digest", sort=False).ngroup().to_numpy()
    near = _near(context)
    links = np.concatenate([np.c_[np.arange(len(photos)), context.unique[first]], near])
    ones = np.ones(len(links), bool)
    graph = coo_array((ones, (links[:, 0], links[:, 1])), (len(photos), len(photos)))
    _, group = connected_components(graph, directed=False)
    sizes = np.bincount(group)
    for _, members in photos[sizes[group] > 1].groupby(group[sizes[group] > 1]):
        same = members["digest"].nunique() == 1
        what = "identical file" if same else "nearly the same photo"
        paths = tuple(sorted(members["path"]))
        score = float(same)
        splits, labels = sorted(set(members["split"])), sorted(set(members["label"]))
        if len(splits) > 1:
            yield Finding(LEAK, f"{what} in {' and '.join(splits)}", paths, score=score)
        if len(labels) > 1:
            yield Finding(CONFLICT, f"{what} in {' and '.join(labels)}", paths, score=score)
        if len(splits) == len(labels) == 1:
            kind = DUPLICATE if same else NEAR_DUPLICATE
            yield Finding(kind, f"{what} {len(paths)} times", paths, score=score)


def _near(context: CheckContext) -> np.ndarray:
    """Return pairs of indices of near duplicates, int64 [pairs, 2]."""
    nearest, unique = context.nearest, context.unique
    if nearest is None:
        return np.empty((0, 2), np.int64)
    pairs = np.c_[np.arange(len(unique)), nearest.index]
    order = np.argsort(-nearest.similarity, kind="stable")
    similar = pairs[order][nearest.similarity[order] >= _MIN_COSINE]
    _, kept = np.unique(np.sort(similar, axis=1), axis=0, return_index=True)
    similar = similar[np.sort(kept)][:_MAX_PAIRS]
    needed, positions = np.unique(similar, return_inverse=True)
    paths = [context.image_dir / path for path in context.photos["path"].iloc[unique[needed]]]
    pictures = thumbnails.pixels(paths, _SIDE, context.input)
    distances = np.array(
        [
            1 - _normalized(pictures[a]) @ _normalized(pictures[b])
            for a, b in positions.reshape(-1, 2)
        ]
    )
    median = float(np.median(distances)) if len(distances) else 0
    duplicates: np.ndarray = unique[
        similar[distances <= np.clip(median / 10, _SAVED_AGAIN, _MOMENT_LATER)]
    ]
    return duplicates


def _normalized(picture: np.ndarray | None) -> np.ndarray:
    """Return a unit vector, float32, so that products are correlations; zeros if uniform."""
    if picture is None:
        return np.zeros(_SIDE * _SIDE * 3, np.float32)
    values = picture.astype(np.float32)
    flat = (values - values.mean((0, 1))).ravel()
    unit: np.ndarray = flat / max(float(np.linalg.norm(flat)), 1e-6)
    return unit
