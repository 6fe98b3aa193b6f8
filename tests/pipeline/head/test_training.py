"""The head: at its optimum, balanced, and chosen on validation."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pipeline.errors import UserError
from pipeline.head import dataset, l2_path, softmax_head, training
from pipeline.head.dataset import BatchIterator, Blocking, in_memory
from pipeline.head.settings import NONE, Settings, Sgd
from pipeline.head.softmax_head import Head, TrainingRecord
from tests.support.store import points

Points = tuple[np.ndarray, np.ndarray]
NOTHING: Points = (np.empty((0, 20), np.float32), np.empty(0, dtype=object))


def train(
    photos: Points, validation: Points = NOTHING, tuned: Head | None = None, **settings: object
) -> tuple[Head, TrainingRecord]:
    batches = in_memory(*photos), in_memory(*validation)
    return training.train(*batches, Settings(**settings), tuned=tuned)  # type: ignore[arg-type]


def rare(given: Points, every: int) -> Points:
    """The same points with but few of the first class."""
    keep = (given[1] != "class 0") | (np.arange(len(given[1])) % every == 0)
    return given[0][keep], given[1][keep]


def accuracy(trained: Head, test: Points) -> float:
    answers = np.array(trained.labels)[trained.probabilities(test[0]).argmax(1)]
    return float((answers == test[1]).mean())


@pytest.mark.parametrize("l2", [0.1, 0.001])
def test_the_optimum_is_scikit_learns(l2: float) -> None:
    (vectors, labels), (others, _) = points(400, 4, 2), points(200, 4, 3)
    trained, _ = train((vectors, labels), class_weighting=NONE, l2=l2)
    mean, deviation = vectors.mean(0), vectors.std(0)
    reference = LogisticRegression(C=1 / (l2 * 400), tol=1e-8, max_iter=10_000)
    reference.fit((vectors - mean) / deviation, labels.astype(str))
    expected = reference.predict_proba((others - mean) / deviation)
    assert np.abs(trained.probabilities(others) - expected).max() < 0.005


def test_balanced_weighting_is_scikit_learns_too() -> None:
    vectors, labels = rare(points(600, 3, 4), 10)
    trained, _ = train((vectors, labels), l2=0.01)
    scaled = (vectors - vectors.mean(0)) / vectors.std(0)
    reference = LogisticRegression(
        C=1 / (0.01 * len(labels)), class_weight="balanced", tol=1e-8, max_iter=10_000
    ).fit(scaled, labels.astype(str))
    expected = reference.predict_proba(scaled)
    assert np.abs(trained.probabilities(vectors) - expected).max() < 0.005


def test_balanced_weighting_and_class_weights_find_more_of_a_rare_class() -> None:
    photos = rare(points(600, 2, 5, noise=6), 20)
    vectors, labels = points(400, 2, 6, noise=6)
    test = vectors[labels == "class 0"], labels[labels == "class 0"]
    balanced, _ = train(photos, l2=0.1)
    plain, _ = train(photos, class_weighting=NONE, l2=0.1)
    table = {"class_weighting": NONE, "class_weights": (("class 0", 20.0),)}
    weighted, _ = train(photos, l2=0.1, **table)
    assert accuracy(balanced, test) > accuracy(plain, test) + 0.1
    assert accuracy(weighted, test) > accuracy(plain, test) + 0.1


def test_label_smoothing_makes_a_head_less_sure() -> None:
    photos = points(200, 3, 5, noise=0.5)
    sure, _ = train(photos, l2=0.001)
    smooth, _ = train(photos, l2=0.001, label_smoothing=0.2)
    assert smooth.probabilities(photos[0]).max() < sure.probabilities(photos[0]).max() - 0.05


def test_validation_photos_are_trained_on_in_the_end() -> None:
    photos, validation = points(60, 4, 7, noise=3), points(300, 4, 8, noise=3)
    trained, record = train(photos, validation)
    both = (np.concatenate(pair) for pair in zip(photos, validation, strict=True))
    expected, _ = train(tuple(both), l2=record.l2)  # type: ignore[arg-type]
    test = points(500, 4, 9, noise=3)
    apart = trained.probabilities(test[0]) - expected.probabilities(test[0])
    assert np.abs(apart).mean() < 0.02  # the scaling is that of the training photos
    alone, _ = train(photos, l2=record.l2)
    assert accuracy(trained, test) > accuracy(alone, test)


def test_what_is_said_of_validation_is_said_of_a_head_that_had_not_seen_it() -> None:
    photos, validation = points(60, 4, 7, noise=3), points(300, 4, 8, noise=3)
    trained, record = train(photos, validation)
    (kept,) = (trial for trial in record.path if trial.l2 == record.l2)
    alone, _ = train(photos, l2=record.l2)
    assert kept.validation_accuracy == pytest.approx(accuracy(alone, validation), abs=0.01)
    assert accuracy(trained, validation) > accuracy(alone, validation) + 0.03


def test_without_validation_the_default_strength_is_taken_and_said() -> None:
    _, record = train(points(60, 3, 7))
    assert record.l2 == l2_path.DEFAULT_L2
    assert any("no validation photo" in line for line in training.warnings(record))
    assert record.calibration.temperature is None


def test_labels_are_those_with_training_photos_in_alphabetical_order() -> None:
    validation = points(60, 4, 8)
    trained, record = train(points(60, 3, 7), validation)
    assert trained.labels == ("class 0", "class 1", "class 2")
    assert record.validation == np.isin(validation[1], trained.labels).sum() < 60


def test_one_class_and_none_are_refused() -> None:
    vectors, labels = points(60, 3, 7)
    with pytest.raises(UserError, match="only 1 class"):
        train((vectors[labels == "class 1"], labels[labels == "class 1"]))
    with pytest.raises(UserError, match="only 0 class"):
        train(NOTHING)


@pytest.mark.parametrize("sgd", [None, Sgd(how_many_training_steps=60)])
def test_training_twice_gives_the_same_numbers(sgd: Sgd | None) -> None:
    first, _ = train(points(80, 3, 7), points(40, 3, 8), sgd=sgd)
    second, _ = train(points(80, 3, 7), points(40, 3, 8), sgd=sgd)
    assert np.array_equal(first.weights, second.weights)


def in_sevens(given: Points) -> BatchIterator:
    return lambda: ((given[0][i : i + 7], given[1][i : i + 7]) for i in range(0, len(given[1]), 7))


@pytest.mark.parametrize("sgd", [None, Sgd(how_many_training_steps=60)])
def test_the_head_does_not_depend_on_batches(
    sgd: Sgd | None,
) -> None:
    photos, validation = points(300, 3, 7, noise=3), points(100, 3, 8, noise=3)
    settings, small = Settings(sgd=sgd), Blocking(rows=32)
    whole, _ = training.train(in_memory(*photos), in_memory(*validation), settings, blocking=small)
    again, _ = training.train(in_sevens(photos), in_sevens(validation), settings, blocking=small)
    assert np.array_equal(whole.weights, again.weights)
    assert np.array_equal(whole.bias, again.bias)


def test_steps_do_not_depend_on_what_is_kept() -> None:
    parts = in_memory(*points(300, 3, 7, noise=3)), in_memory(*points(100, 3, 8, noise=3))
    settings = Settings(sgd=Sgd(how_many_training_steps=60))
    kept, _ = training.train(*parts, settings, blocking=Blocking(rows=32))
    streamed, _ = training.train(*parts, settings, blocking=Blocking(rows=32, cached_bytes=0))
    assert np.array_equal(kept.weights, streamed.weights)


def test_where_photos_are_not_kept_the_optimum_is_found_in_few_passes() -> None:
    generator = np.random.default_rng(0)
    hidden, labels = points(8000, 3, 7, noise=3)
    mixed = (hidden / hidden.std(0)) @ generator.normal(size=(20, 20)) ** 3
    given = mixed.astype(np.float32), labels
    kept, of_kept = train(given, l2=0.001)
    quarter = Blocking(rows=32, cached_bytes=given[0].nbytes // 4)
    streamed, of_streamed = training.train(
        in_memory(*given), in_memory(*NOTHING), Settings(l2=0.001), blocking=quarter
    )
    assert np.abs(streamed.weights - kept.weights).max() < 0.05 * np.abs(kept.weights).max()
    (one,), (other,) = of_kept.path, of_streamed.path
    assert other.training_cross_entropy == pytest.approx(one.training_cross_entropy, rel=1e-3)
    assert other.iterations < one.iterations / 2


@pytest.mark.parametrize("sgd", [None, Sgd(how_many_training_steps=300)])
@pytest.mark.parametrize("each", [1, 2, 19])
def test_few_photos_a_class_train(each: int, sgd: Sgd | None) -> None:
    vectors, labels = points(400, 3, 7, noise=0.5)
    few = np.concatenate([np.flatnonzero(labels == name)[:each] for name in np.unique(labels)])
    trained, record = train((vectors[few], labels[few]), sgd=sgd)
    assert record.training == 3 * each
    assert accuracy(trained, (vectors, labels)) > 0.8


@pytest.mark.parametrize("sgd", [None, Sgd(how_many_training_steps=300, learning_rate=1e-4)])
def test_the_penalty_pulls_towards_a_tuned_head(sgd: Sgd | None) -> None:
    tuned, _ = train(points(4000, 3, 7))
    few, test = points(9, 3, 8), points(1000, 3, 9)
    alone, _ = train(few, l2=100, sgd=sgd)
    pulled, _ = train(few, tuned=tuned, l2=100, sgd=sgd)
    assert accuracy(pulled, test) == pytest.approx(accuracy(tuned, test), abs=0.02)
    assert accuracy(alone, test) < accuracy(tuned, test) - 0.05
    free, _ = train(few, tuned=tuned, l2=1e-4)
    assert (
        np.abs(free.weights - tuned.weights).max()
        > 10 * np.abs(pulled.weights - tuned.weights).max()
    )


def test_classes_that_a_tuned_head_lacks_are_learnt() -> None:
    vectors, labels = points(600, 4, 7)
    first = np.isin(labels, ["class 1", "class 3"])
    tuned, _ = train((vectors[first], labels[first]))
    trained, _ = train((vectors, labels), points(200, 4, 8), tuned=tuned)
    alone, _ = train((vectors, labels), points(200, 4, 8))
    test = points(2000, 4, 9)
    assert trained.labels == ("class 0", "class 1", "class 2", "class 3")
    assert accuracy(trained, test) > accuracy(alone, test) - 0.02


def test_one_photo_in_validation_is_enough_to_go_on() -> None:
    vectors, labels = points(1, 3, 8)
    trained, record = train(points(60, 3, 7), (vectors, labels))
    assert record.validation == 1
    assert record.calibration.temperature
    assert np.isfinite(trained.weights).all()


@pytest.mark.parametrize("sgd", [None, Sgd(how_many_training_steps=300)])
def test_two_classes_train(sgd: Sgd | None) -> None:
    trained, _ = train(points(60, 2, 7, noise=1), points(20, 2, 8, noise=1), sgd=sgd)
    assert trained.weights.shape == (20, 2)
    assert accuracy(trained, points(200, 2, 9, noise=1)) > 0.95


def test_a_thousand_classes_train() -> None:
    photos, validation = points(8000, 1000, 7, noise=0.3), points(500, 1000, 8, noise=0.3)
    trained, _ = train(photos, validation, l2=0.01)
    assert len(trained.labels) == 1000
    assert accuracy(trained, points(1000, 1000, 9, noise=0.3)) > 0.8


def test_features_that_hardly_vary_do_little_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_noise(given: Points) -> Points:
        noise = np.random.default_rng(len(given[1])).normal(0, 1e-3, (len(given[1]), 300))
        return np.concatenate([given[0], noise.astype(np.float32)], axis=1), given[1]

    few, test = with_noise(points(15, 3, 7)), with_noise(points(1000, 3, 9))
    held = accuracy(train(few, l2=0.1)[0], test)
    monkeypatch.setattr(dataset, "LEAST_DEVIATION", 0.0)
    assert held > accuracy(train(few, l2=0.1)[0], test) + 0.05


def test_a_feature_that_never_varies_does_no_harm() -> None:
    vectors, labels = points(80, 3, 7)
    vectors[:, 3] = 7
    trained, _ = train((vectors, labels))
    assert np.isfinite(trained.weights).all()


def test_the_temperature_is_folded_in_on_request_and_changes_no_answer() -> None:
    photos, validation = points(80, 3, 7, noise=4), points(200, 3, 8, noise=4)
    plain, record = train(photos, validation)
    folded, again = train(photos, validation, calibrate=True)
    temperature = record.calibration.temperature
    assert temperature
    assert not record.calibration.folded_in
    assert again.calibration.folded_in
    assert again.calibration.temperature == temperature
    assert np.allclose(folded.weights * temperature, plain.weights, rtol=1e-4, atol=1e-6)
    assert np.allclose(folded.bias * temperature, plain.bias, rtol=1e-4, atol=1e-5)


def test_probabilities_are_finite_and_sum_to_one_for_large_logits() -> None:
    large = Head(("a", "b"), np.array([[1e4, -1e4]], np.float32), np.zeros(2, np.float32))
    given = large.probabilities(np.array([[1.0], [-1.0], [0.0]], np.float32))
    assert np.allclose(given, [[1, 0], [0, 1], [0.5, 0.5]])


def test_a_damaged_head_is_named(tmp_path: Path) -> None:
    softmax_head.write(*train(points(60, 3, 7), points(30, 3, 8)), tmp_path / "head")
    damaged = tmp_path / "head/head.npz"
    content = bytearray(damaged.read_bytes())
    content[content.index(b"weights") + 200] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(UserError, match=f"{damaged} is damaged .*delete {damaged.parent}, and run"):
        softmax_head.read(tmp_path / "head")
    damaged.write_bytes(content[:100])
    with pytest.raises(UserError, match=f"{damaged} is damaged"):
        softmax_head.read(tmp_path / "head")


def test_a_head_is_read_as_it_was_written(tmp_path: Path) -> None:
    trained, record = train(points(60, 3, 7), points(30, 3, 8))
    softmax_head.write(trained, record, tmp_path / "head")
    read = softmax_head.read(tmp_path / "head")
    assert read.labels == trained.labels
    assert np.array_equal(read.weights, trained.weights)
    assert np.array_equal(read.bias, trained.bias)
    facts = json.loads((tmp_path / "head/training.json").read_text())
    assert facts["l2"] == record.l2
    assert facts["path"][0]["l2"] == 1
    assert "calibration" not in facts
    told = json.loads((tmp_path / "head/calibration.json").read_text())
    assert told["validation"] == 30


def test_the_summary_counts_the_photos_that_the_final_head_is_trained_on() -> None:
    photos, others = points(100, 2, 2), points(30, 2, 3)

    def summary(validation: Points, **settings: object) -> str:
        _, record = train(photos, validation, **settings)
        return next(training.summary_lines(record, Settings(**settings)))  # type: ignore[arg-type]

    including = "Head: trained on 130 photos, including 30 validation photos; L2 strength"
    chosen = summary(others)
    assert chosen.startswith(including)
    assert chosen.endswith("chosen on 30 validation photos")
    assert summary(others, l2=0.1) == f"{including} 0.1"
    assert summary(NOTHING) == f"Head: trained on 100 photos; L2 strength {l2_path.DEFAULT_L2}"
    assert summary(others, sgd=Sgd(how_many_training_steps=5)).startswith(
        "Head: trained on 100 photos; L2 strength"
    )


@pytest.mark.parametrize("value", [0, 0.3])
def test_equal_vectors_are_refused(value: float) -> None:
    vectors, labels = points(60, 3, 1)
    equal = np.full_like(vectors, value)
    equal[::2] *= np.float32(1 + 3e-7)  # as processors round
    with pytest.raises(UserError, match="vectors of all 60 training photos are equal, so the cla"):
        train((equal, labels))


def test_tiny_features_are_as_good_as_large_ones() -> None:
    (vectors, labels), test = points(200, 3, 1), points(200, 3, 2)
    tiny = train((vectors * np.float32(1e-10), labels), l2=0.1)[0]
    large = train((vectors, labels), l2=0.1)[0]
    assert accuracy(large, test) > 0.8
    assert accuracy(tiny, (test[0] * np.float32(1e-10), test[1])) == accuracy(large, test)
