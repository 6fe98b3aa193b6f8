"""Which model is `current`: the gate that a night's model has to pass, promotion and rollback.

    python -m pipeline.promotion --output-dir data/output

goes back to the model that was promoted before.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import comb
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import comparison, export, head, history, lock, mirror, sharing
from pipeline.comparison import Comparison
from pipeline.errors import UserError
from pipeline.history import Promotion
from pipeline.recipe import Recipe
from pipeline.rows import Photos
from pipeline.source import Place

CHANCE = 0.05  # how often a model that is as good may be refused
NIGHTLY, BY_HAND, ROLLBACK = "nightly", "by hand", "rollback"


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


def judge(
    model: Path, current: Path | None, test: Photos, image_dir: Place, recipe: Recipe, gate: Gate
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
    old, new = head.read(current).labels, head.read(model).labels
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


def promote(output_dir: Path, model: Path, how: str) -> Promotion | None:
    """Let `current` lead to a model, in one step, and say what is to be written down of it.

    To be called, until that is done, by whoever holds `lock.PROMOTION`.

    Returns:
        For `history.add`; None where `current` leads there already, and the history says so.
    """
    before = current(output_dir)
    if before != model.resolve():
        export.release(model, output_dir)
    stack = _stack(history.promotions(output_dir))
    if stack and stack[-1] == model.name and before == model.resolve():
        return None
    return Promotion(history.now(), model.name, how, before.name if before else "")


def current(output_dir: Path) -> Path | None:
    """The folder of the current model, if there is one."""
    link = output_dir / "current"
    return link.resolve() if link.is_dir() else None


def recorded(output_dir: Path) -> Path | None:
    """The model that the history names as current: another one than `current` leads to where a
    run was killed between moving it and writing that down.
    """
    names = _stack(history.promotions(output_dir))
    sharing.fetch_models(output_dir, names[-1:])
    there = [output_dir / "models" / name for name in names]
    return next((model.resolve() for model in reversed(there) if model.is_dir()), None)


def withdrawn(output_dir: Path, model: Path) -> bool:
    """Whether a person went back from a model, and nobody promoted it by hand since."""
    back = False
    for move in history.promotions(output_dir):
        back |= move.how == ROLLBACK and move.instead_of == model.name
        back &= not (move.how == BY_HAND and move.model == model.name)
    return back


def rollback(output_dir: Path) -> tuple[str, str]:
    """Let `current` lead to the model that was promoted before it.

    The nightly run does not promote the one that was left again, but other ones. Called again, it
    goes back further.

    Returns:
        Names of the model that was left, and of the one that is current now.

    Raises:
        UserError: where there is no earlier model.
    """
    with lock.turn(output_dir / lock.PROMOTION):
        sharing.follow(output_dir)
        now = current(output_dir)
        stack = _stack(history.promotions(output_dir))
        names = [name for name in stack if now and name != now.name]
        sharing.fetch_models(output_dir, names[-1:])
        there = [name for name in names if (output_dir / "models" / name).is_dir()]
        if now is None or not there:
            raise UserError(f"{output_dir} has no earlier model to go back to")
        # Written down first: killed in between, the same command ends what it began.
        history.add(output_dir, promotion=Promotion(history.now(), there[-1], ROLLBACK, now.name))
        sharing.share_history(output_dir)
        export.release(output_dir / "models" / there[-1], output_dir)
        sharing.share_model(output_dir)
    return now.name, there[-1]


def _stack(moves: list[Promotion]) -> list[str]:
    """The promoted models that a rollback can go through, the last one last."""
    stack: list[str] = []
    for move in moves:
        if move.how == ROLLBACK and move.model in stack:
            del stack[stack.index(move.model) + 1 :]
        else:
            stack = [name for name in stack if name != move.model] + [move.model]
    return stack


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
    differing = measured.broken + measured.fixed
    more = sum(comb(differing, k) for k in range(measured.broken, differing + 1))
    chance = more / 2**differing
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


def main() -> None:
    """Go back to the model before."""
    parser = argparse.ArgumentParser(description="Go back to the model that was promoted before.")
    parser.add_argument("--output-dir", default="data/output")
    try:
        left, now = rollback(mirror.folder(parser.parse_args().output_dir))
    except UserError as error:
        sys.exit(str(error))
    print(f"current leads to model {now} again; {left} will not be promoted by the nightly run")


if __name__ == "__main__":
    main()
