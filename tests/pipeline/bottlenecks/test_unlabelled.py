"""Vectors of photos without labels."""

import shutil
from pathlib import Path

import fsspec
import numpy as np
import pytest

from pipeline.bottlenecks import extraction, unlabelled
from pipeline.bottlenecks.recipe import Recipe
from pipeline.errors import UserError
from pipeline.files.object_store import RemotePath
from pipeline.modules import preparation
from pipeline.photos import discovery, sources
from tests.support.photos import PhotoMaker


@pytest.fixture
def recipe(tiny_module: Path, tmp_path: Path) -> Recipe:
    return Recipe(preparation.prepare(str(tiny_module), tmp_path / "modules"), "float32", "float16")


@pytest.fixture
def photos(tmp_path: Path, make_photo: PhotoMaker) -> Path:
    """Return a folder of two photos, one of them twice, a truncated one, and no photo."""
    folder = tmp_path / "photos"
    for name in ("a.png", "b.png", "truncated.jpg"):
        make_photo(folder / name, len(name), ord(name[0]))
    shutil.copy(folder / "a.png", folder / "again.png")
    whole = (folder / "truncated.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "none.jpg").write_text("no photo")
    return folder


def test_vectors_are_those_of_the_module_and_cached(
    recipe: Recipe, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspected = unlabelled.inspect(list(discovery.list_folder(photos)))
    used, vectors = unlabelled.with_vectors(inspected, recipe, tmp_path / "store")
    problems = used.set_index(used["path"].map(lambda path: Path(path).name))["problem"]
    assert list(problems.index[problems == ""]) == ["a.png", "again.png", "b.png"]
    assert problems["none.jpg"].startswith("not a readable image")
    files = [photos / name for name in ("a.png", "again.png", "b.png")]
    (batch,) = extraction.extract(files, recipe.module, "float32")
    assert np.array_equal(vectors, batch.vectors.astype(np.float16))
    lines = list(unlabelled.summary_lines(used, "Unknown"))
    assert lines[0] == "Unknown photos: 3 of 5 are usable"
    assert f"Unknown photos: {photos}/none.jpg is not used: {problems['none.jpg']}" in lines
    unlabelled.write(used, vectors, recipe, tmp_path / "vectors.parquet")
    assert np.array_equal(unlabelled.read(tmp_path / "vectors.parquet"), vectors)
    monkeypatch.delattr(extraction, "extract")  # nothing is computed again
    again, same = unlabelled.with_vectors(inspected, recipe, tmp_path / "store")
    assert again.equals(used)
    assert np.array_equal(same, vectors)


def test_photos_on_an_object_store_have_the_same_vectors(
    recipe: Recipe, photos: Path, tmp_path: Path
) -> None:
    store = fsspec.filesystem("memory")
    store.put(str(photos), "/bucket/new", recursive=True)
    found = list(sources.list_folder(RemotePath("memory://bucket/new")))
    used, vectors = unlabelled.with_vectors(unlabelled.inspect(found), recipe, tmp_path / "remote")
    store.rm("/bucket", recursive=True)
    inspected = unlabelled.inspect(list(discovery.list_folder(photos)))
    local, expected = unlabelled.with_vectors(inspected, recipe, tmp_path / "store")
    assert used["path"][0] == "memory://bucket/new/a.png"
    assert list(used["problem"]) == list(local["problem"])
    assert np.array_equal(vectors, expected)


def test_unusable_photos_alone_are_an_error_with_a_reason(recipe: Recipe, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / name).write_text("no photo")
    inspected = unlabelled.inspect(list(discovery.list_folder(tmp_path / "photos")))
    used, vectors = unlabelled.with_vectors(inspected, recipe, tmp_path / "store")
    assert used.equals(inspected)
    assert len(vectors) == 0
    reason = r"unknown_dir: none of 2 photos is usable; .*a\.jpg: not a readable image"
    with pytest.raises(UserError, match=reason):
        unlabelled.refuse_unusable(inspected, "unknown_dir")
