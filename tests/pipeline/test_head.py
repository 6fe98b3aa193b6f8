"""The head: at its optimum, balanced, and chosen on validation."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pipeline import head
from pipeline.errors import UserError
from pipeline.head import Head
from pipeline.rows import Rows


def rows(n: int, classes: int, seed: int, features: int = 20, noise: float = 2.0) -> Rows:
    """Noisy points around a centre for each class, on features of very different scales."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(size=(classes, features))
    numbers = generator.integers(0, classes, n)
    points = centres[numbers] + noise * generator.normal(size=(n, features))
    scales = np.logspace(-2, 2, features)
    labels = np.array([f"class {number}" for number in numbers], dtype=object)
    names = [f"{i}.jpg" for i in range(n)]
    return Rows((points * scales).astype(np.float32), labels, names, names)


NOTHING = Rows(np.empty((0, 20), np.float32), np.empty(0, dtype=object), [], [])


def accuracy(trained: Head, test: Rows) -> float:
    answers = np.array(trained.labels)[trained.probabilities(test.vectors).argmax(1)]
    return float((answers == test.labels).mean())


@pytest.mark.parametrize("l2", [0.1, 0.001])
def test_the_optimum_is_scikit_learns(l2: float) -> None:
    training, test = rows(400, 4, 2), rows(200, 4, 3)
    trained, _ = head.train(training, NOTHING, head.NONE, l2)
    mean, deviation = training.vectors.mean(0), training.vectors.std(0)
    reference = LogisticRegression(C=1 / (l2 * 400), tol=1e-8, max_iter=10_000)
    reference.fit((training.vectors - mean) / deviation, training.labels.astype(str))
    expected = reference.predict_proba((test.vectors - mean) / deviation)
    assert np.abs(trained.probabilities(test.vectors) - expected).max() < 0.005


def test_balanced_weighting_is_scikit_learns_too() -> None:
    training = rows(600, 3, 4)
    keep = (training.labels != "class 0") | (np.arange(600) % 10 == 0)
    training = training.where(keep)
    trained, _ = head.train(training, NOTHING, head.BALANCED, 0.01)
    scaled = (training.vectors - training.vectors.mean(0)) / training.vectors.std(0)
    reference = LogisticRegression(
        C=1 / (0.01 * keep.sum()), class_weight="balanced", tol=1e-8, max_iter=10_000
    ).fit(scaled, training.labels.astype(str))
    expected = reference.predict_proba(scaled)
    assert np.abs(trained.probabilities(training.vectors) - expected).max() < 0.005


def test_balanced_weighting_finds_more_of_a_rare_class() -> None:
    training, test = rows(600, 2, 5, noise=6), rows(400, 2, 6, noise=6)
    keep = (training.labels != "class 0") | (np.arange(600) % 20 == 0)
    training = training.where(keep)
    rare = test.of(("class 0",))
    balanced, _ = head.train(training, NOTHING, head.BALANCED, 0.1)
    plain, _ = head.train(training, NOTHING, head.NONE, 0.1)
    assert accuracy(balanced, rare) > accuracy(plain, rare) + 0.1


def test_the_strength_with_the_best_validation_accuracy_is_kept() -> None:
    validation = rows(300, 5, 8, noise=4)
    trained, training = head.train(rows(80, 5, 7, noise=4), validation)
    best = max(step.validation_accuracy or 0 for step in training.path)
    assert accuracy(trained, validation) == pytest.approx(best)
    assert len(training.path) > 1
    assert training.l2 in [step.l2 for step in training.path]


def test_the_choice_is_worth_having() -> None:
    training, validation, test = (rows(n, 5, s, noise=4) for n, s in ((80, 7), (300, 8), (500, 9)))
    chosen, _ = head.train(training, validation)
    weakest, _ = head.train(training, validation, l2=head.L2_PATH[-1])
    assert accuracy(chosen, test) > accuracy(weakest, test) + 0.02


def test_without_validation_the_default_strength_is_taken_and_said() -> None:
    _, training = head.train(rows(60, 3, 7), NOTHING)
    assert training.l2 == head.DEFAULT_L2
    assert any("no validation photo" in line for line in head.remarks(training))


def test_labels_are_those_with_training_photos_in_alphabetical_order() -> None:
    training = rows(60, 3, 7)
    validation = rows(60, 4, 8)
    trained, record = head.train(training, validation)
    assert trained.labels == ("class 0", "class 1", "class 2")
    assert record.validation == np.isin(validation.labels, trained.labels).sum() < 60


@pytest.mark.parametrize("l2", [-1, float("nan"), float("inf")])
def test_an_impossible_strength_is_refused(l2: float) -> None:
    with pytest.raises(UserError, match="it must be 0, which chooses it, or a positive number"):
        head.train(rows(60, 3, 7), NOTHING, l2=l2)


def test_one_class_is_refused() -> None:
    with pytest.raises(UserError, match="only 1 class"):
        head.train(rows(60, 3, 7).of(("class 1",)), NOTHING)


def test_training_twice_gives_the_same_numbers() -> None:
    first, _ = head.train(rows(80, 3, 7), rows(40, 3, 8))
    second, _ = head.train(rows(80, 3, 7), rows(40, 3, 8))
    assert np.array_equal(first.weights, second.weights)


def test_a_feature_that_never_varies_does_no_harm() -> None:
    training = rows(80, 3, 7)
    training.vectors[:, 3] = 7
    trained, _ = head.train(training, NOTHING)
    assert np.isfinite(trained.weights).all()


def test_probabilities_are_finite_and_sum_to_one_for_large_logits() -> None:
    large = Head(("a", "b"), np.array([[1e4, -1e4]], np.float32), np.zeros(2, np.float32))
    given = large.probabilities(np.array([[1.0], [-1.0], [0.0]], np.float32))
    assert np.allclose(given, [[1, 0], [0, 1], [0.5, 0.5]])


def test_a_head_is_read_as_it_was_written(tmp_path: Path) -> None:
    trained, training = head.train(rows(60, 3, 7), NOTHING)
    head.write(trained, training, tmp_path / "head")
    read = head.read(tmp_path / "head")
    assert read.labels == trained.labels
    assert np.array_equal(read.weights, trained.weights)
    assert np.array_equal(read.bias, trained.bias)
    assert '"l2": 0.01' in (tmp_path / "head/training.json").read_text()
