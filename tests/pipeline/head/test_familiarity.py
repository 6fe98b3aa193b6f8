"""Familiarity: unknown photos get lower scores, and few known ones are rejected."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.head import familiarity, softmax_head, training
from pipeline.head.dataset import in_memory
from pipeline.head.familiarity import Familiarity
from pipeline.head.settings import Settings
from pipeline.head.softmax_head import Head
from tests.support.store import points

Points = tuple[np.ndarray, np.ndarray]


def split(photos: Points, *at: int) -> list[Points]:
    return list(zip(*(np.split(column, at) for column in photos), strict=True))


def trained(photos: Points, validation: Points, **settings: object) -> tuple[Head, Familiarity]:
    given = Settings(**{"l2": 0.01, **settings})  # type: ignore[arg-type]
    head, _ = training.train(in_memory(*photos), in_memory(*validation), given)
    assert head.familiarity
    return head, head.familiarity


def known(head: Head, vectors: np.ndarray) -> np.ndarray:
    fit = head.familiarity
    assert fit
    return fit.known(fit.score(vectors, head.logits(vectors)))


def test_unknown_photos_are_rejected_and_known_ones_are_kept() -> None:
    training_, validation, test = split(points(1200, 4, 1, noise=0.3), 400, 700)
    head, _ = trained(training_, validation)
    rejected = known(head, test[0]) <= 0.05
    assert 0.02 < rejected.mean() < 0.08  # 500 photos: three standard deviations
    assert (known(head, -test[0]) <= 0.05).mean() > 0.95


@pytest.mark.parametrize("count", [0, 7, 18])
def test_few_validation_photos_never_reject_more_than_the_rate(count: int) -> None:
    training_, validation = split(points(200 + count, 3, 2), 200)
    _, fit = trained(training_, validation)
    assert len(fit.levels) == count
    assert fit.known(np.float32([-1e6, 1e6])) == pytest.approx([1 / (1 + count), 1])


def test_large_logits_far_from_all_training_photos_are_not_familiar() -> None:
    training_, validation = split(points(600, 3, 3, noise=0.5), 400)
    head, fit = trained(training_, validation)
    # Along the weights, without the directions that training photos have most of.
    main = fit.directions[:, -10:]
    far = (1000 * (head.weights.T - head.weights.T @ main @ main.T)).astype(np.float32)
    assert head.logits(far).max() > head.logits(training_[0]).max()
    assert (known(head, far) <= 0.05).all()


def test_the_other_class_is_unknown_and_no_reference() -> None:
    training_, validation, test = split(points(900, 3, 4), 400, 600)
    head, fit = trained(training_, validation, other_class="class 1")
    assert fit.other == head.labels.index("class 1")
    assert fit.references.shape[1] == (training_[1] != "class 1").sum()
    assert len(fit.levels) == (validation[1] != "class 1").sum()
    is_other = head.logits(test[0]).argmax(1) == fit.other
    assert is_other.any()
    assert ((known(head, test[0]) == 0) == is_other).all()
    with pytest.raises(UserError, match="other_class is 'rose', which is not a class"):
        trained(training_, validation, other_class="rose")


@pytest.mark.parametrize("other_class", ["", "class 1"])
def test_two_classes_are_enough(other_class: str) -> None:
    training_, validation, test = split(points(900, 2, 8, noise=0.5), 300, 600)
    head, _ = trained(training_, validation, other_class=other_class)
    shares, is_other = known(head, test[0]), test[1] == other_class
    assert 0.01 < (shares[~is_other] <= 0.05).mean() < 0.11  # 150 photos at least
    assert (shares[is_other] == 0).all()


def test_memory_is_bounded_and_every_class_has_references(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(familiarity, "MAX_REFERENCES", 30)
    monkeypatch.setattr(familiarity, "MAX_DIRECTIONS", 8)
    monkeypatch.setattr(familiarity, "MAX_LEVELS", 50)
    (vectors, labels), validation = split(points(500, 3, 5), 300)
    rare = (labels != "class 0") | (np.arange(len(labels)) % 15 == 0)
    _, fit = trained((vectors[rare], labels[rare]), validation)
    assert fit.directions.shape == (20, 8)
    assert fit.references.shape == (8, 30)
    assert len(fit.levels) == 50
    classes = np.unique(labels[rare], return_inverse=True)[1]
    counts = np.bincount(classes[familiarity._sample(classes, -1)])
    assert counts[0] == (labels[rare] == "class 0").sum() < 10
    assert sorted(counts[1:]) == [(30 - counts[0]) // 2, (31 - counts[0]) // 2]


def test_calibration_does_not_change_what_is_known() -> None:
    training_, validation, test = split(points(600, 3, 6), 300, 500)
    plain, calibrated = (trained(training_, validation, calibrate=c)[0] for c in (False, True))
    assert np.abs(known(plain, test[0]) - known(calibrated, test[0])).max() < 0.02


def test_it_is_written_with_the_head(tmp_path: Path) -> None:
    training_, validation = split(points(200, 3, 7), 150)
    head, record = training.train(in_memory(*training_), in_memory(*validation), Settings(l2=0.1))
    softmax_head.write(head, record, tmp_path / "head")
    read = softmax_head.read(tmp_path / "head")
    assert np.array_equal(known(read, validation[0]), known(head, validation[0]))
    softmax_head.write(replace(head, familiarity=None), record, tmp_path / "earlier")
    assert softmax_head.read(tmp_path / "earlier").familiarity is None
    (tmp_path / "head" / familiarity.FILE).write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"familiarity\.npz is damaged .*delete .*head"):
        softmax_head.read(tmp_path / "head")
