"""Calibration: temperature, calibration error and thresholds, against cases known beforehand."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.head import calibration
from pipeline.head.calibration import Calibration


def drawn(n: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax at this temperature is exactly how often each class is right."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (n, 4)).astype(np.float32)
    weights = np.exp(logits / temperature)
    chances = (weights / weights.sum(1, keepdims=True)).cumsum(1)
    return logits, (generator.random((n, 1)) > chances).sum(1).clip(0, 3)


def answers(*probabilities: float) -> np.ndarray:
    """Logits of two classes, where the first has these probabilities."""
    p = np.array(probabilities, np.float32)
    return np.log(np.stack([p, 1 - p], 1))


@pytest.mark.parametrize("temperature", [0.4, 1, 3])
def test_the_temperature_that_fits_is_found(temperature: float) -> None:
    found = calibration.calibrate(*drawn(5000, temperature), False)
    assert found.temperature == pytest.approx(temperature, rel=0.1)
    assert found.validation == 5000


def test_the_temperature_brings_probabilities_nearer_to_accuracies() -> None:
    error = calibration.calibrate(*drawn(5000, 3), False).expected_calibration_error
    assert error.before
    assert error.after
    assert error.before > 0.15
    assert error.after < 0.02


def test_the_calibration_error_is_the_distance_of_probability_and_accuracy() -> None:
    logits = answers(0.9, 0.9, 0.9, 0.9, 0.6, 0.6)
    classes = np.array([0, 0, 0, 1, 0, 1])  # 3 of 4 right at 0.9, 1 of 2 at 0.6
    error = calibration.calibrate(logits, classes, False).expected_calibration_error
    assert error.before == pytest.approx((4 * 0.15 + 2 * 0.1) / 6, abs=1e-5)


def test_few_photos_that_are_all_right_do_not_make_a_head_certain() -> None:
    found = calibration.calibrate(answers(0.9, 0.8, 0.7), np.zeros(3, np.int64), False)
    assert found.temperature
    assert 0.1 < found.temperature < 1


def test_a_threshold_is_the_lowest_with_the_wished_precision() -> None:
    probabilities = np.linspace(0.99, 0.51, 100)
    classes = np.array([0] * 50 + [1, 0] * 25)  # the upper half right, then every other one
    found = calibration.calibrate(answers(*probabilities), classes, False).thresholds
    assert [threshold.precision for threshold in found] == [0.90, 0.95, 0.99]
    ninety, ninety_five, ninety_nine = found
    # Of n photos, (n - 50) / 2 are wrong: a tenth at 62, and a twentieth at 54.
    assert ninety.coverage == 0.62
    assert ninety.threshold == pytest.approx(probabilities[61], abs=1e-5)
    assert ninety_five.coverage == 0.54
    assert ninety_nine.threshold is None  # 50 photos cannot tell


def test_photos_that_are_equally_sure_stay_on_one_side_of_a_threshold() -> None:
    logits = answers(*[0.9] * 20, *[0.8] * 20)
    classes = np.array([0] * 20 + [0] * 10 + [1] * 10)
    ninety = calibration.calibrate(logits, classes, False).thresholds[0]
    assert ninety.threshold == pytest.approx(0.9, abs=1e-5)
    assert ninety.coverage == 0.5


def test_where_no_threshold_reaches_a_precision_it_is_said_with_the_number_of_photos() -> None:
    found = calibration.calibrate(answers(*[0.9] * 40), np.array([0, 1] * 20), False)
    assert all(of.threshold is None and of.coverage is None for of in found.thresholds)
    lines = list(calibration.summary_lines(found))
    assert "90% precision: no threshold reaches it on 40 validation photos" in lines


def test_too_few_photos_for_a_threshold_are_reported() -> None:
    found = calibration.calibrate(answers(*[0.9] * 40), np.array([0] * 40), False)
    lines = list(calibration.summary_lines(found))
    assert lines[-1] == "99% precision: 40 validation photos are too few to choose a threshold"


@pytest.mark.parametrize("fold_in", [True, False])
def test_the_summary_says_whether_the_temperature_is_folded_in(fold_in: bool) -> None:
    found = calibration.calibrate(*drawn(500, 0.4), fold_in)
    error, line = found.expected_calibration_error, next(calibration.summary_lines(found))
    assert error.before is not None
    assert error.after is not None
    current, other = (error.after, error.before) if fold_in else (error.before, error.after)
    assert line.startswith(f"Calibration error on 500 validation photos: {current:.3f}")
    assert f"{'before calibration' if fold_in else 'with --calibrate'}: {other:.3f}" in line


def test_calibration_is_not_suggested_where_it_makes_the_error_worse() -> None:
    found = calibration.calibrate(*drawn(500, 0.4), False)
    worse = calibration.CalibrationError(0.111, 0.128)
    found = dataclasses.replace(found, expected_calibration_error=worse)
    line = next(calibration.summary_lines(found))
    assert line.endswith("validation photos: 0.111; --calibrate would not reduce it")


def test_thresholds_are_for_the_probabilities_of_the_head_as_it_is_written() -> None:
    logits, classes = drawn(5000, 0.4)
    plain = calibration.calibrate(logits, classes, False).thresholds[0]
    folded = calibration.calibrate(logits, classes, True)
    scaled = calibration.calibrate(logits / np.float32(folded.temperature), classes, False)
    assert folded.thresholds[0].threshold == pytest.approx(scaled.thresholds[0].threshold)
    assert folded.thresholds[0].threshold != pytest.approx(plain.threshold, abs=0.01)


def test_without_validation_photos_nothing_is_known(tmp_path: Path) -> None:
    nothing = calibration.calibrate(np.empty((0, 2), np.float32), np.empty(0, np.int64), True)
    assert nothing == Calibration()
    assert list(calibration.summary_lines(nothing)) == []
    calibration.write(nothing, tmp_path)
    assert json.loads((tmp_path / "calibration.json").read_text()) == {
        "temperature": None,
        "folded_in": False,
        "expected_calibration_error": {"before": None, "after": None},
        "validation": 0,
        "thresholds": [
            {"precision": 0.9, "threshold": None, "coverage": None},
            {"precision": 0.95, "threshold": None, "coverage": None},
            {"precision": 0.99, "threshold": None, "coverage": None},
        ],
    }


def test_a_calibration_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = calibration.calibrate(*drawn(200, 3), fold_in=True)
    calibration.write(written, tmp_path)
    assert calibration.read(tmp_path) == written
