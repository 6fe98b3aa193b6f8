"""EvaluateModel: what it says about unknown photos, and what runs again for it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import UserError
from tasks import ComputeUnknown, EvaluateModel, TrainHead, evaluate_model
from tasks.step import fetch
from tests.support.commands import run
from tests.support.photos import PhotoMaker
from tests.support.steps import Pipeline


def unknown_figures(task: EvaluateModel) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((fetch(task.output()) / "evaluation.json").read_text())
    return dict(found["unknown"])


def test_unknown_photos_are_measured_and_train_nothing(
    options: dict[str, Any], tmp_path: Path, make_photo: PhotoMaker
) -> None:
    run(EvaluateModel(**options))
    for number in range(3):
        make_photo(tmp_path / f"strange/{number}.png", 2, number)
    given = {**options, "unknown_dir": str(tmp_path / "strange")}
    head = fetch(TrainHead(**options).output())
    assert not EvaluateModel(**given).complete()
    run(EvaluateModel(**given))
    assert [path.name for path in (tmp_path / "out/heads").iterdir()] == [head.name]
    assert unknown_figures(EvaluateModel(**options))["unknown_count"] == 0
    assert unknown_figures(EvaluateModel(**given))["unknown_count"] == 3
    page = (fetch(EvaluateModel(**given).output()) / "report.html").read_text()
    assert "Of 3 unknown photos" in page
    assert "ComputeUnknown" in page


def test_another_rate_evaluates_again_and_trains_nothing(options: dict[str, Any]) -> None:
    run(EvaluateModel(**options))
    assert TrainHead(**options).complete()
    changed = EvaluateModel(**options, unknown_rate=0.2)
    assert not changed.complete()
    run(changed)
    assert unknown_figures(changed)["unknown_rate"] == 0.2
    assert not TrainHead(**options, other_class="red_rose").complete()


def test_misclassified_photos_are_printed_though_the_evaluation_exists(
    options: dict[str, Any], mislabel: Callable[[], None]
) -> None:
    mislabel()
    pipeline = Pipeline(**options, testing_percentage=50)
    pipeline.task_class = EvaluateModel
    assert "EvaluateModel" in pipeline.run()
    evaluate_model._reported.clear()  # as in a new process
    assert pipeline.run() == []
    assert not any("Misclassified" in line for line in pipeline.lines)
    assert pipeline.run(print_misclassified_test_images=True) == []
    named = [line for line in pipeline.lines if line.startswith("Misclassified: ")]
    figures = json.loads((fetch(pipeline.task.output()) / "evaluation.json").read_text())
    assert len(named) == len(figures["misclassified"]) > 0


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("nowhere", r"^unknown_dir: no photos at .*nowhere; pass a folder"),
        ("photos", r"^unknown_dir: .*photos and image_dir .* contain the same photos; set"),
        (".", r"^unknown_dir: .* contain the same photos; set"),
    ],
)
def test_a_folder_that_cannot_have_unknown_photos_is_refused_before_any_work(
    tmp_path: Path, make_photo: PhotoMaker, folder: str, message: str
) -> None:
    make_photo(tmp_path / "photos/rose/1.jpg")
    with pytest.raises(UserError, match=message):
        EvaluateModel(image_dir=tmp_path / "photos", unknown_dir=str(tmp_path / folder))


def test_an_impossible_rate_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="unknown_rate is 1; it must be at least 0 and below 1"):
        EvaluateModel(**options, unknown_rate=1.0)


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("nowhere", r"^unknown_dir: no photos at .*nowhere; pass a folder"),
        ("empty", r"^unknown_dir: no photos at .*empty; pass a folder"),
        ("text", r"^unknown_dir: none of 1 photos is usable; .*note\.jpg: not a readable image"),
    ],
)
def test_a_folder_without_unknown_photos_is_one_clear_error(
    options: dict[str, Any], tmp_path: Path, folder: str, message: str
) -> None:
    for name in ("empty", "text"):
        (tmp_path / name).mkdir()
    (tmp_path / "text/note.jpg").write_text("no photo")
    names = ("image_dir", "output_dir", "tfhub_module")
    task = ComputeUnknown(**{n: options[n] for n in names}, unknown_dir=str(tmp_path / folder))
    run(task.requires())
    assert not task.complete()
    task.reporter = lambda *_: None
    with pytest.raises(UserError, match=message):
        task.work()
