"""Calibration: how well a head's probabilities match its accuracy on the validation photos.

Temperature and expected calibration error are those of Guo, Pleiss, Sun and Weinberger, "On
calibration of modern neural networks", 2017.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pipeline.head import softmax

FILE = "calibration.json"
PRECISIONS = (0.90, 0.95, 0.99)
BINS = 15  # of the expected calibration error, as in the paper
_CHUNK = 2048  # photos
_SPAN = np.log(20)  # the temperature is between 1/20 and 20


@dataclass(frozen=True)
class CalibrationError:
    """Expected calibration error, from 0 to 1, before and after temperature scaling."""

    before: float | None = None
    after: float | None = None


@dataclass(frozen=True)
class PrecisionThreshold:
    """The confidence threshold for a precision.

    Attributes:
        precision: share of correct answers among those with at least this confidence.
        threshold: lowest confidence that reaches the precision on the validation photos; None if
            none does with at least 1 / (1 - precision) photos, the minimum for an estimate.
        coverage: share of the validation photos with at least this confidence.
    """

    precision: float
    threshold: float | None = None
    coverage: float | None = None


@dataclass(frozen=True)
class Calibration:
    """The calibration on the validation photos; values are None if there are none.

    Attributes:
        temperature: best divisor of the logits.
        folded_in: whether the head's weights are divided by it.
        expected_calibration_error: without and with the temperature. The latter is slightly
            optimistic, since the temperature is fitted on the same photos.
        validation: number of validation photos.
        thresholds: confidence thresholds of the head as written, that is, with the temperature
            only if it is folded in.
    """

    temperature: float | None = None
    folded_in: bool = False
    expected_calibration_error: CalibrationError = CalibrationError()
    validation: int = 0
    thresholds: tuple[PrecisionThreshold, ...] = tuple(PrecisionThreshold(p) for p in PRECISIONS)


def calibrate(logits: np.ndarray, classes: np.ndarray, fold_in: bool) -> Calibration:
    """Fit the temperature, and find the thresholds.

    Args:
        logits: float32 [n, classes], of the validation photos.
        classes: int64 [n], the true classes.
        fold_in: whether the temperature becomes part of the head.
    """
    if not len(classes):
        return Calibration()
    temperature, _ = fit_temperature(logits, classes)
    before, after = _answers(logits, classes, 1), _answers(logits, classes, temperature)
    errors = CalibrationError(expected_error(*before), expected_error(*after))
    written = after if fold_in else before
    thresholds = tuple(_threshold(*written, precision) for precision in PRECISIONS)
    return Calibration(
        temperature=temperature,
        folded_in=fold_in,
        expected_calibration_error=errors,
        validation=len(classes),
        thresholds=thresholds,
    )


def write(calibration: Calibration, directory: Path) -> None:
    """Write `calibration.json` into an existing folder."""
    (directory / FILE).write_text(json.dumps(asdict(calibration), indent=2) + "\n")


def read(directory: Path) -> Calibration:
    """Read `calibration.json` from the folder of a head."""
    facts = json.loads((directory / FILE).read_text())
    error = CalibrationError(**facts.pop("expected_calibration_error"))
    thresholds = tuple(PrecisionThreshold(**threshold) for threshold in facts.pop("thresholds"))
    return Calibration(**facts, expected_calibration_error=error, thresholds=thresholds)


def summary_lines(calibration: Calibration) -> Iterator[str]:
    """Yield what users should know about the calibration, one line each."""
    error = calibration.expected_calibration_error
    if not calibration.validation:
        return
    photos = f"{calibration.validation:,} validation photos"
    temperature = f"(temperature {calibration.temperature:.2f})"
    if calibration.folded_in:
        yield (
            f"Calibration error on {photos}: {error.after:.3f} {temperature}; before calibration: "
            f"{error.before:.3f}"
        )
    elif error.before is not None and error.after is not None and error.after < error.before:
        yield (
            f"Calibration error on {photos}: {error.before:.3f}; with --calibrate: "
            f"{error.after:.3f} {temperature}"
        )
    else:
        yield f"Calibration error on {photos}: {error.before:.3f}; --calibrate would not reduce it"
    for point in calibration.thresholds:
        if calibration.validation < _least_photos(point.precision):
            yield f"{point.precision:.0%} precision: {photos} are too few to choose a threshold"
        elif point.threshold is None:
            yield f"{point.precision:.0%} precision: no threshold reaches it on {photos}"
        else:
            yield (
                f"{point.precision:.0%} precision at threshold {point.threshold:.3f} (coverage "
                f"{point.coverage:.0%} of {photos})"
            )


def fit_temperature(logits: np.ndarray, classes: np.ndarray) -> tuple[float, float]:
    """Return the temperature with the lowest cross-entropy, and this cross-entropy in nats.

    A prior with the weight of one photo pulls the temperature towards 1: if a few photos are all
    correct, cross-entropy alone would lead to probabilities of exactly 1.
    """
    from scipy.optimize import minimize_scalar

    n = len(classes)
    weights = np.full(_CHUNK, 1 / n, np.float32)

    def loss(log_temperature: float) -> float:
        scale, total = np.float32(np.exp(-log_temperature)), log_temperature**2 / (2 * n)
        for start in range(0, n, _CHUNK):
            chunk = classes[start : start + _CHUNK]
            scaled = logits[start : start + _CHUNK] * scale
            total += softmax.block_loss(scaled, chunk, weights[: len(chunk)], 0)
        return total

    minimum = minimize_scalar(loss, bounds=(-_SPAN, _SPAN), method="bounded")
    return float(np.exp(minimum.x)), float(minimum.fun)


def _answers(
    logits: np.ndarray, classes: np.ndarray, temperature: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the confidence of each photo's best answer, and whether it is correct."""
    log_p = softmax.log_softmax(logits / np.float32(temperature))
    return np.exp(log_p.max(1)), log_p.argmax(1) == classes


def expected_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Return the expected calibration error over bins of equal width.

    Args:
        confidence: probability of each photo's best answer, [n].
        correct: whether this answer is correct, bool [n].
    """
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(bins, weights=confidence - correct, minlength=BINS)
    return float(np.abs(gaps).sum() / len(correct))


def _least_photos(precision: float) -> int:
    """Return how many answers it takes to estimate a precision: one of them may be wrong."""
    return round(1 / (1 - precision))


def _threshold(
    probabilities: np.ndarray, right: np.ndarray, precision: float
) -> PrecisionThreshold:
    order = np.argsort(-probabilities, kind="stable")
    ordered = probabilities[order]
    above = np.arange(1, len(order) + 1)
    good = np.cumsum(right[order]) >= precision * above - 1e-9
    good &= above >= _least_photos(precision)
    good[:-1] &= ordered[1:] < ordered[:-1]  # photos of equal confidence stay together
    if not good.any():
        return PrecisionThreshold(precision)
    last = int(np.flatnonzero(good)[-1])
    return PrecisionThreshold(precision, float(ordered[last]), (last + 1) / len(order))
