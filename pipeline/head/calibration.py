"""How far a head's probabilities can be trusted, told from the validation photos.

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
_BINS = 15
_CHUNK = 2048  # photos
_SPAN = np.log(20)  # the temperature is from a twentieth to twenty


@dataclass(frozen=True)
class CalibrationError:
    """Mean distance of probability from accuracy, from 0 to 1, before and after the temperature."""

    before: float | None = None
    after: float | None = None


@dataclass(frozen=True)
class Threshold:
    """From which probability on best answers are right often enough.

    Attributes:
        precision: share of the answers from the threshold on that are to be right.
        threshold: the lowest that reaches it on the validation photos; None where none does with
            at least 1 / (1 - precision) photos, fewer than which cannot tell.
        coverage: share of the validation photos from the threshold on.
    """

    precision: float
    threshold: float | None = None
    coverage: float | None = None


@dataclass(frozen=True)
class Calibration:
    """What the validation photos say of the probabilities; None where there is none.

    Attributes:
        temperature: that logits are best divided by.
        folded_in: whether the head's weights are already divided by it.
        expected_calibration_error: without the temperature and with it. The latter is a little
            too good, since it is told from the photos that the temperature was fitted on.
        validation: photos that all this was told from.
        thresholds: for the probabilities of the head as it is written, so with the temperature
            only where it is folded in.
    """

    temperature: float | None = None
    folded_in: bool = False
    expected_calibration_error: CalibrationError = CalibrationError()
    validation: int = 0
    thresholds: tuple[Threshold, ...] = tuple(Threshold(p) for p in PRECISIONS)


def calibrate(logits: np.ndarray, classes: np.ndarray, fold_in: bool) -> Calibration:
    """Fit the temperature, and find the thresholds.

    Args:
        logits: float32 [n, classes], of the validation photos.
        classes: int64 [n], the right ones.
        fold_in: whether the temperature becomes part of the head.
    """
    if not len(classes):
        return Calibration()
    temperature, _ = fit_temperature(logits, classes)
    before, after = _answers(logits, classes, 1), _answers(logits, classes, temperature)
    errors = CalibrationError(_expected_error(*before), _expected_error(*after))
    written = after if fold_in else before
    thresholds = tuple(_threshold(*written, precision) for precision in PRECISIONS)
    return Calibration(temperature, fold_in, errors, len(classes), thresholds)


def write(calibration: Calibration, directory: Path) -> None:
    """Write it as `calibration.json` into a folder that is there."""
    (directory / FILE).write_text(json.dumps(asdict(calibration), indent=2) + "\n")


def summary_lines(calibration: Calibration) -> Iterator[str]:
    """What a user should know of it: one line each."""
    error = calibration.expected_calibration_error
    if not calibration.validation:
        return
    how = "which is folded in" if calibration.folded_in else "which --calibrate folds in"
    yield (
        f"Calibration error on the {calibration.validation:,} validation photos: "
        f"{error.before:.3f}, and {error.after:.3f} with temperature "
        f"{calibration.temperature:.2f}, {how}"
    )
    for of in calibration.thresholds:
        if of.threshold is None:
            yield (
                f"{of.precision:.0%} right: no threshold reaches that on enough of the "
                f"{calibration.validation:,} validation photos"
            )
        else:
            yield (
                f"{of.precision:.0%} right: from a probability of {of.threshold:.3f} on, which "
                f"{of.coverage:.0%} of the {calibration.validation:,} validation photos reach"
            )


def fit_temperature(logits: np.ndarray, classes: np.ndarray) -> tuple[float, float]:
    """The temperature with the lowest cross-entropy, and this cross-entropy in nats.

    One photo's weight pulls it towards 1: where few photos are all right, the cross-entropy alone
    would make probabilities of exactly 1, as if that proved that all ever are.
    """
    from scipy.optimize import minimize_scalar

    n = len(classes)
    weights = np.full(_CHUNK, 1 / n, np.float32)

    def loss(log_temperature: float) -> float:
        scale, total = np.float32(np.exp(-log_temperature)), log_temperature**2 / (2 * n)
        for start in range(0, n, _CHUNK):
            of = classes[start : start + _CHUNK]
            scaled = logits[start : start + _CHUNK] * scale
            total += softmax.block_loss(scaled, of, weights[: len(of)], 0)
        return total

    found = minimize_scalar(loss, bounds=(-_SPAN, _SPAN), method="bounded")
    return float(np.exp(found.x)), float(found.fun)


def _answers(
    logits: np.ndarray, classes: np.ndarray, temperature: float
) -> tuple[np.ndarray, np.ndarray]:
    """Probability of each photo's best answer, and whether it is right."""
    log_p = softmax.log_softmax(logits / np.float32(temperature))
    return np.exp(log_p.max(1)), log_p.argmax(1) == classes


def _expected_error(probabilities: np.ndarray, right: np.ndarray) -> float:
    """Over bins of equal width, the mean distance of mean probability and accuracy."""
    bins = np.minimum((probabilities * _BINS).astype(np.int64), _BINS - 1)
    apart = np.bincount(bins, weights=probabilities - right, minlength=_BINS)
    return float(np.abs(apart).sum() / len(right))


def _threshold(probabilities: np.ndarray, right: np.ndarray, precision: float) -> Threshold:
    order = np.argsort(-probabilities, kind="stable")
    ordered = probabilities[order]
    above = np.arange(1, len(order) + 1)
    good = np.cumsum(right[order]) >= precision * above - 1e-9
    good &= above >= round(1 / (1 - precision))
    good[:-1] &= ordered[1:] < ordered[:-1]  # photos that are equally sure stay together
    if not good.any():
        return Threshold(precision)
    most = int(np.flatnonzero(good)[-1])
    return Threshold(precision, float(ordered[most]), (most + 1) / len(order))
