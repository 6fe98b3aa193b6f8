"""Predictions for many photos: the tables, bad photos, and going on after an interruption."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.bottlenecks import writer
from pipeline.bottlenecks.recipe import Recipe
from pipeline.errors import UserError
from pipeline.export import model_json, runtimes, saved_model
from pipeline.head.softmax_head import Head
from pipeline.modules import preparation
from pipeline.prediction import batch, demo, single
from tests.support.photos import PhotoMaker
from tests.support.saved_modules import normalizing_module, refusing_module

LABELS = ("red", "green", "blue")


@pytest.fixture
def photos(make_photo: PhotoMaker, tmp_path: Path) -> Path:
    """Three photos a colour, in two folders, one of them inside the other."""
    for hue in range(3):
        for seed in range(3):
            place = tmp_path / "photos" / ("deep" if seed else "")
            make_photo(place / f"{LABELS[hue]}-{seed}.png", hue, seed)
    return tmp_path / "photos"


def write(model: Path, images: Path | str, directory: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The predictions as they are in Parquet and in CSV."""
    batch.write(model, batch.find(str(images)), directory)
    tables = directory / "predictions.parquet", directory / "predictions.csv"
    return pd.read_parquet(tables[0]), pd.read_csv(tables[1], keep_default_na=False)


def test_each_photo_has_its_labels_best_first(colours: Path, photos: Path, tmp_path: Path) -> None:
    parquet, csv = write(colours, photos, tmp_path / "out")
    assert len(parquet) == len(csv) == 9
    for path, labels, scores, known, unknown, problem in parquet.itertuples(index=False):
        assert labels[0] == Path(path).name.split("-")[0]
        assert sorted(labels) == sorted(LABELS)
        assert scores[0] == max(scores)
        assert scores.sum() == pytest.approx(1)
        assert (known, unknown) == (1, False)
        assert problem == ""
    assert list(csv["path"]) == list(parquet["path"])
    assert list(csv["label_1"]) == [labels[0] for labels in parquet["labels"]]
    assert csv["score_1"].to_numpy(float) == pytest.approx([s[0] for s in parquet["scores"]])
    assert set(csv["label_4"]) == {""}


def test_unknown_photos_are_known_by_their_column(
    choosy: Path, photos: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (20, 20), (255, 255, 255)).save(photos / "white.png")
    (photos / "note.jpg").write_text("no photo")
    parquet, csv = write(choosy, photos, tmp_path / "out")
    names = [Path(path).name for path in parquet["path"]]
    low = dict(zip(names, parquet["known"] <= 0.05, strict=True))
    assert [name for name, is_low in low.items() if is_low] == ["white.png"]
    for column in ("known", "unknown"):
        assert dict(zip(names, csv[column], strict=True))["note.jpg"] == ""
    assert [name for name, text in zip(names, csv["unknown"], strict=True) if text == "True"] == [
        "white.png"
    ]
    usable = parquet[parquet["problem"] == ""]
    classify = single.load(choosy)
    alone = [classify(Path(path).read_bytes()).known for path in usable["path"]]
    assert usable["known"].tolist() == alone
    assert len(set(alone)) > 2


def test_a_model_of_an_earlier_version_predicts_without_known(
    choosy: Path, photos: Path, tmp_path: Path
) -> None:
    import tensorflow as tf

    model = tmp_path / "model"
    shutil.copytree(choosy, model, ignore=shutil.ignore_patterns("saved_model"))
    description = json.loads((model / "model.json").read_text())
    del description["known"]
    (model / "model.json").write_text(json.dumps(description))
    later = tf.saved_model.load(str(choosy / "saved_model"))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def from_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        answers = later.signatures["serving_default"](image_bytes=image_bytes)
        return {name: answers[name] for name in ("classes", "scores", "probabilities")}

    later.from_bytes = from_bytes
    signatures = {"serving_default": from_bytes, "pixels": later.signatures["pixels"]}
    tf.saved_model.save(later, str(model / "saved_model"), signatures=signatures)
    parquet, csv = write(model, photos, tmp_path / "out")
    assert parquet["known"].isna().all()
    assert set(csv["known"]) == set(csv["unknown"]) == {""}
    assert set(csv["problem"]) == {""}
    alone = single.predict(photos / "red-0.png", model)
    assert (alone.answers[0][0], alone.known, alone.warning) == ("red", None, "")


def test_bad_photos_have_no_labels_but_a_reason(
    colours: Path, photos: Path, tmp_path: Path
) -> None:
    (photos / "cut.png").write_bytes((photos / "red-0.png").read_bytes()[:200])
    (photos / "note.jpg").write_text("no photo")
    counts = batch.write(colours, batch.find(str(photos)), tmp_path / "out")
    assert counts.photos == 11
    assert {Path(p).name: re.split("[:;]", why)[0] for p, why in counts.unusable.items()} == {
        "cut.png": "truncated PNG",
        "note.jpg": "not a readable image",
    }
    rows = pd.read_parquet(tmp_path / "out/predictions.parquet").set_index("path")
    assert len(rows.loc[str(photos / "cut.png"), "labels"]) == 0
    assert len(rows.loc[str(photos / "red-0.png"), "labels"]) == 3
    counted, first, _ = batch.summary_lines(counts)
    assert counted == "Predictions: 9 of 11 photos"
    assert first.startswith(f"No prediction: {photos}/cut.png: truncated PNG")


def exported(handle: Path, directory: Path) -> Path:
    """Export a model on a module of three features."""
    module = preparation.prepare(str(handle), directory)
    head = Head(LABELS, np.eye(3, dtype=np.float32), np.zeros(3, np.float32))
    model = directory / "model"
    model.mkdir()
    saved_model.write(head, module, model, "answer")
    recipe = Recipe(module, "float32", "float16")
    model_json.write(model, recipe, head.labels, ("Placeholder", "answer"), {})
    return model


def test_a_photo_for_which_the_module_fails_is_named(tmp_path: Path) -> None:
    model = exported(refusing_module(tmp_path / "refusing"), tmp_path)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "photos/black.png")
    white = tmp_path / "photos/white.png"
    Image.new("RGB", (20, 20), "white").save(white)
    expected = rf"the model's module, .*/refusing, raises an error for {white}: .*too bright .*"
    with pytest.raises(UserError, match=expected + "remove the photo, or predict with another"):
        write(model, tmp_path / "photos", tmp_path / "out")
    with pytest.raises(UserError, match=r"refusing, raises an error: .*too bright .*; try another"):
        single.predict(white, model)
    answered = demo.application(model).test_client().post("/classify", data=white.read_bytes())
    assert answered.status_code == 422
    assert "too bright" in answered.json["error"]


def test_a_photo_without_a_finite_vector_has_no_label(tmp_path: Path) -> None:
    model = exported(normalizing_module(tmp_path / "normalizing"), tmp_path)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "photos/black.png")
    Image.effect_noise((20, 20), 50).save(tmp_path / "photos/grey.png")
    parquet, _ = write(model, tmp_path / "photos", tmp_path / "out")
    assert parquet["problem"].tolist() == [writer.NOT_FINITE, ""]
    assert [len(labels) for labels in parquet["labels"]] == [0, 3]
    with pytest.raises(UserError, match=r"black\.png: the module returns NaN"):
        single.predict(tmp_path / "photos/black.png", model)
    assert len(single.predict(tmp_path / "photos/grey.png", model).answers) == 3


def test_without_one_usable_photo_it_fails_and_leaves_nothing(
    colours: Path, tmp_path: Path
) -> None:
    (tmp_path / "note.jpg").write_text("no photo")
    with pytest.raises(
        UserError, match=r"none of 1 photos is usable; .*note\.jpg: not a readable image"
    ):
        batch.write(colours, batch.find(str(tmp_path)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("images", "count"),
    [("", 9), ("*.png", 3), ("**/*.png", 9), ("deep", 6), ("deep/green-1.png", 1)],
)
def test_photos_are_a_folder_a_pattern_or_a_file(photos: Path, images: str, count: int) -> None:
    assert len(batch.find(str(photos / images))) == count


@pytest.mark.parametrize("images", ["none", "*.tif", "empty"])
def test_no_photo_is_a_mistake(photos: Path, images: str) -> None:
    (photos / "empty").mkdir()
    with pytest.raises(UserError, match=r"images: no photos at .*pass a folder, or a quoted"):
        batch.find(str(photos / images))


def test_the_key_changes_with_the_photos_and_the_model(
    colours: Path, photos: Path, tmp_path: Path, make_photo: PhotoMaker
) -> None:
    key = batch.key(colours, batch.find(str(photos)))
    assert batch.key(colours, batch.find(str(photos))) == key
    model = shutil.copytree(colours, tmp_path / "model")
    assert batch.key(model, batch.find(str(photos))) == key
    text = (model / "model.json").read_text()
    (model / "model.json").write_text(text.replace('"sha256": "', '"sha256": "0'))
    assert batch.key(model, batch.find(str(photos))) != key
    make_photo(photos / "new.png")
    assert batch.key(colours, batch.find(str(photos))) != key


def test_a_run_that_was_stopped_goes_on_where_it_was(
    colours: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = batch.find(str(photos))

    def stop(done: int, *_: object) -> None:
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batch.write(colours, found, tmp_path / "out/key", stop, 2)
    assert not (tmp_path / "out/key").exists()
    asked = []
    load = runtimes.known

    def counting(directory: Path) -> Callable[[Any], tuple[np.ndarray, np.ndarray]]:
        answer = load(directory)
        return lambda pixels: (asked.append(len(pixels)), answer(pixels))[1]

    monkeypatch.setattr(runtimes, "known", counting)
    seen: list[int] = []
    batch.write(colours, found, tmp_path / "out/key", lambda done, *_: seen.append(done), 2)
    assert seen == [6, 8, 9]
    assert len(asked) == 2
    resumed = pd.read_parquet(tmp_path / "out/key/predictions.parquet")
    batch.write(colours, found, tmp_path / "out/whole")
    whole = pd.read_parquet(tmp_path / "out/whole/predictions.parquet")
    pd.testing.assert_frame_equal(resumed, whole)
    assert list((tmp_path / "out/partial").iterdir()) == []


def test_a_folder_before_a_pattern_may_have_brackets_in_its_name(
    photos: Path, make_photo: PhotoMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    trip = photos.rename(photos.with_name("trip [2019]"))
    make_photo(photos.with_name("trip 2") / "other.png")  # matches, if [2019] is a pattern
    found = [photo.path for photo in batch.find(f"{trip}/**/*-1.png")]
    assert found == [f"{trip}/deep/{label}-1.png" for label in sorted(LABELS)]
    monkeypatch.chdir(trip.parent)
    assert [photo.path for photo in batch.find("trip [2019]/*/r*-[12].png")] == [
        "trip [2019]/deep/red-1.png",
        "trip [2019]/deep/red-2.png",
    ]
