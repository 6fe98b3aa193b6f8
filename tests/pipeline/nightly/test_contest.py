"""The contest: two models on photos that neither was trained on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.bottlenecks import recipe
from pipeline.bottlenecks.reader import Bottlenecks, concat
from pipeline.evaluation import model_photos
from pipeline.evaluation.comparison import Comparison
from pipeline.head import softmax_head
from pipeline.nightly import contest
from pipeline.nightly.contest import Contestant, Outcome
from tests.support.models import RECIPE, model, photos, says

GOOD, BAD = says("abc"), says("aac")
EARLIER_TEST = photos("a" * 20 + "b" * 20)
EARLIER_TRAINING = photos("a" * 80 + "b" * 80, first=100)
ALL = concat([EARLIER_TEST, EARLIER_TRAINING])


def hold(current: Path, new: Path, test: Bottlenecks, tolerance: float = 0.01) -> Outcome:
    before, after = (
        Contestant(folder, softmax_head.read(folder).labels, model_photos.read(folder))
        for folder in (current, new)
    )
    return contest.hold(before, after, {}, test, Path(), RECIPE, tolerance)


def split_anew(known: int) -> tuple[Bottlenecks, Bottlenecks]:
    """Return 40 test photos of the same 200, half of them of each class, and the training photos.

    `known` of the test photos, an even number, were training photos before.
    """
    half = known // 2
    numbers = {*range(20 - half), *range(20, 40 - half)}  # test photos before
    numbers |= {*range(40, 40 + half), *range(120, 120 + half)}
    is_test = np.isin(np.arange(200), list(numbers))
    return ALL.where(is_test), ALL.where(~is_test)


@pytest.mark.parametrize(
    ("count", "broken", "fixed", "rejected"),
    [
        (1000, 0, 0, False),
        (1000, 4, 0, False),  # chance alone breaks four of four once in 16 times
        (1000, 9, 0, False),  # within the tolerance, however sure
        (1000, 30, 5, True),
        (1000, 60, 55, False),  # many changes, as many for the better
        (100, 5, 0, True),
        (100, 0, 30, False),
    ],
)
def test_worse_means_beyond_the_tolerance_and_beyond_chance(
    count: int, broken: int, fixed: int, rejected: bool
) -> None:
    measured = Comparison(count, 0, 0.9, 0.9, fixed, broken, (), (), 1, (), (), ())
    assert bool(list(contest._check_regression(measured, 0.01, ""))) == rejected


@pytest.mark.parametrize(("excluded", "pronoun"), [(1, "it"), (2, "them")])
def test_the_photos_left_out_agree_in_number(excluded: int, pronoun: str) -> None:
    measured = Comparison(30, excluded, 0.9, 0.9, 0, 0, (), (), 1, (), (), ())
    assert contest._figures(measured).endswith(
        f"({excluded} more left out, as a model was trained on {pronoun})"
    )


def test_the_current_model_has_no_advantage_on_photos_that_it_was_trained_on(
    tmp_path: Path,
) -> None:
    """The current model alone gets the photos of b right, but it has learned them by heart."""
    unknown, known = photos("a" * 20), photos("b" * 20, first=100)
    current = model(tmp_path / "m1", GOOD, unknown, known)
    test = concat([unknown, known])
    outcome = hold(current, model(tmp_path / "m2", BAD, test, photos("ab", first=500)), test)
    assert outcome.comparison is not None
    assert (outcome.comparison.count, outcome.comparison.excluded) == (20, 20)
    assert outcome.reasons == ()
    assert outcome.notes == (
        "0 fixes, 0 regressions on 20 test photos (20 more left out, as a model was trained on "
        "them)",
    )


def test_photos_that_the_new_model_was_trained_on_are_left_out_too(tmp_path: Path) -> None:
    current = model(tmp_path / "m1", BAD, EARLIER_TEST, EARLIER_TRAINING)
    leaked = concat([EARLIER_TRAINING, EARLIER_TEST.where(np.arange(40) < 10)])
    new = model(tmp_path / "m2", GOOD, EARLIER_TEST, leaked)
    outcome = hold(current, new, EARLIER_TEST)
    assert outcome.comparison is not None
    assert (outcome.comparison.count, outcome.comparison.excluded) == (30, 10)


def test_a_new_split_of_all_photos_does_not_stop_an_equally_good_model(tmp_path: Path) -> None:
    test, training = split_anew(known=40)
    current = model(tmp_path / "m1", GOOD, EARLIER_TEST, EARLIER_TRAINING)
    outcome = hold(current, model(tmp_path / "m2", GOOD, test, training), test)
    assert outcome.reasons == ()
    assert outcome.comparison is None
    assert outcome.notes == (
        "100.0% of 40 test photos correct, the current model 100.0% of its 40",
        "each model was measured on its own test photos, as one of the models was trained on 40 of "
        "today's 40",
    )


def test_a_new_split_of_all_photos_does_not_let_a_bad_model_in(tmp_path: Path) -> None:
    test, training = split_anew(known=40)
    current = model(tmp_path / "m1", GOOD, EARLIER_TEST, EARLIER_TRAINING)
    reasons = hold(current, model(tmp_path / "m2", BAD, test, training), test).reasons
    figures = "50.0% of 40 test photos correct, the current model 100.0% of its 40"
    assert reasons[0] == f"worse than the current model with today's labels: {figures}"


def test_a_loss_within_the_tolerance_passes_on_different_photos_as_well(tmp_path: Path) -> None:
    test, training = split_anew(known=40)
    current = model(tmp_path / "m1", GOOD, EARLIER_TEST, EARLIER_TRAINING)
    assert hold(current, model(tmp_path / "m2", BAD, test, training), test, 0.5).reasons == ()


def test_a_new_split_does_not_hide_that_two_folders_were_swapped(tmp_path: Path) -> None:
    test, training = split_anew(known=40)
    swapped = [
        replace(part, labels=np.array([{"a": "b", "b": "a"}[x] for x in part.labels]))
        for part in (test, training)
    ]
    current = model(tmp_path / "m1", GOOD, EARLIER_TEST, EARLIER_TRAINING)
    (reason,) = hold(current, model(tmp_path / "m2", says("bac"), *swapped), swapped[0]).reasons
    assert "with the earlier labels: 0.0% of 40 test photos correct" in reason


def test_a_model_of_an_earlier_version_is_compared_on_its_test_photos(tmp_path: Path) -> None:
    current = model(tmp_path / "m1", GOOD, EARLIER_TEST)
    test = concat([EARLIER_TEST, photos("aaaabbbb", first=1000)])
    outcome = hold(current, model(tmp_path / "m2", GOOD, test, EARLIER_TRAINING), test)
    assert outcome.reasons == ()
    assert outcome.comparison is not None
    assert (outcome.comparison.count, outcome.comparison.excluded) == (40, 8)


def test_a_hundred_photos_are_enough_however_many_are_left_out(tmp_path: Path) -> None:
    kept, known = photos("a" * 100), photos("b" * 300, first=1000)
    current = model(tmp_path / "m1", GOOD, kept, known)
    test = concat([kept, known])
    outcome = hold(current, model(tmp_path / "m2", GOOD, test, photos("ab", first=5000)), test)
    assert outcome.comparison is not None
    assert (outcome.comparison.count, outcome.comparison.excluded) == (100, 300)


def test_a_model_whose_module_is_gone_is_measured_on_its_own_test_photos(tmp_path: Path) -> None:
    current = model(tmp_path / "m1", GOOD, EARLIER_TEST, EARLIER_TRAINING)
    gone = replace(RECIPE.module, directory=str(tmp_path / "gone"), digest="other")
    recipe.write(replace(RECIPE, module=gone), current)
    outcome = hold(current, model(tmp_path / "m2", GOOD, EARLIER_TEST, EARLIER_TRAINING), ALL)
    assert outcome.reasons == ()
    figures, why = outcome.notes
    assert figures == "100.0% of 40 test photos correct, the current model 100.0% of its 40"
    assert why.endswith("as the current model's module does not exist any more")


def test_without_enough_photos_for_any_comparison_a_person_decides(tmp_path: Path) -> None:
    few = photos("aabb")
    current = model(tmp_path / "m1", GOOD, few, EARLIER_TRAINING)
    test, training = split_anew(known=40)
    (reason,) = hold(current, model(tmp_path / "m2", GOOD, test, training), test).reasons
    assert "this model has 40 and the current one 4 that it was not trained on" in reason


def test_no_class_in_common_leaves_nothing_to_compare(tmp_path: Path) -> None:
    current = model(tmp_path / "m1", says("aba", ("a", "b")), EARLIER_TEST, EARLIER_TRAINING)
    others = photos("cccccc", first=3000)
    new = model(tmp_path / "m2", says("ccc", ("c", "d")), others, photos("c", first=4000))
    (reason,) = hold(current, new, others).reasons
    assert "this model has 0 and the current one 0" in reason
