"""The photos of a model: what it was trained on."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.evaluation import model_photos
from pipeline.photos import manifest
from tests.support.store import Store

DIGESTS = pd.Series(["1", "2", "3", "4"])
ROWS = pd.DataFrame(
    {
        "digest": ["1", "2", "3", "3"],
        "label": ["a", "a", "b", "b"],
        "split": ["training", "validation", "testing", "testing"],
    }
)


def earlier_version(model: Path, *digests: str) -> Path:
    """Write the predictions of a model of an earlier version."""
    names = list(digests)
    frame = pd.DataFrame({"digest": names, "label": "a", "labels": [["a"]] * len(names)})
    model.mkdir()
    frame.to_parquet(model / "predictions.parquet")
    return model


def test_training_and_validation_photos_are_seen(tmp_path: Path) -> None:
    model_photos.write(model_photos.ModelPhotos(ROWS), tmp_path)
    photos = model_photos.read(tmp_path)
    assert photos.complete
    assert photos.unseen(DIGESTS).tolist() == [False, False, True, True]
    assert photos.labels == {"1": "a", "2": "a", "3": "b"}


def test_a_test_photo_that_is_also_a_training_photo_is_seen() -> None:
    both = pd.concat([ROWS, ROWS.assign(split="testing")])
    assert model_photos.ModelPhotos(both).unseen(DIGESTS).tolist() == [False, False, True, True]


def test_of_a_model_of_an_earlier_version_only_its_test_photos_are_certain(tmp_path: Path) -> None:
    photos = model_photos.read(earlier_version(tmp_path / "model", "1", "3"))
    assert not photos.complete
    assert photos.unseen(DIGESTS).tolist() == [True, False, True, False]
    assert photos.labels == {"1": "a", "3": "a"}


def test_photos_that_are_set_aside_are_not_recorded(store: Store, tmp_path: Path) -> None:
    (store.image_dir / "red_rose/1.jpg").write_bytes(b"")
    store.summary()
    rows = manifest.read(store.path / "manifest.parquet")
    photos = model_photos.of_manifest(rows)
    assert len(photos.rows) == len(rows) - 1 == 47
    assert set(photos.rows["split"]) == {"training", "validation", "testing"}
    model_photos.write(photos, tmp_path)
    pd.testing.assert_frame_equal(model_photos.read(tmp_path).rows, photos.rows)


def test_test_photos_that_the_module_was_tuned_on_are_seen(store: Store) -> None:
    store.summary()
    rows = manifest.read(store.path / "manifest.parquet")
    tested = rows.loc[rows["split"] == "testing", "digest"]
    first = model_photos.of_manifest(rows, {tested.iloc[0], "another"})
    assert first.unseen(tested).tolist() == [False] + [True] * (len(tested) - 1)


def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    model = earlier_version(tmp_path / "model", "1")
    (model / "photos.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=r"photos.parquet is missing or damaged .*; delete .*photo"):
        model_photos.read(model)
    (model / "photos.parquet").unlink()
    assert not model_photos.read(model).complete
    (model / "predictions.parquet").unlink()
    with pytest.raises(UserError, match=r"predictions.parquet is missing .*delete .*model, and"):
        model_photos.read(model)


def test_some_labels_are_replaced() -> None:
    rows = pd.DataFrame({"digest": ["1", "2"], "label": ["a", "b"], "split": "testing"})
    photos = model_photos.ModelPhotos(rows)
    assert photos.with_labels({}).labels == {"1": "a", "2": "b"}
    assert photos.with_labels({"2": "c", "3": "d"}).labels == {"1": "a", "2": "c"}
    assert photos.labels == {"1": "a", "2": "b"}
