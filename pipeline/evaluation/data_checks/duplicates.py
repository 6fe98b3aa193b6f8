"""Photos that are there more than once: the same bytes, or the same picture saved anew.

The same bytes are told by their digest. Of each other photo, the one that looks most like it to
the module is compared with it pixel by pixel, at a small size: the module alone would take any two
heaps of oranges for one.
"""

from collections.abc import Iterator

import numpy as np

from pipeline.evaluation.data_checks.context import CheckContext, Finding
from pipeline.photos import thumbnails

LEAK, CONFLICT = "leak", "conflict"
DUPLICATE, NEAR_DUPLICATE = "duplicate", "near_duplicate"
_ALIKE = 0.6  # cosine from which two photos are compared by their pixels: copies had 0.7 and more
# How far from 1 the correlation of the pixels of one picture may be, each channel from its mean.
# Copies saved at half the size and a quality of 40 had up to 0.008, photos of one shelf taken a
# moment later up to 0.044, other photos of groceries 0.075 and more. Where all photos look alike,
# such as scanned digits, only copies are told: there, a tenth of what is usual counts.
_COPY, _MOMENT = 0.01, 0.05
_MOST_PAIRS = 20_000  # compared by their pixels, the most alike first
_SIDE = 24  # pixels


def find(subject: CheckContext) -> Iterator[Finding]:
    """Groups of photos that are one: by what is worst about each."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    photos = subject.photos
    first = photos.groupby("digest", sort=False).ngroup().to_numpy()
    near = _near(subject)
    links = np.concatenate([np.c_[np.arange(len(photos)), subject.unique[first]], near])
    ones = np.ones(len(links), bool)
    graph = coo_array((ones, (links[:, 0], links[:, 1])), (len(photos), len(photos)))
    _, group = connected_components(graph, directed=False)
    sizes = np.bincount(group)
    for _, members in photos[sizes[group] > 1].groupby(group[sizes[group] > 1]):
        same = members["digest"].nunique() == 1
        how = "the same file" if same else "nearly the same photo"
        paths = tuple(sorted(members["path"]))
        score = float(same)
        splits, labels = sorted(set(members["split"])), sorted(set(members["label"]))
        if len(splits) > 1:
            yield Finding(LEAK, f"{how} in {' and '.join(splits)}", paths, score=score)
        if len(labels) > 1:
            yield Finding(CONFLICT, f"{how} in {' and '.join(labels)}", paths, score=score)
        if len(splits) == len(labels) == 1:
            kind = DUPLICATE if same else NEAR_DUPLICATE
            yield Finding(kind, f"{how} {len(paths)} times", paths, score=score)


def _near(subject: CheckContext) -> np.ndarray:
    """Pairs of positions of photos that are one picture, int64 [pairs, 2]."""
    nearest, unique = subject.nearest, subject.unique
    if nearest is None:
        return np.empty((0, 2), np.int64)
    pairs = np.c_[np.arange(len(unique)), nearest.index]
    order = np.argsort(-nearest.similarity, kind="stable")
    alike = pairs[order][nearest.similarity[order] >= _ALIKE]
    _, kept = np.unique(np.sort(alike, axis=1), axis=0, return_index=True)
    alike = alike[np.sort(kept)][:_MOST_PAIRS]
    needed, positions = np.unique(alike, return_inverse=True)
    paths = [subject.image_dir / path for path in subject.photos["path"].iloc[unique[needed]]]
    pictures = [_prepared(p) for p in thumbnails.pixels(paths, _SIDE)]
    apart = np.array([1 - pictures[a] @ pictures[b] for a, b in positions.reshape(-1, 2)])
    usual = float(np.median(apart)) if len(apart) else 0
    found: np.ndarray = unique[alike[apart <= np.clip(usual / 10, _COPY, _MOMENT)]]
    return found


def _prepared(picture: np.ndarray | None) -> np.ndarray:
    """Float32, so that the product of two is their correlation; zeros for a uniform picture."""
    if picture is None:
        return np.zeros(_SIDE * _SIDE * 3, np.float32)
    values = picture.astype(np.float32)
    flat = (values - values.mean((0, 1))).ravel()
    unit: np.ndarray = flat / max(float(np.linalg.norm(flat)), 1e-6)
    return unit
