"""The gate, promotion and rollback."""

import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pipeline.bottlenecks import recipe
from pipeline.bottlenecks.reader import Bottlenecks
from pipeline.bottlenecks.recipe import Recipe
from pipeline.errors import UserError
from pipeline.evaluation.comparison import Comparison
from pipeline.files import locks
from pipeline.head import softmax_head
from pipeline.head.softmax_head import Head, TrainingRecord
from pipeline.modules.loading import Module
from pipeline.nightly import current_model, history, promotion, promotion_gate
from pipeline.nightly.history import Promotion
from pipeline.nightly.promotion import MANUAL, NIGHTLY
from pipeline.nightly.promotion_gate import Gate
from tests.support.store import saved, write_figures

MODULE = Module("tiny", "", "digest", 8, 8, 3)
RECIPE = Recipe(MODULE, "float32", "float16")
GATE = Gate(0, 0.01)
LABELS = ("a", "b", "c")


def photos(labels: str, digests: range | None = None) -> Bottlenecks:
    """Test photos whose vectors point to their class."""
    names = [f"{i}" for i in digests or range(len(labels))]
    vectors = np.eye(3, dtype=np.float32)[["abc".index(label) for label in labels]]
    return Bottlenecks(
        vectors, np.array(list(labels), dtype=object), [f"{n}.jpg" for n in names], names
    )


def says(answers: str, labels: tuple[str, ...] = LABELS) -> Head:
    """A head that answers `answers[i]` to photos that point to the class i."""
    weights = np.array([[10.0 * (label == answer) for label in labels] for answer in answers])
    return Head(labels, weights.astype(np.float32), np.zeros(len(labels), np.float32))


def model(out: Path, name: str, head: Head, test: Bottlenecks) -> Path:
    directory = out / "models" / name
    softmax_head.write(head, TrainingRecord(0.1, 1, 1, ()), directory)
    write_figures(head, test, directory)
    recipe.write(RECIPE, directory / "recipe.json")
    return directory


def judge(new: Path, current: Path | None, test: Bottlenecks, gate: Gate = GATE) -> tuple[str, ...]:
    return promotion_gate.evaluate(new, current, test, Path(), RECIPE, gate).reasons


GOOD = says("abc")
TEST = photos("aaaaaaaaaabbbbbbbbbbcccccccccc")


def test_a_first_model_needs_no_more_than_the_accuracy(tmp_path: Path) -> None:
    first = model(tmp_path, "m1", GOOD, TEST)
    assert judge(first, None, TEST, Gate(1, 0)) == ()
    worse = model(tmp_path, "m2", says("aaa"), photos("abc"))
    (objection,) = judge(worse, None, TEST, Gate(0.5, 0))
    assert objection == "accuracy 33.3% is below assert_accuracy_at_least, 50.0%"


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_gate_that_would_let_everything_or_nothing_through_is_refused(share: float) -> None:
    for shares in ((share, 0.0), (0.0, share)):
        with pytest.raises(UserError, match="is out of range"):
            Gate(*shares)


def test_a_model_that_nothing_is_known_of_is_refused(tmp_path: Path) -> None:
    unknown = model(tmp_path, "m1", GOOD, photos(""))
    (objection,) = judge(unknown, None, photos(""))
    assert "no test photo" in objection


def test_a_model_as_good_passes_and_is_compared(tmp_path: Path) -> None:
    current, new = (model(tmp_path, name, GOOD, TEST) for name in ("m1", "m2"))
    verdict = promotion_gate.evaluate(new, current, TEST, Path(), RECIPE, GATE)
    assert verdict.reasons == ()
    assert verdict.comparison is not None
    assert (verdict.comparison.count, verdict.comparison.broken) == (30, 0)


def test_a_model_that_breaks_a_class_is_refused(tmp_path: Path) -> None:
    current = model(tmp_path, "m1", GOOD, TEST)
    new = model(tmp_path, "m2", says("aba"), TEST)
    objections = judge(new, current, TEST)
    assert "with today's labels (fixes: 0, regressions: 10, 30 test photos)" in objections[0]
    assert "with the earlier labels (fixes: 0, regressions: 10" in objections[1]


@pytest.mark.parametrize(
    ("count", "broken", "fixed", "refused"),
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
    count: int, broken: int, fixed: int, refused: bool
) -> None:
    measured = Comparison(count, 0.9, 0.9, fixed, broken, (), (), 1, (), (), ())
    assert bool(list(promotion_gate._check_regression(measured, 0.01, ""))) == refused


def test_a_model_that_lost_a_class_is_refused(tmp_path: Path) -> None:
    current = model(tmp_path, "m1", GOOD, TEST)
    new = model(tmp_path, "m2", says("abb", ("a", "b")), TEST)
    (objection,) = judge(new, current, TEST)
    assert objection == "classes of the current model are missing: c"


def test_a_new_class_is_not_held_against_the_current_model(tmp_path: Path) -> None:
    current = model(tmp_path, "m1", says("abb", ("a", "b")), TEST)
    new = model(tmp_path, "m2", GOOD, TEST)
    verdict = promotion_gate.evaluate(new, current, TEST, Path(), RECIPE, GATE)
    assert verdict.reasons == ()
    assert verdict.comparison is not None
    assert (verdict.comparison.count, verdict.comparison.fixed) == (20, 0)


def test_labels_that_were_swapped_everywhere_do_not_pass(tmp_path: Path) -> None:
    """The model learned them, and today's test split says the same: only the past disagrees."""
    current = model(tmp_path, "m1", GOOD, TEST)
    poisoned = photos("bbbbbbbbbbaaaaaaaaaacccccccccc")
    poisoned = Bottlenecks(TEST.vectors, poisoned.labels, TEST.paths, TEST.digests)
    new = model(tmp_path, "m2", says("bac"), poisoned)
    (objection,) = judge(new, current, poisoned)
    assert "with the earlier labels (fixes: 0, regressions: 20, 30 test photos)" in objection


def test_new_photos_in_the_wrong_folder_cannot_outvote_the_old_ones(tmp_path: Path) -> None:
    current = model(tmp_path, "m1", GOOD, TEST)
    wrong = photos("a" * 40, range(100, 140))
    wrong = Bottlenecks(
        wrong.vectors, np.array(["b"] * 40, dtype=object), wrong.paths, wrong.digests
    )
    both = Bottlenecks(
        np.concatenate([TEST.vectors, wrong.vectors]),
        np.concatenate([TEST.labels, wrong.labels]),
        TEST.paths + wrong.paths,
        TEST.digests + wrong.digests,
    )
    new = model(tmp_path, "m2", says("bbc"), both)
    (objection,) = judge(new, current, both)
    assert "regressions: 10" in objection


def names(out: Path) -> str:
    current = current_model.get(out)
    return current.name if current else ""


def promote(out: Path, name: str, how: str = NIGHTLY) -> None:
    model = saved(out / "models" / name)
    history.add(out, promotion=promotion.promote(out, model, how))


def test_promotion_moves_current_and_says_from_where(tmp_path: Path) -> None:
    assert current_model.get(tmp_path) is None
    promote(tmp_path, "m1")
    promote(tmp_path, "m2")
    promote(tmp_path, "m2")
    assert names(tmp_path) == "m2"
    assert [(p.model, p.instead_of) for p in history.promotions(tmp_path)] == [
        ("m1", ""),
        ("m2", "m1"),
    ]


def test_rollback_goes_back_step_by_step_and_no_further(tmp_path: Path) -> None:
    for name in ("m1", "m2", "m3"):
        promote(tmp_path, name)
    assert promotion.rollback(tmp_path) == ("m3", "m2")
    assert promotion.rollback(tmp_path) == ("m2", "m1")
    assert names(tmp_path) == "m1"
    with pytest.raises(UserError, match="no earlier model"):
        promotion.rollback(tmp_path)


def test_after_a_rollback_and_a_promotion_one_goes_back_to_the_model_in_between(
    tmp_path: Path,
) -> None:
    for name in ("m1", "m2"):
        promote(tmp_path, name)
    promotion.rollback(tmp_path)
    promote(tmp_path, "m3")
    assert promotion.rollback(tmp_path) == ("m3", "m1")


def test_a_rollback_passes_over_models_that_are_gone(tmp_path: Path) -> None:
    for name in ("m1", "m2", "m3"):
        promote(tmp_path, name)
    shutil.rmtree(tmp_path / "models/m2")
    assert promotion.rollback(tmp_path) == ("m3", "m1")


def test_the_model_that_was_left_is_withdrawn_until_a_person_promotes_it(tmp_path: Path) -> None:
    for name in ("m1", "m2"):
        promote(tmp_path, name)
    promotion.rollback(tmp_path)
    m1, m2 = (tmp_path / "models" / name for name in ("m1", "m2"))
    assert promotion.was_rolled_back(tmp_path, m2)
    assert not promotion.was_rolled_back(tmp_path, m1)
    promote(tmp_path, "m2", MANUAL)
    assert not promotion.was_rolled_back(tmp_path, m2)


def test_a_rollback_that_was_killed_half_way_ends_with_the_same_command(tmp_path: Path) -> None:
    for name in ("m1", "m2"):
        promote(tmp_path, name)
    history.add(tmp_path, promotion=Promotion(history.now(), "m1", promotion.ROLLBACK, "m2"))
    assert names(tmp_path) == "m2"
    assert promotion.rollback(tmp_path) == ("m2", "m1")
    assert names(tmp_path) == "m1"


def test_a_promotion_that_was_killed_half_way_is_seen(tmp_path: Path) -> None:
    promote(tmp_path, "m1")
    promotion.promote(tmp_path, saved(tmp_path / "models/m2"), NIGHTLY)  # and not written down
    recorded = promotion.recorded_model(tmp_path)
    assert recorded is not None
    assert recorded.name == "m1"
    assert names(tmp_path) == "m2"
    assert promotion.promote(tmp_path, tmp_path / "models/m2", NIGHTLY) is not None


def test_models_that_are_promoted_at_once_leave_one_that_all_agree_on(tmp_path: Path) -> None:
    def promotes(name: str) -> None:
        for _ in range(20):
            with locks.exclusive(tmp_path / locks.PROMOTION):
                promote(tmp_path, name)

    for name in ("m1", "m2", "m3"):  # the files themselves say which model it is
        saved(tmp_path / "models" / name, name)
    with ThreadPoolExecutor() as threads:
        list(threads.map(promotes, ("m1", "m2", "m3")))
    served = max((tmp_path / "serving").iterdir(), key=lambda path: int(path.name))
    assert served.joinpath("saved_model.pb").samefile(
        tmp_path / "current/saved_model/saved_model.pb"
    )
    assert history.promotions(tmp_path)[-1].model == names(tmp_path)


def test_a_rollback_waits_for_a_promotion(tmp_path: Path) -> None:
    for name in ("m1", "m2"):
        promote(tmp_path, name)
    with ThreadPoolExecutor() as threads:
        with locks.exclusive(tmp_path / locks.PROMOTION):
            rolled = threads.submit(promotion.rollback, tmp_path)
            with pytest.raises(TimeoutError):
                rolled.result(0.2)
            promote(tmp_path, "m3")
        assert rolled.result(30) == ("m3", "m2")


def test_without_a_model_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["promotion", "--output-dir", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match="there is no folder"):
        promotion.main()
    assert not (tmp_path / "none").exists()
    monkeypatch.setattr(sys, "argv", ["promotion", "--output-dir", str(tmp_path)])
    with pytest.raises(SystemExit, match="no earlier model"):
        promotion.main()
    for name in ("m1", "m2"):
        promote(tmp_path, name)
    promotion.main()
    assert "Rolled back to model m1." in capsys.readouterr().out
