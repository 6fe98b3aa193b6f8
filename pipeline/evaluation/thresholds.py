"""What is gained and lost by leaving out the answers that the model is not sure of."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

_FIXED = (0.5, 0.7, 0.9)  # where the validation photos chose none


@dataclass(frozen=True)
class Threshold:
    """Only answers of at least this probability are taken. Shares are from 0 to 1.

    Attributes:
        threshold: the probability; None where none reached the precision on validation.
        wanted: precision for which it was chosen on the validation photos; None where it is fixed.
        validation_coverage: share of the validation photos that it leaves; None where fixed.
        count: test photos that it leaves.
        coverage: their share of all.
        precision: share of them that is right; None where there are none.
    """

    threshold: float | None
    wanted: float | None
    validation_coverage: float | None
    count: int
    coverage: float | None
    precision: float | None


def measure(head: Path, predictions: pd.DataFrame) -> list[Threshold]:
    """What thresholds do on the test photos.

    Args:
        head: its folder; the thresholds come from its `calibration.json`, where there is one.
        predictions: as `evaluation.predict`.
    """
    calibration = head / "calibration.json"
    chosen = json.loads(calibration.read_text())["thresholds"] if calibration.exists() else []
    if not chosen:
        return [_measured(at, None, None, predictions) for at in _FIXED]
    return [
        _measured(row["threshold"], row["precision"], row["coverage"], predictions)
        for row in chosen
    ]


def _measured(
    at: float | None, wanted: float | None, validation: float | None, predictions: pd.DataFrame
) -> Threshold:
    if at is None:
        return Threshold(None, wanted, validation, 0, None, None)
    scores = np.array([scores[0] for scores in predictions["probabilities"]], float)
    left = predictions["correct"].to_numpy(bool)[scores >= at]
    coverage = len(left) / len(scores) if len(scores) else None
    precision = float(left.mean()) if len(left) else None
    return Threshold(at, wanted, validation, len(left), coverage, precision)
