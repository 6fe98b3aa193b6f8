"""Photos that are probably in the wrong class: confident learning.

A classifier says of each photo what it would take it for, without having seen it. How many labels
are wrong is estimated from how often it is sure of another class, and that many photos are named,
those first where it is surest (Northcutt, Jiang and Chuang, "Confident learning: estimating
uncertainty in dataset labels", Journal of Artificial Intelligence Research 70, 2021).

The classifier is linear discriminant analysis: one covariance matrix serves all folds, which takes
a fraction of a second where five trained heads would take many. Of very many photos, it is fitted
on the sample that the subject keeps, and asked about all.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.data_checks.context import CheckContext, Finding

LABEL = "label"
_FOLDS = 5
_SHRINKAGE = 0.3  # of the covariance towards a multiple of the identity; 0.1 to 0.5 did alike
_TEMPERATURES = np.geomspace(0.1, 1000, 80)


def find(subject: CheckContext) -> Iterator[Finding]:
    """Photos whose label is probably wrong, the surest first."""
    photos = subject.photos
    # Each class in turn to all folds, by digest, so that equal photos stay together.
    folds = subject.rank % _FOLDS
    known = (photos.groupby("label")["digest"].transform("nunique") > 1).to_numpy()
    labels, numbers = np.unique(photos["label"][known].to_numpy(str), return_inverse=True)
    if len(labels) < 2:
        return
    classes = np.full(len(photos), -1)
    classes[known] = numbers
    sample = subject.sample[known[subject.sample]]
    kept = subject.vectors[known[subject.sample]]
    judges = CrossValidatedLDA.fit(kept, classes[sample], folds[sample])
    counted = ConfidentJoint.none(judges.say(kept, folds[sample]), classes[sample], len(photos))
    for rows, vectors in subject.blocks():
        asked = known[rows]
        said = judges.say(vectors[asked], folds[rows][asked])
        counted.add(np.arange(rows.start, rows.stop)[asked], said, classes[rows][asked])
    paths = photos["path"].to_numpy()
    for i in counted.suspects():
        better = labels[counted.better[i]]
        detail = f"looks like {better} ({counted.probability[i]:.0%})"
        yield Finding(LABEL, detail, (paths[i],), score=float(counted.margin[i]))


@dataclass(frozen=True)
class CrossValidatedLDA:
    """A classifier a fold, fitted on the photos of the other folds.

    Attributes:
        mean, deviation: that vectors are standardised with, float32 [features].
        weights: float32 [folds, features, classes], already divided by the temperature.
        bias: float32 [folds, classes], likewise.
    """

    mean: np.ndarray
    deviation: np.ndarray
    weights: np.ndarray
    bias: np.ndarray

    @classmethod
    def fit(
        cls, vectors: np.ndarray, classes: np.ndarray, folds: np.ndarray
    ) -> "CrossValidatedLDA":
        """Fit them, and one temperature for all.

        Args:
            vectors: float32 [n, features].
            classes: int64 [n]; each must have photos in two folds or more.
            folds: int64 [n], from 0 to 4.
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
        weights = np.empty((_FOLDS, features, number), np.float32)
        bias = np.empty((_FOLDS, number), np.float32)
        for fold in range(_FOLDS):
            count = sum(counts) - counts[fold]
            centres = (sum(sums) - sums[fold]) / np.maximum(count, 1)[:, None]
            within = sum(squares) - squares[fold] - (centres * count[:, None]).T @ centres
            within /= max(float(count.sum()), 1)
            even = max(float(np.trace(within)) / features, 1e-6)
            within *= 1 - _SHRINKAGE
            within[np.diag_indices(features)] += _SHRINKAGE * even
            weights[fold] = np.linalg.solve(within, centres.T)
            bias[fold] = -0.5 * np.einsum("cf,fc->c", centres, weights[fold])
        judges = cls(mean, deviation, weights, bias)
        temperature = _temperature(judges._logits(vectors, folds), classes)
        return cls(mean, deviation, weights / temperature, bias / temperature)

    def say(self, vectors: np.ndarray, folds: np.ndarray) -> np.ndarray:
        """Probabilities, float32 [n, classes], by those who have not seen the photos."""
        scaled = np.exp(self._logits(vectors, folds))
        probabilities: np.ndarray = scaled / scaled.sum(1, keepdims=True)
        return probabilities

    def _logits(self, vectors: np.ndarray, folds: np.ndarray) -> np.ndarray:
        """Less the highest of each photo."""
        logits = np.empty((len(vectors), self.bias.shape[1]), np.float32)
        for fold in range(_FOLDS):
            part = (vectors[folds == fold] - self.mean) / self.deviation
            logits[folds == fold] = part @ self.weights[fold] + self.bias[fold]
        logits -= logits.max(1, keepdims=True)
        return logits


@dataclass(frozen=True)
class ConfidentJoint:
    """What the judges say of all photos, as far as it matters.

    A class is confidently said where its probability reaches what photos with that label get on
    average. The counts of (label, class confidently said) are scaled to the photos of each label;
    those off the diagonal estimate how many labels are wrong.

    Attributes:
        thresholds: from which probability on a class is confidently said, float64 [classes].
        joint: photos by label (rows) and by the class that is confidently said of them.
        counts: photos by label, int64 [classes].
        better: int32 [n], the best class but for the photo's own.
        probability: float32 [n], of that class.
        margin: float32 [n], by how much it is better than the own one.
    """

    thresholds: np.ndarray
    joint: np.ndarray
    counts: np.ndarray
    better: np.ndarray
    probability: np.ndarray
    margin: np.ndarray

    @classmethod
    def none(cls, probabilities: np.ndarray, classes: np.ndarray, n: int) -> "ConfidentJoint":
        """Of `n` photos none yet; the thresholds are those of some, with their classes."""
        number = probabilities.shape[1]
        own = probabilities[np.arange(len(classes)), classes]
        average = np.bincount(classes, own, number) / np.maximum(np.bincount(classes), 1)
        better, probability = np.zeros(n, np.int32), np.zeros(n, np.float32)
        joint, counts = np.zeros((number, number)), np.zeros(number, np.int64)
        margin = np.full(n, -1, np.float32)
        return cls(np.maximum(average, 1e-6), joint, counts, better, probability, margin)

    def add(self, photos: np.ndarray, probabilities: np.ndarray, classes: np.ndarray) -> None:
        """Take in what is said of the photos at some positions, in these classes."""
        each = np.arange(len(classes))
        confident = np.where(probabilities >= self.thresholds, probabilities, -1)
        said, sure = confident.argmax(1), confident.max(1) > 0
        np.add.at(self.joint, (classes[sure], said[sure]), 1)
        self.counts[:] += np.bincount(classes, minlength=len(self.counts))
        own = probabilities[each, classes]
        probabilities[each, classes] = -1
        self.better[photos] = best = probabilities.argmax(1)
        self.probability[photos] = probabilities[each, best]
        self.margin[photos] = self.probability[photos] - own

    def suspects(self) -> list[int]:
        """Positions of the photos whose label is probably wrong, the surest first."""
        right = np.maximum(self.joint.diagonal(), 1)
        off = self.joint.sum(1) - self.joint.diagonal()
        wrong = round(float((self.counts * off / (right + off)).sum()))
        order = np.argsort(-self.margin, kind="stable")[:wrong]
        return [int(i) for i in order if self.margin[i] > 0]


def _temperature(logits: np.ndarray, classes: np.ndarray) -> float:
    """That of the lowest cross-entropy."""
    own = logits[np.arange(len(classes)), classes]

    def cross_entropy(temperature: float) -> float:
        normaliser = np.log(np.exp(logits / temperature).sum(1))
        return float((normaliser - own / temperature).mean())

    return float(min(_TEMPERATURES, key=cross_entropy))
