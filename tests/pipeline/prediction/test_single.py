"""Prediction for one photo, from the command line too."""

import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from pipeline.errors import UserError
from pipeline.files import places
from pipeline.nightly import shared_state
from pipeline.photos import discovery
from pipeline.prediction import batch, single
from tests.support.objects import Objects
from tests.support.photos import PhotoMaker, spoil


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.prediction.single", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_best_label_comes_first(colours: Path, tmp_path: Path, make_photo: PhotoMaker) -> None:
    answers = single.predict(make_photo(tmp_path / "photo.png", hue=1), colours)
    assert answers[0][0] == "green"
    assert sum(probability for _, probability in answers) == pytest.approx(1)


def test_a_photo_may_be_in_a_store(
    colours: Path, tmp_path: Path, make_photo: PhotoMaker, objects: Objects
) -> None:
    photo = make_photo(tmp_path / "photo.png", hue=1)
    objects.put("photo.png", photo.read_bytes())
    answers = single.predict(places.parse("s3://bucket/photo.png"), colours)
    assert answers == single.predict(photo, colours)


def test_a_model_may_be_in_a_folder_with_brackets_in_its_name(
    colours: Path, tmp_path: Path, make_photo: PhotoMaker
) -> None:
    model = shutil.copytree(colours, tmp_path / "models [new]")
    photo = make_photo(tmp_path / "photo.png", hue=1)
    assert single.predict(photo, model) == single.predict(photo, colours)


def test_labels_are_printed_where_letters_are_missing(
    colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii"))
    monkeypatch.setattr(sys, "argv", ["single", "photo.png", "--model", str(colours)])
    monkeypatch.setattr(single, "predict", lambda *_: [("caf\u00e9", 1.0)])
    single.main()
    sys.stdout.flush()
    assert written.getvalue() == b"100.00%  caf\\xe9\n"


def test_top_limits_the_answers(colours: Path, tmp_path: Path, make_photo: PhotoMaker) -> None:
    assert len(single.predict(make_photo(tmp_path / "photo.png"), colours, top=2)) == 2


def test_no_model_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model in .*make train"):
        single.predict(tmp_path / "photo.png", tmp_path)


def test_an_output_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no folder .*/typo; pass the OUTPUT_DIR"):
        shared_state.resolve_model(str(tmp_path / "typo/current"))
    assert not (tmp_path / "typo").exists()


def test_a_missing_photo_is_named(colours: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"photo\.png: cannot be read"):
        single.predict(tmp_path / "photo.png", colours)


def test_a_bad_photo_is_refused_with_the_reason_of_a_batch(colours: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    noise = Image.effect_noise((20, 20), 50).convert("RGB")
    noise.save(photos / "good.png")
    noise.quantize(256).save(photos / "palette.bmp")
    noise.save(photos / "animated.webp", save_all=True, append_images=[noise.rotate(90)])
    (photos / "cut.png").write_bytes((photos / "good.png").read_bytes()[:-50])
    (photos / "spoilt.png").write_bytes((photos / "good.png").read_bytes())
    spoil(photos / "spoilt.png")
    (photos / "empty.jpg").touch()
    (photos / "page.jpg").write_text("<!DOCTYPE html>")
    (photos / "pointer.jpg").write_text("version https://git-lfs.github.com/spec/v1")
    (photos / "annex.jpg").symlink_to(".git/annex/objects/1.jpg")
    (photos / ".1.jpg.icloud").touch()
    unusable = batch.write(colours, batch.find(str(photos)), tmp_path / "out").unusable
    assert len(unusable) == 9
    for path, reason in unusable.items():
        with pytest.raises(UserError) as error:
            single.predict(Path(path), colours)
        assert str(error.value) == f"image: {path}: {reason}"
    assert discovery.IN_GIT_ANNEX in unusable.values()


def test_a_folder_is_told_of_the_command_for_many(colours: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder; for all its photos: make predict-images"):
        single.predict(tmp_path, colours)


@pytest.mark.slow
def test_the_command_prints_labels_and_nothing_else(
    colours: Path, tmp_path: Path, make_photo: PhotoMaker
) -> None:
    done = run(make_photo(tmp_path / "photo.jpg", hue=2), "--model", colours)
    assert (done.returncode, done.stderr) == (0, "")
    first, *_ = done.stdout.splitlines()
    assert first.split() == [first.split()[0], "blue"]
    assert first.split()[0].endswith("%")


@pytest.mark.slow
def test_the_command_fails_with_one_line(tmp_path: Path) -> None:
    done = run("no-such.jpg", "--model", tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
