"""Recipes: what changes a vector changes the key, and nothing else does."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.bottlenecks import recipe
from pipeline.bottlenecks.recipe import Recipe
from pipeline.modules.loading import Module
from pipeline.pixels import decoding

MODULE = Module("some/module", "/some/module", "a" * 64, 224, 240, 1280)
RECIPE = Recipe(MODULE, "float32", "float16")


@pytest.mark.parametrize(
    "other",
    [
        replace(RECIPE, precision="bfloat16"),
        replace(RECIPE, vector_type="float32"),
        replace(RECIPE, module=replace(MODULE, digest="b" * 64)),
        replace(RECIPE, module=replace(MODULE, height=240)),
        replace(RECIPE, module=replace(MODULE, width=224)),
        replace(RECIPE, module=replace(MODULE, output="pooled")),
    ],
)
def test_what_changes_a_vector_changes_the_key(other: Recipe) -> None:
    assert other.key != RECIPE.key
    assert other.directory(Path("store")) != RECIPE.directory(Path("store"))


def test_what_the_module_is_called_changes_nothing() -> None:
    moved = replace(RECIPE, module=replace(MODULE, handle="elsewhere", directory="/elsewhere"))
    assert moved.key == RECIPE.key


@pytest.mark.parametrize(
    ("owner", "version"), [(recipe, "FORMAT_VERSION"), (recipe, "PREPROCESSING_VERSION")]
)
def test_a_new_version_changes_the_key(
    monkeypatch: pytest.MonkeyPatch, owner: object, version: str
) -> None:
    before = RECIPE.key
    monkeypatch.setattr(owner, version, 99)
    assert replace(RECIPE).key != before


def test_a_directory_says_the_size_and_the_precision() -> None:
    assert RECIPE.directory(Path("store")).name == f"224x240-float32-{RECIPE.key}"


def test_facts_name_the_module_and_the_preprocessing() -> None:
    facts = RECIPE.facts()
    assert facts["module"] == "some/module"
    assert facts["module_digest"] == "a" * 64
    assert facts["preprocessing"] == decoding.PREPROCESSING_VERSION


def test_a_recipe_is_read_as_it_was_written(tmp_path: Path) -> None:
    recipe.write(RECIPE, tmp_path)
    assert recipe.read(tmp_path) == RECIPE


def test_a_recipe_finds_its_module_in_an_output_folder_that_was_moved(tmp_path: Path) -> None:
    (tmp_path / "out/models/m").mkdir(parents=True)
    files = {"directory": "tuned/d/lite", "frozen": "modules/lite.pb"}
    paths = {name: str(tmp_path / "out" / path) for name, path in files.items()}
    written = replace(RECIPE, module=replace(RECIPE.module, **paths))
    recipe.write(written, tmp_path / "out/models/m")
    (tmp_path / "out").rename(tmp_path / "moved")
    module = recipe.read(tmp_path / "moved/models/m").module
    paths = {name: str(tmp_path / "moved" / path) for name, path in files.items()}
    assert module == replace(written.module, **paths)
    assert str(tmp_path) not in (tmp_path / "moved/models/m/recipe.json").read_text()
