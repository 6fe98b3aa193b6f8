"""The gate: whether a model may replace the current one."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.bottlenecks.reader import BottleneckSource
from pipeline.bottlenecks.recipe import Recipe
from pipeline.errors import UserError
from pipeline.evaluation import comparison
from pipeline.evaluation.comparison import Comparison
from pipeline.evaluation.statistics import sign_test_p_value
from pipeline.files.places import Place
from pipeline.head import softmax_head

SIGNIFICANCE = 0.05  # probability of rejecting a model that is equally good


@dataclass(frozen=True)
class Gate:
    """The requirements for a model.

    Attributes:
        least_accuracy: minimum top-1 accuracy on the test photos, from 0 to 1.
        tolerance: how far its accuracy may be below the current model's, from 0 to 1.
    """

    least_accuracy: float
    tolerance: float

    def __post_init__(self) -> None:
        for option, share in (
            ("assert_accuracy_at_least", self.least_accuracy),
            ("tolerance", self.tolerance),
        ):
            if not 0 <= share <= 1:  # NaN is not, either; it would accept everything
                raise UserError(
                    f"{option} is out of range; assert_accuracy_at_least must be from 0 to 1, "
                    "tolerance from 0 to 100 points"
                )


@dataclass(frozen=True)
class Verdict:
    """The decision of the gate.

    Attributes:
        reasons: why the model is rejected; empty if it may be promoted.
        comparison: comparison with the current model on all test photos; None without one.
    """

    reasons: tuple[str, ...]
    comparison: Comparison | None


def evaluate(
    model: Path,
    current: Path | None,
    test: BottleneckSource,
    image_dir: Place,
    recipe: Recipe,
    gate: Gate,
) -> Verdict:
    """Decide whether a model may replace the current one.

    Both models are compared on the same photos, of the classes that both know, twice: with today's
    labels, and with the labels from the evaluation of the current model. The second comparison
    reveals wrong labels: a model that was trained on labels changed for the worse looks good on
    test photos with such labels, but not on the earlier photos and labels.

    Args:
        model: folder of the model.
        current: folder of the current model; None if there is none.
        test: today's test split, with vectors of `recipe`.
        image_dir: folder that the photos' paths are relative to.
        recipe: recipe of the vectors.
        gate: the requirements.
    """
    reasons = list(_check_accuracy(model, gate))
    if current is None:
        return Verdict(tuple(reasons), None)
    old, new = softmax_head.read(current).labels, softmax_head.read(model).labels
    lost = sorted(set(old) - set(new))
    if lost:
        reasons.append(f"classes of the current model are missing: {', '.join(lost[:5])}")
    scores = [comparison.score(m, test, image_dir, recipe) for m in (current, model)]
    common = [s[s["label"].isin(set(old) & set(new))] for s in scores if s is not None]
    if len(common) < 2 or common[0].empty:
        reasons.append("the current model cannot be evaluated on today's test photos")
        return Verdict(tuple(reasons), None)
    before, after = common
    measured = comparison.compare(before, after)
    reasons += _check_regression(measured, gate.tolerance, "with today's labels")
    earlier_labels = _labels(current)
    before, after = _relabel(before, earlier_labels), _relabel(after, earlier_labels)
    if len(before):
        with_earlier = comparison.compare(before, after)
        reasons += _check_regression(with_earlier, gate.tolerance, "with the earlier labels")
    return Verdict(tuple(reasons), measured)


def _check_accuracy(model: Path, gate: Gate) -> Iterator[str]:
    """Yield reasons for rejecting a model that do not depend on another one."""
    evaluation = json.loads((model / "evaluation.json").read_text(encoding="utf-8"))
    if not evaluation["count"]:
        yield "there are no test photos; add photos or raise testing_percentage"
    elif evaluation["top1"] < gate.least_accuracy:
        yield (
            f"accuracy {evaluation['top1']:.1%} is below assert_accuracy_at_least, "
            f"{gate.least_accuracy:.1%}"
        )


def _check_regression(measured: Comparison, tolerance: float, basis: str) -> Iterator[str]:
    """Reject a model that is significantly worse, by more than the tolerance.

    If both models are equally good, regressions and fixes are equally likely: a one-sided exact
    sign test.
    """
    p_value = sign_test_p_value(measured.broken, measured.fixed)
    fall = (measured.broken - measured.fixed) / measured.count
    if fall > tolerance and p_value < SIGNIFICANCE:
        yield (
            f"worse than the current model {basis} (fixes: {measured.fixed}, regressions: "
            f"{measured.broken}, {measured.count} test photos)"
        )


def _labels(model: Path) -> dict[str, str]:
    """Return the labels of a model's own test photos, by digest."""
    measured = pd.read_parquet(model / "predictions.parquet", columns=["digest", "label"])
    return dict(zip(measured["digest"], measured["label"], strict=True))


def _relabel(predictions: pd.DataFrame, labels: dict[str, str]) -> pd.DataFrame:
    """Return the predictions for photos in `labels`, compared with these labels."""
    rows = predictions[predictions["digest"].isin(labels)]
    truth = [labels[digest] for digest in rows["digest"]]
    correct = [best[0] == label for best, label in zip(rows["labels"], truth, strict=True)]
    return rows.assign(label=truth, correct=np.array(correct, bool))
