"""Public data sets: downloaded as a step, with their photos and their split."""

import hashlib
from dataclasses import replace
from pathlib import Path

import luigi
import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.photos import datasets
from tasks import ExportModel, SplitDataset
from tests.support.photos import PhotoMaker
from tests.support.saved_modules import packed
from tests.support.web import Web


def put(web: Web, monkeypatch: pytest.MonkeyPatch, name: str, top: Path) -> None:
    """Serve the folder `top` as the archive of a data set."""
    content = packed(top, top.with_suffix(".tgz")).read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    url = web.put(f"/{name}.tgz", content)
    known = datasets.DATASETS
    changed = replace(known[name], url=url, sha256=sha256)
    monkeypatch.setattr(datasets, "DATASETS", {**known, name: changed})


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def food101(
    web: Web, tmp_path: Path, make_photo: PhotoMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hue, label in enumerate(("apple_pie", "waffles")):
        for number in range(30):
            photo = tmp_path / "archive/food-101/images" / label / f"{number}.jpg"
            make_photo(photo, hue, number)
    for part, numbers in (("train", range(20)), ("test", range(20, 30))):
        lines = [f"{label}/{n}\n" for label in ("apple_pie", "waffles") for n in numbers]
        list_file = tmp_path / f"archive/food-101/meta/{part}.txt"
        list_file.parent.mkdir(exist_ok=True)
        list_file.write_text("".join(lines))
    put(web, monkeypatch, "food101", tmp_path / "archive")


@pytest.mark.usefixtures("food101")
def test_food101_is_fetched_once_and_split_as_its_makers_did(
    web: Web, tmp_path: Path, tiny_module: Path
) -> None:
    task = ExportModel(dataset="food101", output_dir="out", tfhub_module=str(tiny_module))
    assert task.image_dir.parts[:1] == ("data",)
    assert luigi.build([task], local_scheduler=True, no_lock=True)
    assert task.complete()
    (table,) = map(pd.read_parquet, tmp_path.glob("out/manifests/*.parquet"))
    tested = table[table["split"] == "testing"]["path"]
    expected = [f"{label}/{n}.jpg" for label in ("apple_pie", "waffles") for n in range(20, 30)]
    assert sorted(tested) == sorted(expected)
    again = ExportModel(dataset="food101", output_dir="out", tfhub_module=str(tiny_module), l2=0.5)
    assert luigi.build([again], local_scheduler=True, no_lock=True)
    assert web.requests == ["/food101.tgz"]


def test_flower_photos_are_split_by_their_names(
    web: Web, tmp_path: Path, photo_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photo_dir / "LICENSE.txt").write_text("by the photographers")
    (tmp_path / "archive").mkdir()
    photo_dir.rename(tmp_path / "archive/flower_photos")
    put(web, monkeypatch, "flower_photos", tmp_path / "archive")
    task = SplitDataset(dataset="flower_photos", output_dir="out")
    assert task.split_file == ""
    assert luigi.build([task], local_scheduler=True, no_lock=True)
    (table,) = map(pd.read_parquet, tmp_path.glob("out/manifests/*.parquet"))
    assert sorted(set(table["label"])) == ["green leaf", "red_rose"]
    assert set(table["status"]) == {"ok"}


def test_a_split_of_ones_own_is_kept() -> None:
    assert SplitDataset(dataset="food101", split_file="mine.txt").split_file == "mine.txt"


def test_a_folder_beside_a_data_set_is_refused() -> None:
    with pytest.raises(UserError, match="dataset and image_dir are both set"):
        SplitDataset(dataset="food101", image_dir="photos")


def test_a_data_set_takes_the_place_of_the_folder_in_luigi_cfg(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SplitDataset.image_dir, "_default", Path("photos"))
    task = SplitDataset(dataset="food101")
    assert task.image_dir.name == "images"
    assert task.clone(ExportModel).image_dir == task.image_dir


def test_without_a_data_set_the_folder_is_the_users() -> None:
    assert SplitDataset(image_dir="photos").image_dir == Path("photos")
