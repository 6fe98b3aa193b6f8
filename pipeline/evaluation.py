"""How good a head is on photos that it has never seen."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.head import Head
from pipeline.rows import Rows

FORMAT_VERSION = 2  # raise it when a figure changes its meaning
TOP = 5


@dataclass(frozen=True)
class ClassFigures:
    """One class: None stands where there is nothing to divide by.

    Attributes:
        label: of the class.
        count: test photos of the class.
        precision: share of the photos said to be of this class that are.
        recall: share of the photos of this class that are said to be.
    """

    label: str
    count: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class Evaluation:
    """Figures over the test split; shares are from 0 to 1, and None without test photos.

    Attributes:
        count: test photos.
        top1, top5: share of the photos whose class is the best answer, or among the five best.
        classes: figures by class, in the order of the head's outputs.
        confusion: photos by true class (rows) and best answer (columns).
        misclassified: path, true class, best answer and its probability, the surest first.
    """

    count: int
    top1: float | None
    top5: float | None
    classes: list[ClassFigures]
    confusion: list[list[int]]
    misclassified: list[dict[str, object]]


def evaluate(head: Head, test: Rows) -> tuple[Evaluation, pd.DataFrame]:
    """Compare a head's answers with the truth.

    Args:
        head: to evaluate.
        test: its photos; those of labels that the head does not know are left out.

    Returns:
        The figures, and one row a photo: path, digest, label, the five best labels and their
        probabilities, best first, and whether the first one is right.
    """
    test = test.of(head.labels)
    labels = np.array(head.labels, dtype=object)
    classes = np.searchsorted(head.labels, test.labels)
    probabilities = head.probabilities(test.vectors)
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
    predictions = pd.DataFrame(
        {
            "path": test.paths,
            "digest": test.digests,
            "label": test.labels,
            "labels": pd.Series(list(labels[best]), dtype=object),
            "probabilities": pd.Series(
                list(np.take_along_axis(probabilities, best, axis=1)), dtype=object
            ),
            "correct": best[:, 0] == classes,
        }
    )
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (classes, best[:, 0]), 1)
    wrong = predictions[~predictions["correct"]]
    misclassified: list[dict[str, object]] = [
        {"path": path, "label": label, "predicted": answers[0], "probability": float(scores[0])}
        for path, _, label, answers, scores, _ in wrong.itertuples(index=False)
    ]
    misclassified.sort(key=lambda row: -float(str(row["probability"])))
    among = (best == classes[:, None]).any(1)
    evaluation = Evaluation(
        count=len(test.paths),
        top1=_share(int(predictions["correct"].sum()), len(test.paths)),
        top5=_share(int(among.sum()), len(test.paths)),
        classes=[
            ClassFigures(
                label,
                int(confusion[i].sum()),
                _share(int(confusion[i, i]), int(confusion[:, i].sum())),
                _share(int(confusion[i, i]), int(confusion[i].sum())),
            )
            for i, label in enumerate(head.labels)
        ],
        confusion=confusion.tolist(),
        misclassified=misclassified,
    )
    return evaluation, predictions


def remarks(evaluation: Evaluation) -> list[str]:
    """What a user should know of the result: one line each."""
    if not evaluation.count:
        return [
            "There is no test photo, so nothing is known of the accuracy; add photos or raise "
            "testing_percentage"
        ]
    lines = [
        f"Test accuracy: top-1 {evaluation.top1:.1%}, top-5 {evaluation.top5:.1%} "
        f"of {evaluation.count} photos"
    ]
    lines += [
        f"Misclassified: {row['path']} as {row['predicted']} ({row['probability']:.0%})"
        for row in evaluation.misclassified[:TOP]
    ]
    more = len(evaluation.misclassified) - TOP
    if more > 0:
        lines.append(f"Misclassified: {more} more, in evaluation.json")
    return lines


def write(evaluation: Evaluation, predictions: pd.DataFrame, directory: Path) -> None:
    """Write the figures as `evaluation.json` and the photos as `predictions.parquet`."""
    with storage.publish(directory) as temporary:
        temporary.mkdir()
        text = json.dumps(asdict(evaluation), indent=2, ensure_ascii=False)
        (temporary / "evaluation.json").write_text(text + "\n", encoding="utf-8")
        table = pa.Table.from_pandas(predictions, _PREDICTIONS, preserve_index=False)
        pq.write_table(table, temporary / "predictions.parquet")


_PREDICTIONS = pa.schema(
    [
        ("path", pa.string()),
        ("digest", pa.string()),
        ("label", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("probabilities", pa.list_(pa.float32())),
        ("correct", pa.bool_()),
    ]
)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
