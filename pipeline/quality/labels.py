"""Photos that are probably in the wrong class: confident learning.

A classifier says of each photo what it would take it for, without having seen it. How many labels
are wrong is estimated from how often it is sure of another class, and that many photos are named,
those first where it is surest (Northcutt, Jiang and Chuang, "Confident learning: estimating
uncertainty in dataset labels", Journal of Artificial Intelligence Research 70, 2021).

The classifier is linear discriminant analysis: one covariance matrix serves all folds, which takes
a fraction of a second where five trained heads would take many.
"""

from collections.abc import Iterator

import numpy as np

from pipeline.quality.subject import Finding, Subject

LABEL = "label"
_FOLDS = 5
_SHRINKAGE = 0.3  # of the covariance towards a multiple of the identity; 0.1 to 0.5 did alike
_TEMPERATURES = np.geomspace(0.1, 1000, 80)


def find(subject: Subject) -> Iterator[Finding]:
    """Photos whose label is probably wrong, the surest first."""
    photos = subject.photos
    # Each class in turn to all folds, by digest, so that equal photos stay together.
    rank = photos.groupby("label")["digest"].rank("dense").to_numpy(np.int64)
    known = (photos.groupby("label")["digest"].transform("nunique") > 1).to_numpy()
    photos = photos[known]
    labels, classes = np.unique(photos["label"].to_numpy(str), return_inverse=True)
    if len(labels) < 2:
        return
    probabilities = out_of_fold(subject.vectors[known], classes, rank[known] % _FOLDS)
    paths = photos["path"].to_numpy()
    for i, other, margin in suspects(probabilities, classes):
        detail = f"looks like {labels[other]} ({probabilities[i, other]:.0%})"
        yield Finding(LABEL, detail, (paths[i],), score=margin)


def out_of_fold(vectors: np.ndarray, classes: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """What a classifier trained on the other folds says of each photo.

    Args:
        vectors: float32 [n, features].
        classes: int64 [n]; each must have photos in two folds or more.
        folds: int64 [n], from 0 to 4.

    Returns:
        Probabilities, float32 [n, classes], calibrated with one temperature.
    """
    number, features = int(classes.max()) + 1, vectors.shape[1]
    mean, deviation = vectors.mean(0), np.maximum(vectors.std(0), 1e-6)
    squares, sums, counts = [], [], []
    for fold in range(_FOLDS):
        part = (vectors[folds == fold] - mean) / deviation
        one_hot = np.eye(number, dtype=np.float32)[classes[folds == fold]]
        squares.append(part.T @ part)
        sums.append(one_hot.T @ part)
        counts.append(one_hot.sum(0))
    logits = np.empty((len(vectors), number), np.float32)
    for fold in range(_FOLDS):
        count = sum(counts) - counts[fold]
        centres = (sum(sums) - sums[fold]) / np.maximum(count, 1)[:, None]
        within = sum(squares) - squares[fold] - (centres * count[:, None]).T @ centres
        within /= max(float(count.sum()), 1)
        even = max(float(np.trace(within)) / features, 1e-6)
        within *= 1 - _SHRINKAGE
        within[np.diag_indices(features)] += _SHRINKAGE * even
        weights = np.linalg.solve(within, centres.T)
        bias = -0.5 * np.einsum("cf,fc->c", centres, weights)
        part = (vectors[folds == fold] - mean) / deviation
        logits[folds == fold] = part @ weights + bias
    return _calibrated(logits, classes)


def suspects(probabilities: np.ndarray, classes: np.ndarray) -> list[tuple[int, int, float]]:
    """Photos whose label is probably wrong: position, better class, and by how much it is better.

    A class is confidently said where its probability reaches what photos with that label get on
    average. The counts of (label, class confidently said) are scaled to the photos of each label;
    those off the diagonal estimate how many labels are wrong.
    """
    number, each = probabilities.shape[1], np.arange(len(classes))
    own = probabilities[each, classes]
    counts = np.bincount(classes, minlength=number)
    thresholds = np.bincount(classes, own, number) / np.maximum(counts, 1)
    confident = np.where(probabilities >= np.maximum(thresholds, 1e-6), probabilities, -1)
    said, sure = confident.argmax(1), confident.max(1) > 0
    joint = np.zeros((number, number))
    np.add.at(joint, (classes[sure], said[sure]), 1)
    right = np.maximum(joint.diagonal(), 1)
    off = joint.sum(1) - joint.diagonal()
    wrong = round(float((counts * off / (right + off)).sum()))
    others = probabilities.copy()
    others[each, classes] = -1
    margin = others.max(1) - own
    order = np.argsort(-margin, kind="stable")[:wrong]
    best = others.argmax(1)
    return [(int(i), int(best[i]), float(margin[i])) for i in order if margin[i] > 0]


def _calibrated(logits: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Softmax at the temperature of the lowest cross-entropy."""
    each = np.arange(len(classes))
    logits -= logits.max(1, keepdims=True)
    own = logits[each, classes]

    def cross_entropy(temperature: float) -> float:
        normaliser = np.log(np.exp(logits / temperature).sum(1))
        return float((normaliser - own / temperature).mean())

    scaled = np.exp(logits / min(_TEMPERATURES, key=cross_entropy))
    probabilities: np.ndarray = scaled / scaled.sum(1, keepdims=True)
    return probabilities
