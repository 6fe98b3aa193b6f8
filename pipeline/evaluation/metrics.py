"""How good a head is on photos that it has never seen."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

import numpy as np
import pandas as pd

from pipeline.bottlenecks.reader import BottleneckSource
from pipeline.head.softmax_head import Head

FORMAT_VERSION = 3  # raise it when a figure changes its meaning, or the page shows something else
TOP = 5
_BINS = 10  # of the calibration, equally wide
_MOST_PAIRS = 20  # of classes, named as the most confused
_Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class ClassMetrics:
    """One class: None stands where there is nothing to divide by.

    Attributes:
        label: of the class.
        count: test photos of the class.
        precision: share of the photos said to be of this class that are.
        recall: share of the photos of this class that are said to be.
        recall_interval: 95 % interval of the recall.
        f1: harmonic mean of the two.
    """

    label: str
    count: int
    precision: float | None
    recall: float | None
    recall_interval: tuple[float, float] | None
    f1: float | None


@dataclass(frozen=True)
class Pair:
    """Test photos of one class that were taken for another."""

    label: str
    predicted: str
    count: int


@dataclass(frozen=True)
class Bin:
    """Answers of about the same probability.

    Attributes:
        low, high: that the probability lies between.
        count: test photos.
        confidence: their mean probability; None where there are none.
        accuracy: share of them that is right; None where there are none.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Evaluation:
    """Figures over the test split; shares are from 0 to 1, and None without test photos.

    Attributes:
        count: test photos.
        top1, top5: share of the photos whose class is the best answer, or among the five best.
        top1_interval, top5_interval: their 95 % intervals.
        macro_precision, macro_recall, macro_f1: means over the classes that have test photos.
        classes: figures by class, in the order of the head's outputs.
        confusion: photos by true class (rows) and best answer (columns).
        pairs: the most confused classes.
        misclassified: path, true class, best answer and its probability, the surest first.
        bins: how probable the best answers were, and how often they were right.
        calibration_error: mean distance between the two, weighted by photos (the expected
            calibration error).
    """

    count: int
    top1: float | None
    top5: float | None
    top1_interval: tuple[float, float] | None
    top5_interval: tuple[float, float] | None
    macro_precision: float | None
    macro_recall: float | None
    macro_f1: float | None
    classes: list[ClassMetrics]
    confusion: list[list[int]]
    pairs: list[Pair]
    misclassified: list[dict[str, object]]
    bins: list[Bin]
    calibration_error: float | None


def evaluate(head: Head, test: BottleneckSource) -> tuple[Evaluation, pd.DataFrame]:
    """Compare a head's answers with the truth.

    Args:
        head: to evaluate.
        test: its photos; those of labels that the head does not know are left out.

    Returns:
        The figures, and what `predict` says of each photo.
    """
    predictions = predict(head, test)
    predictions = predictions[predictions["label"].isin(head.labels)].reset_index(drop=True)
    classes = np.searchsorted(head.labels, predictions["label"].to_list())
    answers = [labels[0] for labels in predictions["labels"]]
    confusion = np.zeros((len(head.labels), len(head.labels)), np.int64)
    np.add.at(confusion, (classes, np.searchsorted(head.labels, answers)), 1)
    figures = [_class_figures(label, i, confusion) for i, label in enumerate(head.labels)]
    tested = [figure for figure in figures if figure.count]
    n, right = len(predictions), int(predictions["correct"].sum())
    among = sum(
        label in labels
        for label, labels in zip(predictions["label"], predictions["labels"], strict=True)
    )
    bins = _bins(predictions)
    evaluation = Evaluation(
        count=n,
        top1=_share(right, n),
        top5=_share(among, n),
        top1_interval=interval(right, n),
        top5_interval=interval(among, n),
        macro_precision=_mean([figure.precision or 0.0 for figure in tested]),
        macro_recall=_mean([figure.recall or 0.0 for figure in tested]),
        macro_f1=_mean([figure.f1 or 0.0 for figure in tested]),
        classes=figures,
        confusion=confusion.tolist(),
        pairs=_pairs(head.labels, confusion),
        misclassified=_misclassified(predictions),
        bins=bins,
        calibration_error=_share(
            sum(b.count * abs((b.confidence or 0) - (b.accuracy or 0)) for b in bins), n
        ),
    )
    return evaluation, predictions


def predict(head: Head, photos: BottleneckSource) -> pd.DataFrame:
    """What a head says of photos, also of labels that it does not know.

    Returns:
        One row a photo: path, digest, label, the five best labels and their probabilities, best
        first, and whether the first one is right.
    """
    known = np.array(head.labels, dtype=object)
    paths: list[str] = []
    digests: list[str] = []
    labels: list[str] = []
    answers: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    for batch in photos.batches():
        probabilities = head.probabilities(batch.vectors)
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
        paths += batch.paths
        digests += batch.digests
        labels += list(batch.labels)
        answers += list(known[best])
        scores += list(np.take_along_axis(probabilities, best, axis=1))
    return pd.DataFrame(
        {
            "path": pd.Series(paths, dtype=str),
            "digest": pd.Series(digests, dtype=str),
            "label": pd.Series(labels, dtype=object),
            "labels": pd.Series(answers, dtype=object),
            "probabilities": pd.Series(scores, dtype=object),
            "correct": np.array(
                [best[0] == label for best, label in zip(answers, labels, strict=True)], bool
            ),
        }
    )


def interval(part: int, whole: int) -> tuple[float, float] | None:
    """95 % interval of a share: Wilson, "Probable inference", JASA 22, 1927.

    Unlike the usual p +- 1.96 s it stays within 0 and 1, and holds for few photos and shares near
    the ends.
    """
    if not whole:
        return None
    share, square = part / whole, _Z * _Z
    middle = (share + square / (2 * whole)) / (1 + square / whole)
    spread = share * (1 - share) / whole + square / (4 * whole * whole)
    half = _Z * sqrt(spread) / (1 + square / whole)
    return max(0.0, middle - half), min(1.0, middle + half)


def summary_lines(evaluation: Evaluation, most: int | None = TOP) -> Iterator[str]:
    """What a user should know of the result: one line each.

    Args:
        evaluation: the result.
        most: misclassified photos that are named; None names all.
    """
    if not evaluation.count:
        yield (
            "There is no test photo, so nothing is known of the accuracy; add photos or raise "
            "testing_percentage"
        )
        return
    yield (
        f"Test accuracy: top-1 {evaluation.top1:.1%}, top-5 {evaluation.top5:.1%} "
        f"of {evaluation.count} photos"
    )
    wrong = evaluation.misclassified
    named = wrong[:most]
    for row in named:
        yield f"Misclassified: {row['path']} as {row['predicted']} ({row['probability']:.0%})"
    if len(wrong) > len(named):
        yield f"Misclassified: {len(wrong) - len(named)} more, in evaluation.json"


def _class_figures(label: str, i: int, confusion: np.ndarray) -> ClassMetrics:
    right, count, said = int(confusion[i, i]), int(confusion[i].sum()), int(confusion[:, i].sum())
    f1 = _share(2 * right, count + said)
    within = interval(right, count)
    return ClassMetrics(label, count, _share(right, said), _share(right, count), within, f1)


def _pairs(labels: tuple[str, ...], confusion: np.ndarray) -> list[Pair]:
    wrong = confusion - np.diag(confusion.diagonal())
    found = [Pair(labels[i], labels[j], int(wrong[i, j])) for i, j in np.argwhere(wrong)]
    return sorted(found, key=lambda pair: -pair.count)[:_MOST_PAIRS]


def _misclassified(predictions: pd.DataFrame) -> list[dict[str, object]]:
    wrong = predictions[~predictions["correct"]]
    found = [
        (path, label, answers[0], float(scores[0]))
        for path, _, label, answers, scores, _ in wrong.itertuples(index=False)
    ]
    found.sort(key=lambda row: -row[3])
    names = ("path", "label", "predicted", "probability")
    return [dict(zip(names, row, strict=True)) for row in found]


def _bins(predictions: pd.DataFrame) -> list[Bin]:
    scores = np.array([scores[0] for scores in predictions["probabilities"]], float)
    right = predictions["correct"].to_numpy(bool)
    place = np.minimum((scores * _BINS).astype(int), _BINS - 1)
    found = []
    for number in range(_BINS):
        inside = place == number
        confidence = _mean(scores[inside].tolist())
        accuracy = _mean(right[inside].tolist())
        low, high = number / _BINS, (number + 1) / _BINS
        found.append(Bin(low, high, int(inside.sum()), confidence, accuracy))
    return found


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
