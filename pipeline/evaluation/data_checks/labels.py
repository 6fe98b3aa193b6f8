"""Label errors, found by confident learning, and pairs of classes that may be one class.

A classifier predicts the label of each photo without having seen it. How often it is confident
about another class gives an estimate of the number of wrong labels, and that many photos are
reported, most confident first (Northcutt, Jiang and Chuang, "Confident learning: estimating
uncertainty in dataset labels", Journal of Artificial Intelligence Research 70, 2021).

The classifier is linear discriminant analysis. All folds share one covariance matrix, so it takes a
fraction of a second, where five trained heads would take many. For large data sets, it is fitted on
a sample and applied to all photos.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.evaluation.data_checks.context import CheckContext, Finding

LABEL, SAME_CLASS = "label", "same_class"
_FOLDS = 5
_SHRINKAGE = (
    0.3  # of the covariance towards a multiple of the identity; 0.1 to 0.5 were equally good
)
# Of the photos of two classes that are assigned to one of the two: the share assigned to the right
# one below which this is hardly more than chance, and the least number.
_CHANCE, _LEAST = 0.65, 20
_TEMPERATURES = np.geomspace(0.1, 1000, 80)


def find(context: CheckContext) -> Iterator[Finding]:
    """Yield photos whose label is probably wrong, most confident first, and indistinct classes."""
    fitted = fit(context)
    if fitted is None:
        return
    lda, labels, classes, folds = fitted.lda, fitted.labels, fitted.classes, fitted.folds
    photos, is_usable = context.photos, classes >= 0
    sample, vectors_of_sample = _usable_sample(context, is_usable)
    probabilities = lda.predict_proba(vectors_of_sample, folds[sample])
    joint = ConfidentJoint.empty(probabilities, classes[sample], len(photos))
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    for rows, vectors in context.blocks():
        usable = is_usable[rows]
        probabilities = lda.predict_proba(vectors[usable], folds[rows][usable])
        np.add.at(confusion, (classes[rows][usable], probabilities.argmax(1)), 1)
        joint.add(np.arange(rows.start, rows.stop)[usable], probabilities, classes[rows][usable])
    paths = photos["path"].to_numpy()
    for i in joint.label_errors():
        suggestion = labels[joint.suggested[i]]
        detail = f"looks like {suggestion} ({joint.probability[i]:.0%})"
        yield Finding(LABEL, detail, (paths[i],), score=float(joint.margin[i]))
    yield from _indistinct(confusion, labels)


@dataclass(frozen=True)
class FittedLabels:
    """A classifier that predicts the label of each photo without having seen it.

    Attributes:
        labels: the classes with at least two different photos, sorted.
        classes: index of each photo's label, int64 [n]; -1 for other classes.
        folds: number of each photo's fold, int64 [n].
        lda: the classifier.
    """

    labels: np.ndarray
    classes: np.ndarray
    folds: np.ndarray
    lda: "CrossValidatedLDA"


def fit(context: CheckContext) -> FittedLabels | None:
    """Fit the classifier on the sample; None if there are fewer than two classes."""
    photos = context.photos
    # Folds alternate within each class, by digest, so that identical photos share a fold.
    folds = context.rank % _FOLDS
    is_usable = (photos.groupby("label")["digest"].transform("nunique") > 1).to_numpy()
    numbers, names = pd.factorize(photos["label"][is_usable], sort=True)
    labels = names.to_numpy(object)
    if len(labels) < 2:
        return None
    classes = np.full(len(photos), -1)
    classes[is_usable] = numbers
    sample, vectors = _usable_sample(context, is_usable)
    lda = CrossValidatedLDA.fit(vectors, classes[sample], folds[sample])
    return FittedLabels(labels, classes, folds, lda)


def _usable_sample(context: CheckContext, is_usable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the usable photos in the sample, and their vectors."""
    usable = is_usable[context.sample]
    # A copy of all vectors could take 256 MB.
    vectors = context.vectors if usable.all() else context.vectors[usable]
    return context.sample[usable], vectors


def _indistinct(confusion: np.ndarray, labels: np.ndarray) -> Iterator[Finding]:
    """Yield pairs of classes whose photos the classifier assigns to either of them.

    Args:
        confusion: number of photos by label (rows) and prediction (columns), int64.
        labels: the classes.
    """
    right = confusion.diagonal()[:, None] + confusion.diagonal()
    either = right + confusion + confusion.T
    photos = confusion.sum(1)[:, None] + confusion.sum(1)
    # Both must be mistaken for the other: otherwise, a few photos are in the wrong one.
    mutual = (confusion > 0) & (confusion.T > 0)
    alike = mutual & (right < _CHANCE * either) & (either >= np.maximum(_LEAST, photos / 2))
    for a, b in np.argwhere(np.triu(alike, 1)):
        share = float(right[a, b] / either[a, b])
        detail = (
            f"may be one class with {labels[b]}: a classifier finds the right one for {share:.0%}"
        )
        yield Finding(SAME_CLASS, detail, label=str(labels[a]), score=1 - share)


@dataclass(frozen=True)
class CrossValidatedLDA:
    """One classifier per fold, fitted on the photos of the other folds.

    Attributes:
        mean, deviation: by which vectors are standardized, float32 [features].
        weights: float32 [folds, features, classes], divided by the temperature.
        bias: float32 [folds, classes], divided by the temperature.
    """

    mean: np.ndarray
    deviation: np.ndarray
    weights: np.ndarray
    bias: np.ndarray

    @classmethod
    def fit(
        cls, vectors: np.ndarray, classes: np.ndarray, folds: np.ndarray
    ) -> "CrossValidatedLDA":
        """Fit the classifiers, and one temperature for all of them.

        Args:
            vectors: float32 [n, features].
            classes: int64 [n]; each class must have photos in at least two folds.
            folds: int64 [n], from 0 to 4.
        """
        number, features = int(classes.max()) + 1, vectors.shape[1]
        least = 1e-6 * (np.abs(vectors).max() or 1)
        mean, deviation = vectors.mean(0), np.maximum(vectors.std(0), least)
        squares, sums, counts = [], [], []
        for fold in range(_FOLDS):
            scaled = (vectors[folds == fold] - mean) / deviation
            one_hot = np.eye(number, dtype=np.float32)[classes[folds == fold]]
            squares.append(scaled.T @ scaled)
            sums.append(one_hot.T @ scaled)
            counts.append(one_hot.sum(0))
        weights = np.empty((_FOLDS, features, number), np.float32)
        bias = np.empty((_FOLDS, number), np.float32)
        for fold in range(_FOLDS):
            count = sum(counts) - counts[fold]
            centres = (sum(sums) - sums[fold]) / np.maximum(count, 1)[:, None]
            within = sum(squares) - squares[fold] - (centres * count[:, None]).T @ centres
            within /= max(float(count.sum()), 1)
            variance = max(float(np.trace(within)) / features, 1e-6)
            within *= 1 - _SHRINKAGE
            within[np.diag_indices(features)] += _SHRINKAGE * variance
            weights[fold] = np.linalg.solve(within, centres.T)
            bias[fold] = -0.5 * np.einsum("cf,fc->c", centres, weights[fold])
        lda = cls(mean, deviation, weights, bias)
        temperature = _temperature(lda._logits(vectors, folds), classes)
        return cls(mean, deviation, weights / temperature, bias / temperature)

    def predict_proba(self, vectors: np.ndarray, folds: np.ndarray) -> np.ndarray:
        """Return out-of-fold probabilities, float32 [n, classes]."""
        scaled = np.exp(self._logits(vectors, folds))
        probabilities: np.ndarray = scaled / scaled.sum(1, keepdims=True)
        return probabilities

    def _logits(self, vectors: np.ndarray, folds: np.ndarray) -> np.ndarray:
        """Return out-of-fold logits minus the highest one of each photo."""
        logits = np.empty((len(vectors), self.bias.shape[1]), np.float32)
        for fold in range(_FOLDS):
            scaled = (vectors[folds == fold] - self.mean) / self.deviation
            logits[folds == fold] = scaled @ self.weights[fold] + self.bias[fold]
        logits -= logits.max(1, keepdims=True)
        return logits


@dataclass(frozen=True)
class ConfidentJoint:
    """Counts of labels and confident predictions, accumulated over all photos.

    A prediction is confident if its probability reaches the average probability of photos with that
    label. The counts of (label, confident prediction) are scaled to the photos of each label; those
    off the diagonal estimate the number of wrong labels.

    Attributes:
        thresholds: probability from which a prediction is confident, float64 [classes].
        joint: number of photos by label (rows) and confident prediction (columns).
        counts: number of photos by label, int64 [classes].
        suggested: int32 [n], the most probable class other than the photo's label.
        probability: float32 [n], probability of that class.
        margin: float32 [n], its distance from the probability of the photo's label.
    """

    thresholds: np.ndarray
    joint: np.ndarray
    counts: np.ndarray
    suggested: np.ndarray
    probability: np.ndarray
    margin: np.ndarray

    @classmethod
    def empty(cls, probabilities: np.ndarray, classes: np.ndarray, n: int) -> "ConfidentJoint":
        """Create counts of 0 for `n` photos, with the thresholds of a sample."""
        number = probabilities.shape[1]
        own = probabilities[np.arange(len(classes)), classes]
        average = np.bincount(classes, own, number) / np.maximum(np.bincount(classes), 1)
        suggested, probability = np.zeros(n, np.int32), np.zeros(n, np.float32)
        joint, counts = np.zeros((number, number)), np.zeros(number, np.int64)
        margin = np.full(n, -1, np.float32)
        return cls(np.maximum(average, 1e-6), joint, counts, suggested, probability, margin)

    def add(self, photos: np.ndarray, probabilities: np.ndarray, classes: np.ndarray) -> None:
        """Add the predictions for photos at some indices, with their classes."""
        each = np.arange(len(classes))
        confident = np.where(probabilities >= self.thresholds, probabilities, -1)
        predicted, is_confident = confident.argmax(1), confident.max(1) > 0
        np.add.at(self.joint, (classes[is_confident], predicted[is_confident]), 1)
        self.counts[:] += np.bincount(classes, minlength=len(self.counts))
        own = probabilities[each, classes]
        probabilities[each, classes] = -1
        self.suggested[photos] = best = probabilities.argmax(1)
        self.probability[photos] = probabilities[each, best]
        self.margin[photos] = self.probability[photos] - own

    def label_errors(self) -> list[int]:
        """Return the indices of photos whose label is probably wrong, most confident first."""
        right = np.maximum(self.joint.diagonal(), 1)
        off = self.joint.sum(1) - self.joint.diagonal()
        wrong = round(float((self.counts * off / (right + off)).sum()))
        order = np.argsort(-self.margin, kind="stable")[:wrong]
        return [int(i) for i in order if self.margin[i] > 0]


def _temperature(logits: np.ndarray, classes: np.ndarray) -> float:
    """Return the temperature with the lowest cross-entropy."""
    own = logits[np.arange(len(classes)), classes]

    def cross_entropy(temperature: float) -> float:
        normalizer = np.log(np.exp(logits / temperature).sum(1))
        return float((normalizer - own / temperature).mean())

    return float(min(_TEMPERATURES, key=cross_entropy))
