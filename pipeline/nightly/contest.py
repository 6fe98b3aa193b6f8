"""The contest: whether a model is worse than the current one on photos that are new to both.

Both are compared twice: with today's labels, and with the labels that the photos had when the
current model was made. The second comparison reveals wrong labels: a model that was trained on
labels changed for the worse looks good on test photos with such labels, but not with the earlier
ones.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.bottlenecks.reader import BottleneckSource
from pipeline.bottlenecks.recipe import Recipe
from pipeline.evaluation import comparison, model_photos
from pipeline.evaluation.comparison import Comparison
from pipeline.evaluation.model_photos import ModelPhotos
from pipeline.evaluation.statistics import fisher_p_value, sign_test_p_value
from pipeline.files.places import Place

SIGNIFICANCE = 0.05  # probability of rejecting a model that is equally good
LEAST = 5  # photos of each model's own; with fewer, hardly any difference would be significant
TODAY, EARLIER = "with today's labels", "with the earlier labels"


@dataclass(frozen=True)
class Contestant:
    """A model: its folder, its classes, and the photos that it was made of."""

    folder: Path
    labels: tuple[str, ...]
    photos: ModelPhotos


@dataclass(frozen=True)
class Outcome:
    """The result of a contest.

    Attributes:
        reasons: why the new model is rejected; empty if it is not worse.
        notes: the figures, unless a reason contains them.
        comparison: comparison on the same photos with today's labels, if there are enough.
    """

    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    comparison: Comparison | None


def hold(
    current: Contestant,
    new: Contestant,
    names: Mapping[str, str],
    test: BottleneckSource,
    image_dir: Place,
    recipe: Recipe,
    tolerance: float,
) -> Outcome:
    """Compare two models on test photos of the classes that both know.

    If too many of today's test photos were used to train one of the models, for example because all
    files were renamed, each model is measured on its own test photos instead.

    Args:
        current, new: the models.
        names: present names of the current model's classes that were renamed or merged.
        test: today's test split, with vectors of `recipe`.
        image_dir: folder that the photos' paths are relative to.
        recipe: recipe of the vectors.
        tolerance: how far the new model's accuracy may be below the current one's, from 0 to 1.
    """
    common = {names.get(label, label) for label in current.labels} & {*new.labels}
    earlier = {d: names.get(label, label) for d, label in current.photos.labels.items()}
    after = _grade(model_photos.read_predictions(new.folder), common)
    before = comparison.score(current.folder, test, image_dir, recipe)
    if before is None:
        why = "the current model's module does not exist any more"
    else:
        before = _grade(before, common, names)
        photos = (current.photos, new.photos)
        measured = comparison.compare(before, after, photos)
        if measured.sufficient:
            relabelled = (
                _grade(before, common, names, earlier),
                _grade(after, common, {}, earlier),
            )
            with_earlier = comparison.compare(*relabelled, photos)
            return _judge_pairs(measured, with_earlier, bool(names), tolerance)
        total = measured.count + measured.excluded
        why = f"one of the models was trained on {measured.excluded:,} of today's {total:,}"
    own_before = _grade(model_photos.read_predictions(current.folder), common, names, earlier)
    own_before = own_before[current.photos.unseen(own_before["digest"])]
    own_after = after[new.photos.unseen(after["digest"])]
    relabelled_after = _grade(own_after, common, {}, earlier)
    return _judge_shares(own_before, own_after, relabelled_after, why, tolerance)


def _grade(
    predictions: pd.DataFrame,
    common: Collection[str],
    names: Mapping[str, str] | None = None,
    truth: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Return the predictions for photos of common classes, graded again.

    Args:
        predictions: path, digest, label, and the best labels of each photo.
        common: the classes.
        names: present names of predicted labels.
        truth: labels by digest that replace those of the photos; others are left out.
    """
    names, rows = names or {}, predictions
    if truth is not None:
        rows = rows[rows["digest"].isin(truth)]
        rows = rows.assign(label=[truth[digest] for digest in rows["digest"]])
    rows = rows[rows["label"].isin(common)]
    best = [names.get(labels[0], labels[0]) for labels in rows["labels"]]
    correct = [answer == label for answer, label in zip(best, rows["label"], strict=True)]
    return rows.assign(correct=np.array(correct, bool))


def _judge_pairs(
    measured: Comparison, with_earlier: Comparison, is_renamed: bool, tolerance: float
) -> Outcome:
    """Reject a model with significantly more regressions than fixes, beyond the tolerance."""
    worse = tuple(_check_regression(measured, tolerance, TODAY))
    worse_earlier = tuple(_check_regression(with_earlier, tolerance, EARLIER))
    basis = "with the new names of the classes, " if is_renamed else ""
    if worse_earlier:
        basis = f"{TODAY}, "
    notes = () if worse else (f"{basis}{_figures(measured)}",)
    return Outcome(worse + worse_earlier, notes, measured)


def _check_regression(measured: Comparison, tolerance: float, basis: str) -> Iterator[str]:
    """Yield the reason for rejecting a model that is significantly worse on the same photos.

    If both models are equally good, regressions and fixes are equally likely: a one-sided exact
    sign test.
    """
    if not measured.count:
        return
    p_value = sign_test_p_value(measured.broken, measured.fixed)
    fall = (measured.broken - measured.fixed) / measured.count
    if fall > tolerance and p_value < SIGNIFICANCE:
        yield f"worse than the current model {basis}: {_figures(measured)}"


def _judge_shares(
    before: pd.DataFrame, after: pd.DataFrame, relabelled: pd.DataFrame, why: str, tolerance: float
) -> Outcome:
    """Reject a model whose share of correct photos is significantly lower, beyond the tolerance."""
    if min(len(before), len(after)) < LEAST:
        reason = (
            f"too few test photos for a comparison with the current model: {why}, and of the test "
            f"photos of their own, this model has {len(after)} and the current one {len(before)} "
            f"that it was not trained on ({LEAST} are needed)"
        )
        return Outcome((reason,), (), None)
    worse = list(_check_fall(before, after, tolerance, TODAY))
    if len(relabelled):
        worse += _check_fall(before, relabelled, tolerance, EARLIER)
    notes = () if worse else (_shares(before, after),)
    why = f"each model was measured on its own test photos, as {why}"
    return Outcome(tuple(worse), (*notes, why), None)


def _check_fall(
    before: pd.DataFrame, after: pd.DataFrame, tolerance: float, basis: str
) -> Iterator[str]:
    """Yield the reason for rejecting a model that is significantly worse on its own photos."""
    right, earlier_right = int(after["correct"].sum()), int(before["correct"].sum())
    fall = earlier_right / len(before) - right / len(after)
    p_value = fisher_p_value(right, len(after), earlier_right, len(before))
    if fall > tolerance and p_value < SIGNIFICANCE:
        yield f"worse than the current model {basis}: {_shares(before, after)}"


def _figures(measured: Comparison) -> str:
    fixes = f"{measured.fixed:,} fix{'' if measured.fixed == 1 else 'es'}"
    regressions = f"{measured.broken:,} regression{'' if measured.broken == 1 else 's'}"
    figures = f"{fixes}, {regressions} on {measured.count:,} test photos"
    if measured.excluded:
        them = "it" if measured.excluded == 1 else "them"
        figures += f" ({measured.excluded:,} more left out, as a model was trained on {them})"
    return figures


def _shares(before: pd.DataFrame, after: pd.DataFrame) -> str:
    share, earlier = after["correct"].mean(), before["correct"].mean()
    return (
        f"{share:.1%} of {len(after):,} test photos correct, "
        f"the current model {earlier:.1%} of its {len(before):,}"
    )
