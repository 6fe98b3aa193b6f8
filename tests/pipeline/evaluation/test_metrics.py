"""Evaluation: each figure against one worked out by hand."""

from dataclasses import asdict

import numpy as np
import pytest

from pipeline.bottlenecks.reader import Bottlenecks
from pipeline.evaluation import metrics, statistics
from pipeline.head.softmax_head import Head

LABELS = ("ant", "bee", "cat", "dog", "eel", "fox")
HEAD = Head(LABELS, np.eye(6, dtype=np.float32), np.zeros(6, np.float32))


def photos(*given: tuple[str, str]) -> Bottlenecks:
    """Photos of (true label, label that the head will answer), surer from one to the next."""
    vectors = np.zeros((len(given), 6), np.float32)
    for number, (_, answer) in enumerate(given):
        vectors[number, LABELS.index(answer)] = 1 + number
    labels = np.array([label for label, _ in given], dtype=object)
    paths = [f"{label}/{i}.jpg" for i, (label, _) in enumerate(given)]
    return Bottlenecks(vectors, labels, paths, [f"digest of {path}" for path in paths])


SOME = photos(("ant", "ant"), ("ant", "bee"), ("bee", "bee"), ("cat", "bee"), ("cat", "cat"))


def test_top1_is_the_share_of_right_answers() -> None:
    result, _ = metrics.evaluate(HEAD, SOME)
    assert (result.count, result.top1) == (5, 3 / 5)


def test_top5_counts_the_five_best() -> None:
    rows = photos(("fox", "ant"))
    rows.vectors[0] = [6, 5, 4, 3, 2, 1]
    assert metrics.evaluate(HEAD, rows)[0].top5 == 0
    rows.vectors[0] = [6, 5, 4, 3, 1, 2]
    assert metrics.evaluate(HEAD, rows)[0].top5 == 1


def test_confusion_has_the_truth_in_rows() -> None:
    confusion = metrics.evaluate(HEAD, SOME)[0].confusion
    assert confusion[0][:3] == [1, 1, 0]
    assert confusion[1][:3] == [0, 1, 0]
    assert confusion[2][:3] == [0, 1, 1]


def test_precision_and_recall_are_by_class_and_none_where_undefined() -> None:
    ant, bee, cat, dog, *_ = metrics.evaluate(HEAD, SOME)[0].classes
    assert (ant.label, ant.count, ant.precision, ant.recall) == ("ant", 2, 1, 0.5)
    assert (bee.count, bee.precision, bee.recall) == (1, 1 / 3, 1)
    assert (cat.count, cat.precision, cat.recall) == (2, 1, 0.5)
    assert (dog.count, dog.precision, dog.recall) == (0, None, None)


def test_misclassified_photos_are_listed_the_surest_first() -> None:
    listed = metrics.evaluate(HEAD, SOME)[0].misclassified
    assert [row["path"] for row in listed] == ["cat/3.jpg", "ant/1.jpg"]
    assert listed[0]["predicted"] == "bee"
    assert listed[0]["probability"] == pytest.approx(np.exp(4) / (np.exp(4) + 5))


def test_predictions_have_the_five_best_labels_of_each_photo() -> None:
    _, predictions = metrics.evaluate(HEAD, SOME)
    first = predictions.iloc[4]
    assert (first["path"], first["label"], first["correct"]) == ("cat/4.jpg", "cat", True)
    assert first["labels"][0] == "cat"
    assert len(first["labels"]) == len(first["probabilities"]) == 5
    assert sorted(first["probabilities"], reverse=True) == list(first["probabilities"])


def test_without_test_photos_nothing_is_claimed() -> None:
    nothing = Bottlenecks(np.empty((0, 6), np.float32), np.empty(0, dtype=object), [], [])
    result, predictions = metrics.evaluate(HEAD, nothing)
    assert (result.count, result.top1, result.top5) == (0, None, None)
    assert predictions.empty
    assert (result.top1_interval, result.macro_f1, result.calibration_error) == (None, None, None)
    (line,) = metrics.summary_lines(asdict(result))
    assert "no test photo" in line


def test_photos_of_a_class_that_was_left_out_do_not_count() -> None:
    rows = photos(("ant", "ant"), ("cat", "cat"))
    rows.labels[1] = "gnu"
    assert metrics.evaluate(HEAD, rows)[0].count == 1


def test_photos_that_the_module_was_tuned_on_do_not_count() -> None:
    result, predictions = metrics.evaluate(HEAD, SOME, {SOME.digests[0], "another"})
    assert (result.count, result.left_out) == (4, 1)
    assert SOME.paths[0] not in set(predictions["path"])
    assert result.top1 == 0.5


def test_fewer_classes_than_five_are_all_listed() -> None:
    small = Head(LABELS[:2], np.eye(6, 2, dtype=np.float32), np.zeros(2, np.float32))
    result, predictions = metrics.evaluate(small, photos(("ant", "ant")))
    assert result.top5 == 1
    assert len(predictions["labels"][0]) == 2


def test_remarks_give_the_accuracy_and_name_the_worst() -> None:
    accuracy, first, second = metrics.summary_lines(asdict(metrics.evaluate(HEAD, SOME)[0]))
    assert accuracy == "Test accuracy: top-1 60.0%, top-5 100.0% of 5 photos"
    assert first.startswith("Misclassified: cat/3.jpg as bee")
    assert "ant/1.jpg" in second


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("bee/2.jpg", "bee/2.jpg (ant)"),  # relabelled
        ("bee/ant/2.jpg", "bee/ant/2.jpg (ant)"),
        ("train/bee/2.jpg", "train/bee/2.jpg (ant)"),
        ("ant/bee/2.jpg", "ant/bee/2.jpg"),
        ("test/ant/2.jpg", "test/ant/2.jpg"),
    ],
)
def test_a_label_that_is_not_the_class_folder_is_named(path: str, named: str) -> None:
    rows = photos(("ant", "bee"))
    rows.paths[0] = path
    _, line = metrics.summary_lines(asdict(metrics.evaluate(HEAD, rows)[0]))
    assert line.startswith(f"Misclassified: {named} as bee ")


def test_every_misclassified_photo_is_named_when_asked_for() -> None:
    rows = photos(*[("ant", "bee")] * 9)
    result, _ = metrics.evaluate(HEAD, rows)
    *named, more = metrics.summary_lines(asdict(result))
    assert len(named) == 1 + metrics.TOP
    assert more == "Misclassified: 4 more, in evaluation.json"
    assert len(list(metrics.summary_lines(asdict(result), None))) == 1 + 9


def test_intervals_are_wilsons() -> None:
    # R. G. Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I.
    for part, whole, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)]:
        assert statistics.wilson_interval(part, whole) == pytest.approx((low, high), abs=5e-5)
    assert statistics.wilson_interval(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    assert statistics.wilson_interval(29, 29) == pytest.approx((0.8830, 1), abs=5e-5)
    assert statistics.wilson_interval(0, 0) is None


def test_macro_averages_are_over_the_classes_with_test_photos() -> None:
    result, _ = metrics.evaluate(HEAD, SOME)
    assert result.macro_recall == pytest.approx((0.5 + 1 + 0.5) / 3)
    assert result.macro_precision == pytest.approx((1 + 1 / 3 + 1) / 3)
    assert result.macro_f1 == pytest.approx((2 / 3 + 1 / 2 + 2 / 3) / 3)


def test_the_most_confused_pairs_come_first() -> None:
    rows = photos(("ant", "bee"), ("cat", "dog"), ("cat", "dog"), ("eel", "eel"))
    result, _ = metrics.evaluate(HEAD, rows)
    found = [(p.label, p.predicted, p.count) for p in result.pairs]
    assert found == [("cat", "dog", 2), ("ant", "bee", 1)]


def test_calibration_compares_probability_with_accuracy() -> None:
    rows = photos(*[("ant", "ant"), ("ant", "bee")] * 2)
    rows.vectors[rows.vectors > 0] = np.log(5 * 0.85 / 0.15)  # so each answer has 85%
    result, _ = metrics.evaluate(HEAD, rows)
    (full,) = [b for b in result.bins if b.count]
    assert (full.low, full.high) == (12 / 15, 13 / 15)
    assert (full.count, full.accuracy) == (4, 0.5)
    assert full.confidence == pytest.approx(0.85)
    assert result.calibration_error == pytest.approx(0.35)


def test_a_label_that_the_head_does_not_know_is_wrong_to_predict() -> None:
    rows = photos(("ant", "ant"), ("cat", "cat"))
    rows.labels[1] = "gnu"
    assert metrics.predict(HEAD, rows)["correct"].tolist() == [True, False]
