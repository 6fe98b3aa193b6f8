"""Thresholds: what is left, and how much of it is right."""

import json
from pathlib import Path

import pandas as pd
import pytest

from pipeline.evaluation import thresholds

SAID = pd.DataFrame(
    {"probabilities": [[0.95], [0.8], [0.6], [0.4]], "correct": [True, True, False, False]}
)


def test_thresholds_chosen_on_validation_are_measured(tmp_path: Path) -> None:
    rows = [
        {"precision": 0.9, "threshold": 0.55, "coverage": 0.7},
        {"precision": 0.99, "threshold": None, "coverage": None},
    ]
    (tmp_path / "calibration.json").write_text(json.dumps({"thresholds": rows}))
    found, never = thresholds.measure(tmp_path, SAID)
    assert (found.wanted, found.validation_coverage) == (0.9, 0.7)
    assert (found.count, found.coverage) == (3, 0.75)
    assert found.precision == pytest.approx(2 / 3)
    assert (never.threshold, never.count, never.precision) == (None, 0, None)


def test_without_a_calibration_some_are_shown_as_examples(tmp_path: Path) -> None:
    found = thresholds.measure(tmp_path, SAID)
    assert [(t.threshold, t.count, t.precision) for t in found] == [
        (0.5, 3, pytest.approx(2 / 3)),
        (0.7, 2, 1),
        (0.9, 1, 1),
    ]
    assert thresholds.measure(tmp_path, SAID.head(0))[0].coverage is None
