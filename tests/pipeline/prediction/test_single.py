"""Prediction for one photo, from the command line too."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from pipeline.errors import UserError
from pipeline.files import places
from pipeline.prediction import single
from tests.support.objects import Objects
from tests.support.photos import PhotoMaker


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.prediction.single", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_best_label_comes_first(colours: Path, tmp_path: Path, make_photo: PhotoMaker) -> None:
    answers = single.predict(make_photo(tmp_path / "photo.png", hue=1), colours).answers
    assert answers[0][0] == "green"
    assert sum(probability for _, probability in answers) == pytest.approx(1)


def test_a_photo_may_be_in_a_store(
    colours: Path, tmp_path: Path, make_photo: PhotoMaker, objects: Objects
) -> None:
    photo = make_photo(tmp_path / "photo.png", hue=1)
    objects.put("photo.png", photo.read_bytes())
    answers = single.predict(places.parse("s3://bucket/photo.png"), colours)
    assert answers == single.predict(photo, colours)


def test_top_limits_the_answers(colours: Path, tmp_path: Path, make_photo: PhotoMaker) -> None:
    assert len(single.predict(make_photo(tmp_path / "photo.png"), colours, top=2).answers) == 2


def test_an_unknown_photo_gets_a_warning(
    choosy: Path, tmp_path: Path, make_photo: PhotoMaker
) -> None:
    familiar = single.predict(make_photo(tmp_path / "photo.png", hue=1), choosy)
    Image.new("RGB", (20, 20), (255, 255, 255)).save(tmp_path / "white.png")
    unknown = single.predict(tmp_path / "white.png", choosy)
    assert familiar.known
    assert familiar.known > 0.05
    assert familiar.warning == ""
    assert unknown.known == pytest.approx(1 / 100)
    assert unknown.warning == "This does not look like any of the 3 classes."


def test_no_model_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model in .*make train"):
        single.predict(tmp_path / "photo.png", tmp_path)


def test_a_missing_photo_is_named(colours: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"photo\.png cannot be read"):
        single.predict(tmp_path / "photo.png", colours)


def test_what_is_no_photo_is_named(colours: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no photo")
    with pytest.raises(UserError, match=r"notes\.txt is not a readable JPEG"):
        single.predict(tmp_path / "notes.txt", colours)


def test_a_folder_is_told_of_the_command_for_many(colours: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder; for all its photos: make predict-images"):
        single.predict(tmp_path, colours)


@pytest.mark.slow
def test_the_command_prints_labels_and_nothing_else(
    colours: Path, tmp_path: Path, make_photo: PhotoMaker
) -> None:
    done = run(make_photo(tmp_path / "photo.jpg", hue=2), "--model", colours)
    assert (done.returncode, done.stderr) == (0, "")
    first, *_, last = done.stdout.splitlines()
    assert last == "100.00% of the known photos fit no better."
    assert first.split() == [first.split()[0], "blue"]
    assert first.split()[0].endswith("%")


@pytest.mark.slow
def test_the_command_fails_with_one_line(tmp_path: Path) -> None:
    done = run("no-such.jpg", "--model", tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
