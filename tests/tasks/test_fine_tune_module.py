"""Fine-tuning as a step: the result is a module like any other."""

import datetime
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.head import softmax_head
from pipeline.nightly import history
from pipeline.prediction import single
from tasks import NightlyRetrain
from tests.support.photos import PhotoMaker
from tests.support.saved_modules import tunable_module
from tests.support.steps import ALL, Pipeline

OPTIONS = {
    "fine_tune_epochs": 4,
    "fine_tune_learning_rate": 0.05,
    "fine_tune_batch_size": 8,
    "precision": "float32",
    "validation_percentage": 30.0,
    "testing_percentage": 20.0,
}

STRANGER = Path(__file__).parents[1] / "support/stranger.py"

pytestmark = pytest.mark.slow


@pytest.fixture
def pipeline(make_photo: PhotoMaker, tmp_path: Path) -> Pipeline:
    """Return a pipeline on photos of classes that the module mixes up."""
    for hue, label in enumerate(("one", "two", "three")):
        for seed in range(32):
            make_photo(tmp_path / "photos" / label / f"{seed}.jpg", hue, seed)
    return Pipeline(
        image_dir=tmp_path / "photos",
        tfhub_module=str(tunable_module(tmp_path / "mixer")),
        output_dir=tmp_path / "out",
        **OPTIONS,
    )


def record(out: Path) -> dict[str, object]:
    (path,) = out.glob("tuned/*/fine_tuning.json")
    content: dict[str, object] = json.loads(path.read_text())
    return content


def summary_of(out: Path) -> str:
    """Return the sentence about fine-tuning in the evaluation of the current model."""
    evaluation = json.loads((out / "current/evaluation.json").read_text())
    assert evaluation["run"]["fine_tuning"]["verdict"] == record(out)["verdict"]
    return str(evaluation["run"]["fine_tuning"]["summary"])


def test_a_tuned_module_goes_through_all_steps(pipeline: Pipeline, tmp_path: Path) -> None:
    out = tmp_path / "out"
    steps = pipeline.run()
    assert sorted(set(steps)) == sorted([*ALL, "FineTuneModule"])
    assert record(out)["verdict"]["better"]  # type: ignore[index]
    usage = [line for line in pipeline.lines if line.startswith("To use the fine-tuned module")]
    assert len(usage) == 1
    model = json.loads((out / "current/model.json").read_text())
    assert model["module"]["tuned_from"] == str(tmp_path / "mixer")
    (tuned,) = out.glob("tuned/*/*/assets.extra")
    head, start = softmax_head.read(next(out.glob("heads/*/"))), softmax_head.read(tuned)
    assert head.labels == start.labels
    assert np.corrcoef(head.weights.ravel(), start.weights.ravel())[0, 1] > 0.9
    card = (out / "current/model_card.md").read_text()
    assert "The module was fine-tuned for" in card
    assert summary_of(out) in card
    assert f"<dd>{summary_of(out)}</dd>" in (out / "current/report.html").read_text()
    assert any(line == summary_of(out) for line in pipeline.lines)
    for name in ("model.json", "model_card.json", "recipe.json"):
        assert str(out) not in (out / "current" / name).read_text()
    assert len(list(out.glob("bottlenecks/*"))) == 2
    assert not list(out.glob("tuned/.*"))
    assert pipeline.run() == []
    assert "FineTuneModule" in pipeline.run(random_rotation=5)


def test_photos_of_fine_tuning_do_not_count_after_a_change_of_the_split(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    pipeline.run()
    (tuned,) = (tmp_path / "out/tuned").glob("*/")
    for path in (tmp_path / "photos").glob("*/*.jpg"):
        path.rename(path.with_name(f"renamed-{path.name}"))
    pipeline.run(tfhub_module=str(tuned), fine_tune_epochs=0, output_dir=tmp_path / "other")
    figures = json.loads((tmp_path / "other/current/evaluation.json").read_text())
    tested, left_out = figures["count"], figures["left_out"]
    assert min(left_out, tested) > 0
    total = tested + left_out
    warning = f"The module was fine-tuned on {left_out} of {total} test photos, so they do not "
    assert any(line.startswith(warning) for line in pipeline.lines)
    photos = pd.read_parquet(tmp_path / "other/current/photos.parquet")
    assert (photos["split"] == "testing").sum() == tested


def test_the_files_of_a_tuned_model_agree(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.run(tflite="float32,float16", onnx=True)
    model = tmp_path / "out/current"
    parity = json.loads((model / "model.json").read_text())["answers"]
    files = {"saved_model", "output_graph.pb", "model.onnx"}
    assert set(parity) == files | {f"model-{kind}.tflite" for kind in ("float32", "float16")}
    assert {answers["agreement"] for answers in parity.values()} == {1.0}
    photos = [tmp_path / "photos" / label / "0.jpg" for label in ("one", "two", "three")]
    classify = single.load(model)
    ours = [classify(photo.read_bytes()).answers[0][0] for photo in photos]
    command = [sys.executable, "-I", STRANGER, model, *photos]
    done = subprocess.run(
        list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, env={"PATH": ""}
    )
    assert done.returncode == 0, done.stderr
    assert ours == ["one", "two", "three"]
    assert all(theirs == ours for theirs in json.loads(done.stdout).values())


def test_a_module_that_cannot_be_tuned_stops_the_run_before_any_vector(
    pipeline: Pipeline, tiny_module: Path, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError):
        pipeline.run(tfhub_module=str(tiny_module))
    assert any("no trainable_variables" in line for line in pipeline.lines)
    assert not (tmp_path / "out/bottlenecks").exists()
    with pytest.raises(AssertionError):
        pipeline.run(validation_percentage=0.0)
    assert any("fine-tuning needs validation photos" in line for line in pipeline.lines)


def test_without_success_the_frozen_module_is_the_result(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    frozen = pipeline.run(fine_tune_epochs=0)
    assert frozen == sorted(ALL)
    model = (out / "current").resolve()
    assert pipeline.run(fine_tune_learning_rate=1e-9) == ["FineTuneModule"]
    assert any("so it stays as it was" in line for line in pipeline.lines)
    assert any("Test accuracy: " in line for line in pipeline.lines)
    assert (out / "current").resolve() == model
    assert pipeline.run(fine_tune_learning_rate=1e-9) == []


def test_a_model_tells_that_fine_tuning_had_no_success(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.run(fine_tune_learning_rate=1e-9)
    out = tmp_path / "out"
    summary = summary_of(out)
    assert summary.startswith(
        "Fine-tuning has not clearly improved the module, so it stays as it was: "
    )
    assert f"Fine-tuned from {tmp_path / 'mixer'} on {datetime.date.today().year}-" in summary
    assert summary in pipeline.lines
    assert any(line.startswith(f"{summary}; ") for line in pipeline.lines)
    for name in ("report.html", "model_card.md"):
        assert summary in (out / "current" / name).read_text()


def test_nights_between_use_the_tuned_module(pipeline: Pipeline, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pipeline.task_class = NightlyRetrain
    first = datetime.date(2026, 11, 1)

    def night(number: int) -> list[str]:
        return pipeline.run(date=first + datetime.timedelta(number), fine_tune_every=2)

    assert "FineTuneModule" in night(0)
    assert night(0) == []
    assert "FineTuneModule" not in night(1)
    tuned = [row.tuned for row in history.nights(out)]
    modules = {row.module for row in history.nights(out)}
    assert tuned == [True, False]
    assert len(modules) == 1
    assert "fine-tuned earlier" in history.nights(out)[-1].reason
    assert "FineTuneModule" in night(2)
    assert [row.tuned for row in history.nights(out)] == [True, False, True]
