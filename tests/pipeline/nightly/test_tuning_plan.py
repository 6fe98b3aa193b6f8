"""Which module a night uses, and whether it is fine-tuned."""

import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.bottlenecks import recipe
from pipeline.bottlenecks.recipe import Recipe
from pipeline.modules.loading import Module
from pipeline.nightly import history, promotion, tuning_plan
from pipeline.nightly.history import Night
from pipeline.nightly.tuning_plan import TuningPlan
from tests.support.store import saved

FIRST = datetime.date(2026, 11, 1)


def add_night(
    out: Path, day: int, name: str, tuned: bool, promote: bool = True, handle: str = ""
) -> str:
    """Record a night whose model has a fine-tuned module; return the module's folder."""
    folder = out / "tuned" / name / "lite"
    folder.mkdir(parents=True, exist_ok=True)
    module = Module("lite", str(folder), name, 8, 8, 6, tuned_from="lite", tuned_epochs=3)
    model = out / "models" / f"model-{name}-{day}"
    model.mkdir(parents=True)
    saved(model)
    recipe.write(Recipe(module, "float32", "float16"), model)
    date = (FIRST + datetime.timedelta(day)).isoformat()
    outcome = history.PROMOTED if promote else history.REFUSED
    recorded = tuning_plan.recorded_name(out, module)
    night = Night(date, outcome, "", model=model.name, module=recorded, tuned=tuned, handle=handle)
    move = promotion.promote(out, model, promotion.NIGHTLY) if promote else None
    history.add(out, night, move)
    return str(folder)


def plan(
    out: Path, day: int, every: int = 3, handle: str = "lite", image_size: int = 0
) -> TuningPlan:
    return tuning_plan.plan(out, FIRST + datetime.timedelta(day), every, handle, image_size)


def test_the_first_night_tunes_the_module_of_the_user(tmp_path: Path) -> None:
    assert plan(tmp_path, 0) == TuningPlan("lite", tune=True)


def test_nights_between_use_the_tuned_module_and_the_next_one_starts_from_it(
    tmp_path: Path,
) -> None:
    tuned = add_night(tmp_path, 0, "one", tuned=True)
    assert plan(tmp_path, 2) == TuningPlan(tuned, tune=False)
    assert plan(tmp_path, 3) == TuningPlan(tuned, tune=True)
    assert plan(tmp_path, 1, every=1) == TuningPlan(tuned, tune=True)


def test_a_night_that_is_run_again_does_not_tune_again(tmp_path: Path) -> None:
    add_night(tmp_path, 0, "one", tuned=True)
    rejected = add_night(tmp_path, 3, "two", tuned=True, promote=False)
    assert plan(tmp_path, 3) == TuningPlan(rejected, tune=False)


def test_after_a_rejection_or_a_rollback_the_earlier_module_is_used(tmp_path: Path) -> None:
    one = add_night(tmp_path, 0, "one", tuned=True)
    add_night(tmp_path, 3, "two", tuned=True, promote=False)
    assert plan(tmp_path, 4) == TuningPlan(one, tune=False)
    three = add_night(tmp_path, 6, "three", tuned=True)
    assert plan(tmp_path, 7) == TuningPlan(three, tune=False)
    promotion.rollback(tmp_path)
    assert plan(tmp_path, 7) == TuningPlan(one, tune=False)


def test_another_module_of_the_user_is_not_replaced(tmp_path: Path) -> None:
    add_night(tmp_path, 0, "one", tuned=True)
    assert plan(tmp_path, 1, handle="other") == TuningPlan("other", tune=False)


def test_the_module_of_the_user_may_be_a_fine_tuned_one(tmp_path: Path) -> None:
    tuned = add_night(tmp_path, 0, "one", tuned=True, handle="fine-tuned elsewhere")
    assert plan(tmp_path, 1, handle="fine-tuned elsewhere") == TuningPlan(tuned, tune=False)
    assert plan(tmp_path, 1, handle="lite") == TuningPlan("lite", tune=False)


def test_another_size_of_the_user_needs_the_module_of_the_user(tmp_path: Path) -> None:
    tuned = add_night(tmp_path, 0, "one", tuned=True)
    assert plan(tmp_path, 1, image_size=8) == TuningPlan(tuned, tune=False)
    assert plan(tmp_path, 1, image_size=9) == TuningPlan("lite", tune=False)


def test_the_output_folder_can_be_moved(tmp_path: Path) -> None:
    add_night(tmp_path / "out", 0, "one", tuned=True)
    (tmp_path / "out").rename(tmp_path / "moved")
    moved = str(tmp_path / "moved/tuned/one/lite")
    assert plan(tmp_path / "moved", 0) == TuningPlan(moved, tune=False)
    assert plan(tmp_path / "moved", 1) == TuningPlan(moved, tune=False)


def test_a_deleted_module_is_replaced_by_that_of_the_user(tmp_path: Path) -> None:
    tuned = Path(add_night(tmp_path, 0, "one", tuned=True))
    tuned.rmdir()
    assert plan(tmp_path, 1) == TuningPlan("lite", tune=False)


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({}, ""),
        ({"handle": "renamed"}, ""),
        ({"digest": "two"}, "the content of the module lite changed"),
        (
            {"handle": "large", "digest": "two", "height": 9, "width": 9},
            "the module changed from lite at 8 x 8 pixels to large at 9 x 9 pixels",
        ),
        (
            {"height": 9, "width": 9},
            "the module changed from lite at 8 x 8 pixels to lite at 9 x 9 pixels",
        ),
        (
            {"image_range": "byte", "output": "x"},
            "options of the module changed: image_range, module_output",
        ),
    ],
)
def test_a_changed_module_is_described(changes: dict[str, Any], note: str) -> None:
    module = Module("lite", "a", "one", 8, 8, 6)
    assert tuning_plan.describe_change(module, replace(module, **changes)) == note


@pytest.mark.parametrize(
    ("tuned_from", "tune", "before", "note"),
    [
        ("", False, (), ""),
        ("", True, (), "the module was fine-tuned without success, and stays as it was"),
        ("lite", True, (), "module lite, fine-tuned tonight (tuned/one)"),
        ("lite", False, ("tuned/one/lite",), "module lite, fine-tuned earlier (tuned/one)"),
        (
            "lite",
            True,
            ("tuned/one/lite",),
            "the module was fine-tuned without success, and stays as it was",
        ),
    ],
)
def test_the_history_names_the_module(
    tuned_from: str, tune: bool, before: tuple[str, ...], note: str, tmp_path: Path
) -> None:
    module = Module("lite", str(tmp_path / "tuned/one/lite"), "one", 8, 8, 6)
    module = replace(module, tuned_from=tuned_from)
    assert tuning_plan.describe(tmp_path, module, tune, before) == note
