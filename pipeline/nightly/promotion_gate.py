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

CHANCE = 0.05  # how often a model that is as good may be refused


@dataclass(frozen=True)
class Gate:
    """What a model must reach.

    Attributes:
        least_accuracy: top-1 on the test photos, from 0 to 1.
        tolerance: how far its top-1 may lie below the current model's, from 0 to 1.
    """

    least_accuracy: float
    tolerance: float

    def __post_init__(self) -> None:
        for option, share in (
            ("assert_accuracy_at_least", self.least_accuracy),
            ("tolerance", self.tolerance),
        ):
            if not 0 <= share <= 1:  # not a number is neither, and would let everything through
                raise UserError(
                    f"{option} is out of its range; assert_accuracy_at_least goes from 0 to 1, "
                    "tolerance from 0 to 100 points"
                )


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a model: why it is refused, or nothing; and the comparison behind it.

    Attributes:
        objections: a sentence each; none means that the model may be promoted.
        comparison: with the current model on all test photos; None without a current model.
    """

    objections: tuple[str, ...]
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

    Both are asked about the same photos, of the classes that both know, twice: with the labels of
    today, and with those that the photos had when the current model was measured. The second
    keeps wrong labels from hiding in the test split: labels that were changed or added for the
    worse make a model that was trained on them look good on their likes, but not on the photos
    and labels of before.

    Args:
        model: its folder.
        current: folder of the model to compare with; None for the first.
        test: today's test split, with vectors of `recipe`.
        image_dir: that the paths of the photos are relative to.
        recipe: that made the vectors.
        gate: what is asked.
    """
    objections = list(_absolute(model, gate))
    if current is None:
        return Verdict(tuple(objections), None)
    old, new = softmax_head.read(current).labels, softmax_head.read(model).labels
    lost = sorted(set(old) - set(new))
    if lost:
        objections.append(f"classes of the current model are missing: {', '.join(lost[:5])}")
    said = [comparison.score(each, test, image_dir, recipe) for each in (current, model)]
    common = [each[each["label"].isin(set(old) & set(new))] for each in said if each is not None]
    if len(common) < 2 or common[0].empty:
        objections.append("the current model cannot be measured on today's test photos")
        return Verdict(tuple(objections), None)
    before, after = common
    measured = comparison.compare(before, after)
    objections += _worse(measured, gate.tolerance, "with today's labels")
    then = _labels(current)
    before, after = _as_labelled(before, then), _as_labelled(after, then)
    if len(before):
        again = comparison.compare(before, after)
        objections += _worse(again, gate.tolerance, "with the labels that it was measured with")
    return Verdict(tuple(objections), measured)


def _absolute(model: Path, gate: Gate) -> Iterator[str]:
    """Objections to a model by itself."""
    figures = json.loads((model / "evaluation.json").read_text(encoding="utf-8"))
    if not figures["count"]:
        yield "there is no test photo to measure it on; add photos or raise testing_percentage"
    elif figures["top1"] < gate.least_accuracy:
        yield (
            f"accuracy {figures['top1']:.1%} is below assert_accuracy_at_least, "
            f"{gate.least_accuracy:.1%}"
        )


def _worse(measured: Comparison, tolerance: float, how: str) -> Iterator[str]:
    """The rule: worse by more than the tolerance, and by more than chance explains.

    If both models were equally good, each photo that only one of them names rightly would be on
    either side with the same probability: the one-sided exact test of signs.
    """
    chance = sign_test_p_value(measured.broken, measured.fixed)
    fall = (measured.broken - measured.fixed) / measured.count
    if fall > tolerance and chance < CHANCE:
        yield (
            f"worse than the current model {how}: of {measured.count} test photos, "
            f"{measured.broken} are wrong that were right, {measured.fixed} the other way round"
        )


def _labels(model: Path) -> dict[str, str]:
    """The labels of the photos that a model was measured on, by digest."""
    measured = pd.read_parquet(model / "predictions.parquet", columns=["digest", "label"])
    return dict(zip(measured["digest"], measured["label"], strict=True))


def _as_labelled(said: pd.DataFrame, labels: dict[str, str]) -> pd.DataFrame:
    """What a model said of the photos whose digest has a label, held against this label."""
    kept = said[said["digest"].isin(labels)]
    then = [labels[digest] for digest in kept["digest"]]
    right = [best[0] == label for best, label in zip(kept["labels"], then, strict=True)]
    return kept.assign(label=then, correct=np.array(right, bool))
