"""The files of a model give the same answers without the code of this project."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.bottlenecks.recipe import Recipe
from pipeline.export import model_folder
from pipeline.export.model_folder import Options
from pipeline.modules.loading import Module
from pipeline.photos import manifest
from pipeline.photos.split import SplitRule
from tests.support.store import Store

pytestmark = pytest.mark.slow  # the built-in module on hundreds of photos

STRANGER = Path(__file__).parent / "support/stranger.py"
CLASSES = ("rings", "stripes", "squares", "waves", "дуги")
TESTED = 200


def pattern(label: str, seed: int) -> Image.Image:
    """Return a photo of its class's pattern, with random position, scale, colours and noise."""
    random = np.random.default_rng([CLASSES.index(label), seed])
    y, x = np.mgrid[0:240, 0:280] / random.uniform(6, 16)
    x, y = x - random.uniform(0, 9), y - random.uniform(0, 9)
    shade = {
        "rings": np.sin(np.hypot(x, y)),
        "stripes": np.sign(np.sin(x + y)),
        "squares": np.sign(np.sin(x) * np.sin(y)),
        "waves": np.sin(x + 2 * np.sin(y / 2)),
        "дуги": np.sin(x * y / 9),
    }[label]
    colours = random.uniform(0, 255, (2, 3))
    share = (shade[..., None] + 1) / 2
    pixels = share * colours[0] + (1 - share) * colours[1] + random.normal(0, 9, (*shade.shape, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def store(lite0: Module, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Compute the vectors of 320 photos of five patterns, most of them for testing."""
    directory = tmp_path_factory.mktemp("patterns")
    for label in CLASSES:
        (directory / "photos" / label).mkdir(parents=True)
        for seed in range(64):
            kind = ("jpg", "png", "bmp")[seed % 3]
            pattern(label, seed).save(directory / "photos" / label / f"{seed}.{kind}")
    recipe = Recipe(lite0, "float32", "float16")
    store = Store(directory / "photos", recipe, directory, SplitRule(0, 70))
    store.run()
    return store


@pytest.fixture(scope="module")
def model(store: Store) -> Path:
    options = Options(tflite=("float32", "float16", "int8"), onnx=True)
    model_folder.write(store.evaluate("validation"), options, store.path / "model")
    return store.path / "model"


def test_each_file_gives_a_stranger_the_same_answers(
    model: Path, store: Store, tmp_path: Path
) -> None:
    rows = manifest.read(store.path / "manifest.parquet")
    tested = rows[rows["split"] == "testing"].head(TESTED)
    assert len(tested) == TESTED
    photos = [store.image_dir / path for path in tested["path"]]
    command = [sys.executable, "-I", STRANGER, model, *photos]
    done = subprocess.run(
        list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, env={"PATH": ""}
    )
    assert done.returncode == 0, done.stderr
    answers = {name: np.array(best) for name, best in json.loads(done.stdout).items()}
    right = {name: float((best == tested["label"]).mean()) for name, best in answers.items()}
    assert right["bytes"] > 0.8
    for name in ("pixels", "output_graph.pb", "model.onnx"):
        assert (answers[name] == answers["bytes"]).all(), name
    for name in ("model-float32.tflite", "model-float16.tflite"):
        assert abs(right[name] - right["bytes"]) <= 0.005, name
    assert abs(right["model-int8.tflite"] - right["bytes"]) <= 0.015
