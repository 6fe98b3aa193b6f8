"""model.json: the facts about a model for programs."""

import hashlib
import json
from pathlib import Path

import pytest

from pipeline.bottlenecks.recipe import Recipe
from pipeline.errors import UserError
from pipeline.export import model_json
from pipeline.export.parity import Parity
from pipeline.modules import preparation


@pytest.fixture
def recipe(tiny_module: Path, tmp_path: Path) -> Recipe:
    return Recipe(preparation.prepare(str(tiny_module), tmp_path / "modules"), "float32", "float16")


def test_it_says_what_the_files_take_and_give(recipe: Recipe, tmp_path: Path) -> None:
    answers = {"saved_model": Parity(9, 0.5, 1.0)}
    model_json.write(tmp_path, recipe, ("a", "ä"), ("Placeholder", "answer"), answers)
    described = model_json.read(tmp_path)
    assert described["labels"] == ["a", "ä"]
    assert (described["input"]["height"], described["input"]["width"]) == (8, 8)
    pixels = described["signatures"]["pixels"]
    assert pixels["inputs"]["image"] == {"dtype": "float32", "shape": [None, 8, 8, 3]}
    assert pixels["outputs"]["prediction"] == {"dtype": "float32", "shape": [None, 2]}
    assert set(described["signatures"]["serving_default"]["outputs"]) == {
        *("classes", "scores", "probabilities")
    }
    assert set(described["frozen_graph"]["outputs"]) == {"answer"}
    assert model_json.parity_results(tmp_path) == answers
    assert described["calibration"] is None


def test_it_does_not_say_where_the_module_lay(recipe: Recipe, tmp_path: Path) -> None:
    model_json.write(tmp_path, recipe, ("a", "b"), ("Placeholder", "answer"), {})
    module = model_json.read(tmp_path)["module"]
    assert module["digest"] == recipe.module.digest
    assert "directory" not in module


def test_it_has_size_and_digest_of_each_file(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "saved_model/saved_model.pb").write_bytes(b"graph")
    model_json.write(tmp_path, recipe, ("a", "b"), ("Placeholder", "answer"), {})
    expected = {"bytes": 5, "sha256": hashlib.sha256(b"graph").hexdigest()}
    assert model_json.read(tmp_path)["files"] == {"saved_model/saved_model.pb": expected}


def test_it_passes_calibration_on(recipe: Recipe, tmp_path: Path) -> None:
    measured = {"temperature": 1.5, "thresholds": []}
    (tmp_path / "calibration.json").write_text(json.dumps(measured))
    model_json.write(tmp_path, recipe, ("a", "b"), ("Placeholder", "answer"), {})
    assert model_json.read(tmp_path)["calibration"] == measured


def test_no_model_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model in .*make train"):
        model_json.read(tmp_path)


def test_a_damaged_one_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / model_json.NAME).write_text("{")
    with pytest.raises(UserError, match=r"model\.json is damaged; delete"):
        model_json.read(tmp_path)
