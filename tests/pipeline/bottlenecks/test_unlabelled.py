"""Vectors of photos without labels."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.bottlenecks import extraction, unlabelled
from pipeline.bottlenecks.recipe import Recipe
from pipeline.errors import UserError
from pipeline.modules import preparation
from pipeline.photos import discovery
from tests.support.photos import PhotoMaker


@pytest.fixture
def recipe(tiny_module: Path, tmp_path: Path) -> Recipe:
    return Recipe(preparation.prepare(str(tiny_module), tmp_path / "modules"), "float32", "float16")


def test_all_photos_in_all_folders_get_their_vectors(
    recipe: Recipe, tmp_path: Path, make_photo: PhotoMaker
) -> None:
    files = [
        make_photo(tmp_path / f"photos/{name}", i) for i, name in enumerate(["a.png", "b.png"])
    ]
    (tmp_path / "photos/c.jpg").write_text("no photo")
    found = list(discovery.list_folder(tmp_path / "photos"))
    unusable = unlabelled.compute(found, recipe, tmp_path / "vectors.parquet")
    assert list(unusable) == [str(tmp_path / "photos/c.jpg")]
    assert unusable[str(tmp_path / "photos/c.jpg")].startswith("not a readable image")
    (batch,) = extraction.extract(files, recipe.module, "float32")
    expected = batch.vectors.astype(np.float16)
    assert np.array_equal(unlabelled.read(tmp_path / "vectors.parquet"), expected)


def test_unusable_photos_alone_are_an_error_with_a_reason(recipe: Recipe, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_text("no photo")
    found = list(discovery.list_folder(tmp_path))
    reason = r"unknown_dir: none of 2 photos is usable; .*a\.jpg: not a readable image"
    with pytest.raises(UserError, match=reason):
        unlabelled.compute(found, recipe, tmp_path / "vectors.parquet")
    assert not (tmp_path / "vectors.parquet").exists()
