"""Metrics: how good a head is on the test photos."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.bottlenecks.reader import BottleneckSource
from pipeline.evaluation.statistics import wilson_interval
from pipeline.head.calibration import BINS, expected_error
from pipeline.head.softmax_head import Head
from pipeline.photos import split
from pipeline.photos.layout import Layout

FORMAT_VERSION = 7  # raise it when a metric changes its meaning, or the page its content
TOP = 5  # labels per photo
_MAX_PAIRS = 20  # confused pairs of classes that are listed


@dataclass(frozen=True)
class ClassMetrics:
    """The metrics of one class; None where the denominator is 0.

    Attributes:
        label: name of the class.
        count: number of test photos of the class.
        precision: share of the photos predicted as this class that belong to it.
        recall: share of the photos of this class that are predicted as such.
        recall_interval: 95% confidence interval of the recall.
        f1: harmonic mean of precision and recall.
    """

    label: str
    count: int
    precision: float | None
    recall: float | None
    recall_interval: tuple[float, float] | None
    f1: float | None


@dataclass(frozen=True)
class Pair:
    """The number of test photos of one class that are predicted as another."""

    label: str
    predicted: str
    count: int


@dataclass(frozen=True)
class Bin:
    """Answers of similar confidence.

    Attributes:
        low, high: bounds of the confidence.
        count: number of test photos.
        confidence: mean confidence; None without photos.
        accuracy: share of correct answers; None without photos.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Evaluation:
    """Metrics on the test split; shares are from 0 to 1, and None without test photos.

    Attributes:
        count: number of test photos.
        left_out: number of further test photos, on which the module was fine-tuned.
        top1, top5: share of the photos whose class is the best answer, or among the five best.
        top1_interval, top5_interval: their 95% confidence intervals.
        macro_precision, macro_recall, macro_f1: means over the classes with test photos.
        classes: metrics by class, in the order of the head's outputs.
        confusion: number of photos by true class (rows) and best answer (columns).
        pairs: the most confused pairs of classes.
        misclassified: path, true class, best answer and its probability, most confident first.
        bins: confidence and accuracy of the answers, binned by confidence.
        calibration_error: expected calibration error, as in `calibration.json`.
    """

    count: int
    left_out: int
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


def evaluate(
    head: Head, test: BottleneckSource, tuned: Collection[str] = ()
) -> tuple[Evaluation, pd.DataFrame]:
    """Evaluate a head on the test photos.

    Args:
        head: the head.
        test: the test photos; those with labels that the head does not know are ignored.
        tuned: digests of the photos that the module was fine-tuned on; they are left out.

    Returns:
        The metrics, and the result of `predict`.
    """
    predictions = predict(head, test)
    predictions = predictions[predictions["label"].isin(head.labels)]
    left_out = predictions["digest"].isin(tuned)
    predictions = predictions[~left_out].reset_index(drop=True)
    classes = np.searchsorted(head.labels, predictions["label"].to_list())
    answers = [labels[0] for labels in predictions["labels"]]
    confusion = np.zeros((len(head.labels), len(head.labels)), np.int64)
    np.add.at(confusion, (classes, np.searchsorted(head.labels, answers)), 1)
    by_class = [_class_metrics(label, i, confusion) for i, label in enumerate(head.labels)]
    tested = [c for c in by_class if c.count]
    n, correct = len(predictions), int(predictions["correct"].sum())
    in_top = sum(
        label in labels
        for label, labels in zip(predictions["label"], predictions["labels"], strict=True)
    )
    confidence = np.array([scores[0] for scores in predictions["probabilities"]], float)
    is_correct = predictions["correct"].to_numpy(bool)
    evaluation = Evaluation(
        count=n,
        left_out=int(left_out.sum()),
        top1=_share(correct, n),
        top5=_share(in_top, n),
        top1_interval=wilson_interval(correct, n),
        top5_interval=wilson_interval(in_top, n),
        macro_precision=_mean([c.precision or 0.0 for c in tested]),
        macro_recall=_mean([c.recall or 0.0 for c in tested]),
        macro_f1=_mean([c.f1 or 0.0 for c in tested]),
        classes=by_class,
        confusion=confusion.tolist(),
        pairs=_pairs(head.labels, confusion),
        misclassified=_misclassified(predictions),
        bins=_bins(confidence, is_correct),
        calibration_error=expected_error(confidence, is_correct) if n else None,
    )
    return evaluation, predictions


def predict(head: Head, photos: BottleneckSource) -> pd.DataFrame:
    """Predict the labels of photos, including photos with labels that the head does not know.

    Returns:
        One row per photo: path, digest, label, the five best labels and their probabilities, best
        first, whether the first one is correct, and the photo's `familiarity` (its score) and
        `known`, which are NaN for a head without familiarity.
    """
    names = np.array(head.labels, dtype=object)
    paths: list[str] = []
    digests: list[str] = []
    labels: list[str] = []
    answers: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    familiar = [np.empty(0, np.float32)]
    for batch in photos.batches():
        probabilities = head.probabilities(batch.vectors)
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
        paths += batch.paths
        digests += batch.digests
        labels += list(batch.labels)
        answers += list(names[best])
        scores += list(np.take_along_axis(probabilities, best, axis=1))
        familiar.append(_familiarity(head, batch.vectors))
    familiarity = np.concatenate(familiar)
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
            "familiarity": familiarity,
            "known": head.familiarity.known(familiarity) if head.familiarity else familiarity,
        }
    )


def _familiarity(head: Head, vectors: np.ndarray) -> np.ndarray:
    if head.familiarity is None:
        return np.full(len(vectors), np.nan, np.float32)
    return head.familiarity.score(vectors, head.logits(vectors))


def summary_lines(figures: Mapping[str, Any], max_named: int | None = TOP) -> Iterator[str]:
    """Yield what users should know about the result, one line each.

    Args:
        figures: an `Evaluation` as a dictionary, or the content of `evaluation.json`.
        max_named: number of misclassified photos to name; None names all.
    """
    if not figures["count"]:
        yield (
            "There are no test photos of the model's classes, so the accuracy is unknown; add "
            "photos or raise testing_percentage"
        )
        return
    yield (
        f"Test accuracy: top-1 {figures['top1']:.1%}, top-5 {figures['top5']:.1%} "
        f"of {figures['count']} photos"
    )
    wrong = figures["misclassified"]
    named = wrong[:max_named]
    for row in named:
        photo = _with_label(str(row["path"]), str(row["label"]))
        yield f"Misclassified: {photo} as {row['predicted']} ({row['probability']:.0%})"
    if len(wrong) > len(named):
        yield f"Misclassified: {len(wrong) - len(named)} more, in evaluation.json"


def _with_label(path: str, label: str) -> str:
    """Return a path, followed by the label unless that is its class folder."""
    first = path.partition("/")[0]
    layout = Layout(split_folders=split.part_of(first) is not None and first != label)
    return path if layout.label(path) == label else f"{path} ({label})"


def _class_metrics(label: str, i: int, confusion: np.ndarray) -> ClassMetrics:
    correct, count = int(confusion[i, i]), int(confusion[i].sum())
    predicted = int(confusion[:, i].sum())
    return ClassMetrics(
        label=label,
        count=count,
        precision=_share(correct, predicted),
        recall=_share(correct, count),
        recall_interval=wilson_interval(correct, count),
        f1=_share(2 * correct, count + predicted),
    )


def _pairs(labels: tuple[str, ...], confusion: np.ndarray) -> list[Pair]:
    wrong = confusion - np.diag(confusion.diagonal())
    pairs = [Pair(labels[i], labels[j], int(wrong[i, j])) for i, j in np.argwhere(wrong)]
    return sorted(pairs, key=lambda pair: -pair.count)[:_MAX_PAIRS]


def _misclassified(predictions: pd.DataFrame) -> list[dict[str, object]]:
    wrong = predictions[~predictions["correct"]]
    columns = (wrong[name] for name in ("path", "label", "labels", "probabilities"))
    rows = [
        (path, label, answers[0], float(scores[0]))
        for path, label, answers, scores in zip(*columns, strict=True)
    ]
    rows.sort(key=lambda row: -row[3])
    names = ("path", "label", "predicted", "probability")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _bins(confidence: np.ndarray, is_correct: np.ndarray) -> list[Bin]:
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        Bin(
            low=number / BINS,
            high=(number + 1) / BINS,
            count=int((bins == number).sum()),
            confidence=_mean(confidence[bins == number].tolist()),
            accuracy=_mean(is_correct[bins == number].tolist()),
        )
        for number in range(BINS)
    ]


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
