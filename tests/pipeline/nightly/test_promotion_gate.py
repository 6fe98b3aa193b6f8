"""The gate: which models may replace the current one, and what people are told."""

from pathlib import Path

import pytest

from pipeline.bottlenecks.reader import Bottlenecks, concat
from pipeline.errors import UserError
from pipeline.nightly import promotion_gate
from pipeline.nightly.promotion_gate import Gate, Verdict
from tests.support.models import RECIPE, model, photos, says

GATE = Gate(0, 0.01)
GOOD = says("abc")
TEST = photos("a" * 10 + "b" * 10 + "c" * 10)
TRAINING = photos("a" * 20 + "b" * 20 + "c" * 20, first=100)


def judge(new: Path, current: Path | None, test: Bottlenecks, gate: Gate = GATE) -> Verdict:
    return promotion_gate.evaluate(new, current, test, Path(), RECIPE, gate)


def relabelled(rows: Bottlenecks, **labels: str) -> Bottlenecks:
    """Return the same photos in other folders."""
    shown = "".join(rows.labels)
    return photos(shown, int(rows.digests[0]), labels)


def test_a_first_model_needs_no_more_than_the_accuracy(tmp_path: Path) -> None:
    first = model(tmp_path / "m1", GOOD, TEST)
    verdict = judge(first, None, TEST, Gate(1, 0))
    assert verdict.reasons == ()
    assert verdict.notes == ("the first model, with none to compare it with",)
    worse = model(tmp_path / "m2", says("aaa"), photos("abc"))
    (reason,) = judge(worse, None, TEST, Gate(0.5, 0)).reasons
    assert reason == "accuracy 33.3% is below assert_accuracy_at_least, 50.0%"


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_gate_that_would_let_everything_or_nothing_through_is_refused(share: float) -> None:
    for shares in ((share, 0.0), (0.0, share)):
        with pytest.raises(UserError, match="is out of range"):
            Gate(*shares)


def test_a_model_without_test_photos_is_rejected(tmp_path: Path) -> None:
    unknown = model(tmp_path / "m1", GOOD, photos(""))
    (reason,) = judge(unknown, None, photos("")).reasons
    assert "no test photo" in reason


def test_a_model_as_good_passes_and_is_compared(tmp_path: Path) -> None:
    current, new = (model(tmp_path / name, GOOD, TEST, TRAINING) for name in ("m1", "m2"))
    verdict = judge(new, current, TEST)
    assert verdict.reasons == ()
    assert verdict.notes == ("0 fixes, 0 regressions on 30 test photos",)
    assert verdict.comparison is not None
    assert (verdict.comparison.count, verdict.comparison.broken) == (30, 0)


def test_a_model_that_breaks_a_class_is_rejected(tmp_path: Path) -> None:
    current = model(tmp_path / "m1", GOOD, TEST, TRAINING)
    new = model(tmp_path / "m2", says("aba"), TEST, TRAINING)
    reasons = judge(new, current, TEST).reasons
    figures = "0 fixes, 10 regressions on 30 test photos"
    assert reasons == (
        f"worse than the current model with today's labels: {figures}",
        f"worse than the current model with the earlier labels: {figures}",
    )


def test_a_model_that_lost_a_class_is_rejected(tmp_path: Path) -> None:
    current = model(tmp_path / "m1", GOOD, TEST, TRAINING)
    without_c = (photos("aaaaabbbbb"), photos("aaaaabbbbb", first=100))
    new = model(tmp_path / "m2", says("abb", ("a", "b")), *without_c)
    (reason,) = judge(new, current, without_c[0]).reasons
    assert reason == "classes of the current model are missing: c"


def test_a_new_class_is_not_held_against_the_current_model(tmp_path: Path) -> None:
    current = model(tmp_path / "m1", says("abb", ("a", "b")), TEST)
    new = model(tmp_path / "m2", GOOD, TEST, TRAINING)
    verdict = judge(new, current, TEST)
    assert verdict.reasons == ()
    assert verdict.comparison is not None
    assert (verdict.comparison.count, verdict.comparison.fixed) == (20, 0)


def test_swapped_folders_are_rejected_and_named(tmp_path: Path) -> None:
    """The model learned the swap, and today's test split says the same: only the past disagrees."""
    current = model(tmp_path / "m1", GOOD, TEST, TRAINING)
    test, training = (relabelled(rows, a="b", b="a") for rows in (TEST, TRAINING))
    new = model(tmp_path / "m2", says("bac"), test, training)
    verdict = judge(new, current, test)
    (reason,) = verdict.reasons
    assert "with the earlier labels: 0 fixes, 20 regressions on 30 test photos" in reason
    assert verdict.notes == (
        "class a was renamed to b (30 of its 30 photos)",
        "class b was renamed to a (30 of its 30 photos)",
        "with today's labels, 20 fixes, 0 regressions on 30 test photos",
    )


def test_new_photos_in_the_wrong_folder_cannot_outvote_the_old_ones(tmp_path: Path) -> None:
    current = model(tmp_path / "m1", GOOD, TEST, TRAINING)
    both = concat([TEST, photos("a" * 40, 1000, {"a": "b"})])
    new = model(tmp_path / "m2", says("bbc"), both, TRAINING)
    (reason,) = judge(new, current, both).reasons
    assert "with the earlier labels: 0 fixes, 10 regressions" in reason


def test_a_renamed_class_is_named_and_its_accuracy_compared(tmp_path: Path) -> None:
    current = model(tmp_path / "m1", GOOD, TEST, TRAINING)
    test, training = (relabelled(rows, c="roses") for rows in (TEST, TRAINING))
    head = says(("a", "b", "roses"), ("a", "b", "roses"))
    verdict = judge(model(tmp_path / "m2", head, test, training), current, test)
    assert verdict.reasons == ("class c was renamed to roses (30 of its 30 photos)",)
    figures = "0 fixes, 0 regressions on 30 test photos"
    assert verdict.notes == (f"with the new names of the classes, {figures}",)


def test_a_renamed_class_does_not_hide_that_the_model_is_worse(tmp_path: Path) -> None:
    current = model(tmp_path / "m1", GOOD, TEST, TRAINING)
    test, training = (relabelled(rows, c="roses") for rows in (TEST, TRAINING))
    head = says(("a", "b", "a"), ("a", "b", "roses"))
    reasons = judge(model(tmp_path / "m2", head, test, training), current, test).reasons
    assert reasons[0] == "class c was renamed to roses (30 of its 30 photos)"
    assert "today's labels: 0 fixes, 10 regressions on 30 test photos" in reasons[1]


def test_merged_classes_are_named_and_their_accuracy_compared(tmp_path: Path) -> None:
    current = model(tmp_path / "m1", GOOD, TEST, TRAINING)
    test, training = (relabelled(rows, b="bc", c="bc") for rows in (TEST, TRAINING))
    head = says(("a", "bc", "bc"), ("a", "bc"))
    verdict = judge(model(tmp_path / "m2", head, test, training), current, test)
    assert verdict.reasons == ("classes b and c were merged into bc (60 of their 60 photos)",)
    assert verdict.notes[0].endswith("0 fixes, 0 regressions on 30 test photos")


def test_a_split_class_is_named_and_the_others_are_compared(tmp_path: Path) -> None:
    current = model(tmp_path / "m1", says("abb", ("a", "b")), *_in_two(TEST, TRAINING))
    test, training = (relabelled(rows, a="a", b="d", c="e") for rows in (TEST, TRAINING))
    head = says(("a", "d", "e"), ("a", "d", "e"))
    verdict = judge(model(tmp_path / "m2", head, test, training), current, test)
    assert verdict.reasons == ("class b was split into d and e (30 and 30 of its 60 photos)",)
    assert verdict.notes == ("0 fixes, 0 regressions on 10 test photos",)


def test_withdrawn_corrections_are_no_change_of_classes(tmp_path: Path) -> None:
    current = model(tmp_path / "m1", GOOD, TEST, TRAINING)
    test, training = (relabelled(rows, a="b") for rows in (TEST, TRAINING))
    new = model(tmp_path / "m2", says("bbc", tuple("bc")), test, training)
    labels = {digest: "b" for rows in (test, training) for digest in rows.digests[:20]}
    verdict = promotion_gate.evaluate(new, current, test, Path(), RECIPE, GATE, None, labels)
    assert not any("merged" in line for line in (*verdict.reasons, *verdict.notes))
    assert "classes of the current model are missing: a" in verdict.reasons


def _in_two(*parts: Bottlenecks) -> list[Bottlenecks]:
    return [relabelled(rows, c="b") for rows in parts]


def test_many_changes_of_classes_are_counted(tmp_path: Path) -> None:
    labels = [f"{number:02}" for number in range(8)]
    current = _of_pairs(tmp_path / "m1", labels)
    new = _of_pairs(tmp_path / "m2", [f"new {label}" for label in labels])
    reasons = judge(new, current, photos("")).reasons
    assert reasons[5] == "class 04 was renamed to new 04 (1 of its 1 photos)"
    assert reasons[6] == "3 more classes were renamed, merged or split"


def _of_pairs(directory: Path, labels: list[str]) -> Path:
    """A model with one training photo per class, and no test photos."""
    parts = [photos("a", number, {"a": label}) for number, label in enumerate(labels)]
    return model(directory, says(labels[:3], tuple(labels)), photos(""), concat(parts))
