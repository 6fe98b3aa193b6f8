"""Suspected labels: flipped ones are found, right ones are left alone."""

import sys

import numpy as np
import pytest

from pipeline.evaluation.data_checks import labels
from pipeline.evaluation.data_checks.context import CheckContext
from tests.support.checks import Maker


def clouds(classes: int = 6, each: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Photos around one point a class: vectors [n, 16] and classes [n]."""
    generator = np.random.default_rng(0)
    truth = np.repeat(np.arange(classes), each)
    centres = generator.normal(size=(classes, 16)) * 3
    return centres[truth] + generator.normal(size=(len(truth), 16)), truth


def test_flipped_labels_are_found(make_subject: Maker) -> None:
    vectors, truth = clouds()
    given = truth.copy()
    wrong = np.arange(0, len(truth), 20)
    given[wrong] = (truth[wrong] + 1) % 6
    found = list(labels.find(make_subject(vectors, [f"class {c}" for c in given])))
    numbers = {int(f.paths[0].split("/")[1].split(".")[0]) for f in found}
    assert len(numbers & set(wrong.tolist())) >= 0.9 * len(wrong)
    assert len(numbers - set(wrong.tolist())) <= 0.1 * len(wrong)
    assert found[0].detail.startswith("looks like class ")


def test_features_that_hardly_vary_do_not_hide_flipped_labels(make_subject: Maker) -> None:
    vectors, truth = clouds(each=10)
    noise = np.random.default_rng(1).normal(scale=0.01, size=(len(truth), 500))
    given = truth.copy()
    wrong = np.arange(0, len(truth), 10)
    given[wrong] = (truth[wrong] + 1) % 6
    subject = make_subject(np.hstack([vectors, noise]), [f"class {c}" for c in given])
    found = [f for f in labels.find(subject) if f.kind == labels.LABEL]
    assert {int(f.paths[0].split("/")[1].split(".")[0]) for f in found} == set(wrong.tolist())


def test_two_names_of_one_class_are_reported_and_no_other_pair(make_subject: Maker) -> None:
    vectors, truth = clouds()
    names = [f"class {c}" if c or i % 2 else "Class 0" for i, c in enumerate(truth)]
    found = [f for f in labels.find(make_subject(vectors, names)) if f.kind == "same_class"]
    assert [f.label for f in found] == ["Class 0"]
    assert found[0].detail.startswith("may be one class with class 0: a classifier finds the right")


def test_a_class_with_some_photos_of_another_is_not_the_same_class(make_subject: Maker) -> None:
    vectors, truth = clouds()
    given = truth.copy()
    given[:15] = 1  # of 40
    found = labels.find(make_subject(vectors, [f"class {c}" for c in given]))
    assert "same_class" not in {f.kind for f in found}


def test_right_labels_are_left_alone(make_subject: Maker) -> None:
    vectors, truth = clouds()
    assert not list(labels.find(make_subject(vectors, [f"class {c}" for c in truth])))


def test_a_photo_is_judged_by_those_who_have_not_seen_it() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(200, 300)).astype(np.float32)  # noise can be learnt by heart
    classes = np.arange(200) % 2
    folds = np.arange(200) // 2 % 5
    probabilities = labels.CrossValidatedLDA.fit(vectors, classes, folds).predict_proba(
        vectors, folds
    )
    assert probabilities.sum(1) == pytest.approx(1, abs=1e-5)
    assert (probabilities.argmax(1) == classes).mean() < 0.65


def test_tiny_vectors_are_judged_alike() -> None:
    vectors, classes = clouds()
    vectors = (vectors * np.logspace(-2, 2, 16)).astype(np.float32)
    folds = np.arange(len(classes)) % 5
    probabilities, of_tiny = (
        labels.CrossValidatedLDA.fit(scaled, classes, folds).predict_proba(scaled, folds)
        for scaled in (vectors, vectors * np.float32(1e-10))
    )
    assert np.abs(of_tiny - probabilities).max() < 1e-3


def test_a_class_of_one_photo_is_passed_over(make_subject: Maker) -> None:
    vectors, truth = clouds()
    names = [f"class {c}" for c in truth]
    names[0] = "alone"
    found = list(labels.find(make_subject(vectors, names)))
    assert all(f.paths != ("alone/0.png",) for f in found)


def test_one_class_has_no_wrong_labels(make_subject: Maker) -> None:
    vectors, truth = clouds(classes=1)
    assert not list(labels.find(make_subject(vectors, ["one"] * len(truth))))


def test_photos_outside_the_sample_are_judged_as_well(
    make_subject: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[CheckContext.__module__], "MAX_SAMPLE", 400)
    vectors, truth = clouds(each=120)
    given = truth.copy()
    wrong = np.arange(0, len(truth), 20)
    given[wrong] = (truth[wrong] + 1) % 6
    about = make_subject(vectors, [f"class {c}" for c in given])
    assert len(about.sample) < 500
    assert len(about.vectors) == len(about.sample)
    found = list(labels.find(about))
    numbers = {int(f.paths[0].split("/")[1].split(".")[0]) for f in found}
    assert len(numbers & set(wrong.tolist())) >= 0.9 * len(wrong)
    assert len(numbers - set(wrong.tolist())) <= 0.1 * len(wrong)
