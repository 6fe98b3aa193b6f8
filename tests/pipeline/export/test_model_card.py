"""The model card, as JSON and as Markdown."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.export import model_card
from pipeline.export.parity import Parity
from tests.support.store import Store

CALIBRATION = {
    "temperature": 1.3,
    "folded_in": True,
    "expected_calibration_error": {"before": 0.08, "after": 0.02},
    "validation": 30,
    "thresholds": [
        {"precision": 0.9, "threshold": 0.41, "coverage": 0.97},
        {"precision": 0.99, "threshold": None, "coverage": None},
    ],
}


@pytest.fixture
def directory(store: Store) -> Path:
    store.run()
    return store.evaluate().evaluation


def write(directory: Path, store: Store) -> tuple[dict[str, object], str]:
    answers = {"saved_model": Parity(4, 1.0, 0.75)}
    model_card.write(directory, store.recipe, store.summary(), answers)
    card = json.loads((directory / "model_card.json").read_text(encoding="utf-8"))
    return card, (directory / "model_card.md").read_text(encoding="utf-8")


def test_it_says_what_a_user_must_know(directory: Path, store: Store) -> None:
    card, text = write(directory, store)
    assert "Classifies photos into 2 classes" in text
    assert "Top-1 100.0%, top-5 100.0% of 4 test photos" in text
    assert "| saved_model | 4 | 100.0% | 75.0% |" in text
    green, _ = store.summary().classes
    counts = f"{green.training} | {green.validation} | {green.testing}"
    assert f"| green leaf | 100.0% | 100.0% | {counts} |" in text
    assert store.recipe.module.digest in text
    assert "licence: unknown" in text
    assert all(limit in text for limit in model_card.LIMITS)
    assert "## Thresholds" not in text
    assert card["accuracy"] == {"count": 4, "top1": 1.0, "top5": 1.0}


def test_it_tells_a_fine_tuned_module_from_the_original(directory: Path, store: Store) -> None:
    name, plain = "lite, fine-tuned (0123456789ab)", store.recipe.module
    tuned = replace(plain, handle=name, tuned_from="lite", tuned_epochs=3, licence="MIT")
    store.recipe = replace(store.recipe, module=tuned)
    card, text = write(directory, store)
    assert f"of the module {name}." in str(card["description"])
    assert "It was made from lite and has the same licence." in text
    section = text.partition("## Module")[2]
    assert f"\n{name}, licence: MIT. It takes" in section
    assert f"SHA-256 of its content: `{tuned.digest}`" in section


def test_it_shows_thresholds_where_they_were_measured(directory: Path, store: Store) -> None:
    (directory / "calibration.json").write_text(json.dumps(CALIBRATION))
    _, text = write(directory, store)
    assert "on 30 validation photos (temperature 1.3)" in text
    assert "8.0% before, 2.0% after" in text
    assert "| 90.0% | 0.410 | 97.0% |" in text
    assert "| 99.0% | none | - |" in text


def test_it_claims_calibration_only_if_the_temperature_is_folded_in(
    directory: Path, store: Store
) -> None:
    (directory / "calibration.json").write_text(json.dumps(CALIBRATION | {"folded_in": False}))
    _, text = write(directory, store)
    assert "Probabilities are not calibrated." in text
    assert "on 30 validation photos is 8.0%; --calibrate (temperature 1.3)" in text
    assert "are calibrated" not in text


def test_it_tells_how_to_read_known(directory: Path, store: Store) -> None:
    path = directory / "evaluation.json"
    known = {"unknown_rate": 0.05, "lowest": 0.01, "other_class": "", "passed": None}
    figures = json.loads(path.read_text()) | {"unknown": known | {"unknown_count": 0}}
    path.write_text(json.dumps(figures))
    card, text = write(directory, store)
    assert card["known"] == figures["unknown"]
    assert "Photos with at most 5.0% are unlikely to show any of the classes" in text
    assert "so few validation photos" not in text
    assert "photos of something else" not in text
    more = {"lowest": 0.2, "other_class": "sky", "passed": 0.25, "unknown_count": 8}
    path.write_text(json.dumps(figures | {"unknown": known | more}))
    _, text = write(directory, store)
    assert "With so few validation photos, it is never below 20.0%." in text
    assert "Of 8 photos of something else, 25.0% have more." in text
    assert "The class sky stands for other photos" in text


def test_without_test_photos_it_claims_nothing(directory: Path, store: Store) -> None:
    path = directory / "evaluation.json"
    figures = json.loads(path.read_text())
    path.write_text(json.dumps(figures | {"count": 0, "top1": None, "top5": None}))
    assert "its accuracy is unknown" in write(directory, store)[1]


def test_a_label_cannot_break_the_table() -> None:
    assert model_card._table(["class"], [["a|b\nc"]]).splitlines()[2] == "| a\\|b c |"
