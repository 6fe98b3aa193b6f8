"""model.json: the facts about a model for programs."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.bottlenecks.recipe import Recipe
from pipeline.errors import UserError
from pipeline.export import model_json
from pipeline.export.parity import Parity
from pipeline.modules import preparation
from pipeline.pixels import decoding


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
        *("classes", "scores", "probabilities", "known")
    }
    assert set(described["frozen_graph"]["outputs"]) == {"answer"}
    assert model_json.parity_results(tmp_path) == answers
    assert described["calibration"] is None


def test_the_other_class_is_not_among_the_answers(recipe: Recipe, tmp_path: Path) -> None:
    facts = {"unknown_rate": 0.1, "lowest": 0.01, "other_class": "b", "passed": 0.2}
    content = {"unknown": facts | {"unknown_count": 5}}
    (tmp_path / "evaluation.json").write_text(json.dumps(content))
    model_json.write(tmp_path, recipe, ("a", "b", "c"), ("Placeholder", "answer"), {})
    described = model_json.read(tmp_path)
    assert described["known"] == content["unknown"]
    outputs = described["signatures"]["serving_default"]["outputs"]
    assert [outputs[name]["shape"] for name in ("classes", "scores")] == [[None, 2]] * 2
    assert outputs["probabilities"]["shape"] == [None, 3]


def reproduced(photo: bytes, facts: dict[str, Any]) -> np.ndarray:
    """Follow the steps in model.json without TensorFlow."""
    with Image.open(io.BytesIO(photo)) as image:
        ratio = min(image.size) // max(facts["height"], facts["width"])
        n = max(n for n in (1, 2, 4, 8) if n <= max(ratio, 1))
        if image.format == "JPEG":
            image.draft("RGB", (image.width // n, image.height // n))
        rgba = np.asarray(ImageOps.exif_transpose(image).convert("RGBA")).astype(int)
    colour, alpha = rgba[..., :3], rgba[..., 3:]
    pixels = (colour * alpha + facts["background"] * (255 - alpha) + 127) // 255
    for axis, size in enumerate((facts["height"], facts["width"])):
        length = pixels.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
        low = np.floor(at).astype(int)
        share = np.expand_dims(at - low, [1, 2] if axis == 0 else [0, 2])
        upper = np.take(pixels, np.minimum(low + 1, length - 1), axis)
        pixels = np.take(pixels, low, axis) * (1 - share) + upper * share
    return pixels / 255


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("size", [(20, 30), (170, 150)])
def test_its_steps_reproduce_the_pixels(
    recipe: Recipe, tmp_path: Path, kind: str, size: tuple[int, int]
) -> None:
    model_json.write(tmp_path, recipe, ("a", "b"), ("Placeholder", "answer"), {})
    description = model_json.read(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 5, 4), np.uint8)
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    (image.convert("RGB") if kind == "JPEG" else image).save(file, kind, exif=exif, **options)
    decoded = decoding.decode(file.getvalue(), model_json.input_spec(description)).numpy()
    expected = reproduced(file.getvalue(), description["input"])
    assert np.abs(decoded - expected).max() < (0.02 if kind == "JPEG" else 1e-5)


def test_models_of_earlier_versions_saw_photos_as_they_are_stored() -> None:
    spec = model_json.input_spec({"input": {"height": 8, "width": 9}})
    assert spec == decoding.InputSpec(8, 9, exif_orientation=False)


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
