"""SuggestPhotos: which photos are suggested, and what is computed again."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.bottlenecks import extraction
from pipeline.errors import UserError
from pipeline.photos import corrections
from pipeline.photos.corrections import Correction
from pipeline.review import last_run, suggestions
from tasks import SplitDataset, SuggestPhotos, suggest_photos
from tests.support.photos import PhotoMaker
from tests.support.steps import Pipeline


class Suggesting(Pipeline):
    task_class = SuggestPhotos

    def run(self, **options: Any) -> list[str]:
        suggest_photos._find.cache_clear()
        return super().run(**options)


@pytest.fixture
def uploads(photo_dir: Path, make_photo: PhotoMaker, tmp_path: Path) -> Path:
    """Return a folder of twelve new photos, one of them twice, a known one, and no photo."""
    folder = tmp_path / "uploads"
    for seed in range(12):
        make_photo(folder / f"{seed}.png", seed % 2, 500 + seed)
    shutil.copy(folder / "0.png", folder / "again.png")
    shutil.copy(photo_dir / "red_rose/0.jpg", folder / "known.jpg")
    shutil.copy(make_photo(folder / "line.png", 0, 600), folder / "line\nbreak.png")
    (folder / "line.png").unlink()
    (folder / "none.jpg").write_text("no photo")
    return folder


def test_new_photos_are_suggested_and_their_vectors_computed_once(
    options: dict[str, Any], uploads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suggesting = Suggesting(**options, images=str(uploads))
    assert "SuggestPhotos" in suggesting.run(suggestions=100)
    first = suggesting.lines
    assert suggesting.run(suggestions=100) == []
    suggested = suggestions.newest(tmp_path / "out")
    assert sorted(suggested["path"]) == sorted(str(uploads / f"{seed}.png") for seed in range(12))
    assert set(suggested["label_1"]) <= {"green leaf", "red_rose"}
    assert suggested["known"].between(0, 1).all()
    assert "Unlabelled photos: 13 of 15 are usable" in first
    assert any("line\\nbreak.png is not used: its path contains a line break" in x for x in first)
    assert any("none.jpg is not used: not a readable image" in line for line in first)
    assert f"make review OUTPUT_DIR={tmp_path / 'out'}" in " ".join(first)

    def refuse(*_: Any) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(extraction, "extract", refuse)
    labelled = uploads / "3.png"
    line = Correction(
        hashlib.sha256(labelled.read_bytes()).hexdigest(), str(labelled), "relabel", "red_rose"
    )
    corrections.append(tmp_path / corrections.FILE, [line])
    assert suggesting.run(suggestions=5) == ["SplitDataset", "SuggestPhotos"]
    five = suggestions.newest_file(tmp_path / "out")
    suggested = suggestions.newest(tmp_path / "out")
    assert len(suggested) == 5
    assert str(labelled) not in set(suggested["path"])
    suggesting.run(suggestions=4)
    assert suggestions.newest_file(tmp_path / "out") != five
    assert suggesting.run(suggestions=5) == []
    assert suggestions.newest_file(tmp_path / "out") == five  # the last command counts
    shown = f"5 unlabelled photos suggested already, in {five}. To label them: make review "
    assert [line.startswith(shown) for line in suggesting.lines].count(True) == 1


def test_photos_inside_the_image_folder_are_refused(
    options: dict[str, Any], photo_dir: Path
) -> None:
    for images in (photo_dir / "uploads", photo_dir / "*.jpg", photo_dir):
        with pytest.raises(UserError, match=r"is inside image_dir .* labels; move it out"):
            SuggestPhotos(**options, images=str(images))


def test_photos_that_all_have_labels_are_one_message(
    options: dict[str, Any], photo_dir: Path, tmp_path: Path
) -> None:
    shutil.copytree(photo_dir / "red_rose", tmp_path / "known")
    suggesting = Suggesting(**options, images=str(tmp_path / "known"))
    with pytest.raises(AssertionError):
        suggesting.run()
    assert any("have a label already" in line for line in suggesting.lines)


def test_without_photos_those_of_the_last_run_are_used(
    options: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    given = {"output_dir": out, "images": "uploads"}
    with pytest.raises(UserError, match=f"no run with findings in {out}"):
        SuggestPhotos(**given)
    results = out / "checks/a.parquet", out / "manifests/a.parquet"
    last_run.record(out, *results, {"image_dir": "/photos", "l2": "0.5", "tflite": "int8"})
    task = SuggestPhotos(**given)
    assert (task.image_dir, task.l2) == (Path("/photos"), 0.5)
    assert SuggestPhotos(**given, l2=0.1).l2 == 0.1
    other = SuggestPhotos(**given, image_dir=options["image_dir"])
    assert (other.image_dir, other.l2) == (options["image_dir"], 0)


def test_without_photos_the_data_set_of_the_last_run_is_used_wherever_it_was(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    recorded = {"image_dir": "/elsewhere/data/flower_photos", "dataset": "flower_photos"}
    last_run.record(out, out / "checks/a.parquet", out / "manifests/a.parquet", recorded)
    task = SuggestPhotos(output_dir=out, images="uploads")
    assert task.image_dir == SplitDataset(dataset="flower_photos").image_dir
