"""Prediction for one photo, from the command line too."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline import export, modules, predict
from pipeline.errors import UserError
from pipeline.head import Head
from tests.conftest import PhotoMaker


@pytest.fixture(scope="module")
def model(tiny_module: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tells photos by the mean of their red, green and blue."""
    directory = tmp_path_factory.mktemp("model")
    weights = np.tile(np.eye(3, dtype=np.float32) * 9, (4, 1))
    head = Head(("red", "green", "blue"), weights, np.zeros(3, np.float32))
    module = modules.prepare(str(tiny_module), directory)
    export.export(head, module, directory, "final_result")
    return directory


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.predict", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_best_label_comes_first(model: Path, tmp_path: Path, make_photo: PhotoMaker) -> None:
    answers = predict.predict(make_photo(tmp_path / "photo.png", hue=1), model)
    assert answers[0][0] == "green"
    assert sum(probability for _, probability in answers) == pytest.approx(1)


def test_top_limits_the_answers(model: Path, tmp_path: Path, make_photo: PhotoMaker) -> None:
    assert len(predict.predict(make_photo(tmp_path / "photo.png"), model, top=2)) == 2


def test_no_model_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model in .*make train"):
        predict.predict(tmp_path / "photo.png", tmp_path)


def test_a_missing_photo_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"photo\.png cannot be read"):
        predict.predict(tmp_path / "photo.png", model)


def test_what_is_no_photo_is_named(model: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no photo")
    with pytest.raises(UserError, match=r"notes\.txt is not a JPEG"):
        predict.predict(tmp_path / "notes.txt", model)


def test_the_command_prints_labels_and_nothing_else(
    model: Path, tmp_path: Path, make_photo: PhotoMaker
) -> None:
    done = run(make_photo(tmp_path / "photo.jpg", hue=2), "--model", model)
    assert (done.returncode, done.stderr) == (0, "")
    first, *_ = done.stdout.splitlines()
    assert first.split() == [first.split()[0], "blue"]
    assert first.split()[0].endswith("%")


def test_the_command_fails_with_one_line(tmp_path: Path) -> None:
    done = run("no-such.jpg", "--model", tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
