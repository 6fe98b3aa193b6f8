"""Precision/coverage trade-off of confidence thresholds."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

_FIXED = (0.5, 0.7, 0.9)  # if there are none from the validation photos


@dataclass(frozen=True)
class ThresholdResult:
    """The effect of accepting only answers with at least this confidence; shares are from 0 to 1.

    Attributes:
        threshold: the confidence; None if none reaches the precision on the validation photos.
        wanted: precision for which it was chosen on the validation photos; None if it is fixed.
        validation_coverage: share of the validation photos above it; None if it is fixed.
        count: number of test photos above it.
        coverage: their share of all test photos.
        precision: share of correct answers among them; None if there are none.
    """

    threshold: float | None
    wanted: float | None
    validation_coverage: float | None
    count: int
    coverage: float | None
    precision: float | None


def measure(head: Path, predictions: pd.DataFrame) -> list[ThresholdResult]:
    """Measure thresholds on the test photos.

    Args:
        head: folder of the head, whose `calibration.json`, if any, contains the thresholds.
        predictions: result of `metrics.predict`.
    """
    calibration = head / "calibration.json"
    chosen = json.loads(calibration.read_text())["thresholds"] if calibration.exists() else []
    if not chosen:
        return [_measure(threshold, None, None, predictions) for threshold in _FIXED]
    return [
        _measure(row["threshold"], row["precision"], row["coverage"], predictions) for row in chosen
    ]


def _measure(
    threshold: float | None,
    wanted: float | None,
    validation: float | None,
    predictions: pd.DataFrame,
) -> ThresholdResult:
    if threshold is None:
        return ThresholdResult(None, wanted, validation, 0, None, None)
    scores = np.array([scores[0] for scores in predictions["probabilities"]], float)
    accepted = predictions["correct"].to_numpy(bool)[scores >= threshold]
    coverage = len(accepted) / len(scores) if len(scores) else None
    precision = float(accepted.mean()) if len(accepted) else None
    return ThresholdResult(threshold, wanted, validation, len(accepted), coverage, precision)
