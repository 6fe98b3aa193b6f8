"""EvaluateModel: what it says about unknown photos, and what runs again for it."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import UserError
from tasks import ComputeUnknown, EvaluateModel, TrainHead
from tasks.step import Pending, fetch
from tests.support.commands import run
from tests.support.photos import PhotoMaker


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


def test_another_rate_evaluates_again_and_trains_nothing(options: dict[str, Any]) -> None:
    run(EvaluateModel(**options))
    assert TrainHead(**options).complete()
    changed = EvaluateModel(**options, unknown_rate=0.2)
    assert not changed.complete()
    run(changed)
    assert unknown_figures(changed)["unknown_rate"] == 0.2
    assert not TrainHead(**options, other_class="red_rose").complete()


def test_impossible_options_are_refused(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown_rate is 1; it must be at least 0 and below 1"):
        EvaluateModel(**options, unknown_rate=1.0)
    task = ComputeUnknown(
        image_dir=options["image_dir"],
        output_dir=options["output_dir"],
        tfhub_module=options["tfhub_module"],
        unknown_dir=str(tmp_path / "nowhere"),
    )
    assert isinstance(task.output(), Pending)
    with pytest.raises(UserError, match=r"unknown_dir: no photos at .*nowhere"):
        task.work()
