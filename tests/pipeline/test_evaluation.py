"""Evaluation: each figure against one worked out by hand."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline import evaluation
from pipeline.head import Head
from pipeline.rows import Rows

LABELS = ("ant", "bee", "cat", "dog", "eel", "fox")
HEAD = Head(LABELS, np.eye(6, dtype=np.float32), np.zeros(6, np.float32))


def photos(*given: tuple[str, str]) -> Rows:
    """Photos of (true label, label that the head will answer), surer from one to the next."""
    vectors = np.zeros((len(given), 6), np.float32)
    for number, (_, answer) in enumerate(given):
        vectors[number, LABELS.index(answer)] = 1 + number
    labels = np.array([label for label, _ in given], dtype=object)
    paths = [f"{label}/{i}.jpg" for i, (label, _) in enumerate(given)]
    return Rows(vectors, labels, paths, [f"digest of {path}" for path in paths])


SOME = photos(("ant", "ant"), ("ant", "bee"), ("bee", "bee"), ("cat", "bee"), ("cat", "cat"))


def test_top1_is_the_share_of_right_answers() -> None:
    result, _ = evaluation.evaluate(HEAD, SOME)
    assert (result.count, result.top1) == (5, 3 / 5)


def test_top5_counts_the_five_best() -> None:
    rows = photos(("fox", "ant"))
    rows.vectors[0] = [6, 5, 4, 3, 2, 1]
    assert evaluation.evaluate(HEAD, rows)[0].top5 == 0
    rows.vectors[0] = [6, 5, 4, 3, 1, 2]
    assert evaluation.evaluate(HEAD, rows)[0].top5 == 1


def test_confusion_has_the_truth_in_rows() -> None:
    confusion = evaluation.evaluate(HEAD, SOME)[0].confusion
    assert confusion[0][:3] == [1, 1, 0]
    assert confusion[1][:3] == [0, 1, 0]
    assert confusion[2][:3] == [0, 1, 1]


def test_precision_and_recall_are_by_class_and_none_where_undefined() -> None:
    ant, bee, cat, dog, *_ = evaluation.evaluate(HEAD, SOME)[0].classes
    assert (ant.label, ant.count, ant.precision, ant.recall) == ("ant", 2, 1, 0.5)
    assert (bee.count, bee.precision, bee.recall) == (1, 1 / 3, 1)
    assert (cat.count, cat.precision, cat.recall) == (2, 1, 0.5)
    assert (dog.count, dog.precision, dog.recall) == (0, None, None)


def test_misclassified_photos_are_listed_the_surest_first() -> None:
    listed = evaluation.evaluate(HEAD, SOME)[0].misclassified
    assert [row["path"] for row in listed] == ["cat/3.jpg", "ant/1.jpg"]
    assert listed[0]["predicted"] == "bee"
    assert listed[0]["probability"] == pytest.approx(np.exp(4) / (np.exp(4) + 5))


def test_predictions_have_the_five_best_labels_of_each_photo() -> None:
    _, predictions = evaluation.evaluate(HEAD, SOME)
    first = predictions.iloc[4]
    assert (first["path"], first["label"], first["correct"]) == ("cat/4.jpg", "cat", True)
    assert first["labels"][0] == "cat"
    assert len(first["labels"]) == len(first["probabilities"]) == 5
    assert sorted(first["probabilities"], reverse=True) == list(first["probabilities"])


def test_without_test_photos_nothing_is_claimed(tmp_path: Path) -> None:
    nothing = Rows(np.empty((0, 6), np.float32), np.empty(0, dtype=object), [], [])
    result, predictions = evaluation.evaluate(HEAD, nothing)
    assert (result.count, result.top1, result.top5) == (0, None, None)
    evaluation.write(result, predictions, tmp_path / "evaluation")
    assert pd.read_parquet(tmp_path / "evaluation/predictions.parquet").empty
    assert "no test photo" in evaluation.remarks(result)[0]


def test_photos_of_a_class_that_was_left_out_do_not_count() -> None:
    rows = photos(("ant", "ant"), ("cat", "cat"))
    rows.labels[1] = "gnu"
    assert evaluation.evaluate(HEAD, rows)[0].count == 1


def test_fewer_classes_than_five_are_all_listed() -> None:
    small = Head(LABELS[:2], np.eye(6, 2, dtype=np.float32), np.zeros(2, np.float32))
    result, predictions = evaluation.evaluate(small, photos(("ant", "ant")))
    assert result.top5 == 1
    assert len(predictions["labels"][0]) == 2


def test_files_are_written_that_json_and_pandas_read(tmp_path: Path) -> None:
    evaluation.write(*evaluation.evaluate(HEAD, SOME), tmp_path / "evaluation")
    figures = json.loads((tmp_path / "evaluation/evaluation.json").read_text())
    assert figures["top1"] == 0.6
    assert figures["top5"] == 1.0
    assert figures["count"] == 5
    assert figures["classes"][1]["label"] == "bee"
    frame = pd.read_parquet(tmp_path / "evaluation/predictions.parquet")
    assert frame["correct"].tolist() == [True, False, True, False, True]


def test_remarks_give_the_accuracy_and_name_the_worst() -> None:
    accuracy, first, second = evaluation.remarks(evaluation.evaluate(HEAD, SOME)[0])
    assert accuracy == "Test accuracy: top-1 60.0%, top-5 100.0% of 5 photos"
    assert first.startswith("Misclassified: cat/3.jpg as bee")
    assert "ant/1.jpg" in second
