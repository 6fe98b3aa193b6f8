"""Small real photos, and a store of their bottlenecks, that several tests share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.bottlenecks.recipe import Recipe
from pipeline.export import model_json, saved_model
from pipeline.head.softmax_head import Head
from pipeline.modules import preparation
from pipeline.photos import split
from pipeline.photos.split import SplitRule
from tests.support import objects as s3
from tests.support.commands import Luigid
from tests.support.objects import Objects, moto, proxy
from tests.support.photos import PhotoMaker
from tests.support.store import Store
from tests.support.web import Web, serve


@pytest.fixture
def luigid(tmp_path: Path) -> Iterator[Luigid]:
    """A luigid that runs, in a folder without a luigi.cfg."""
    (tmp_path / "luigid").mkdir()
    scheduler = Luigid(tmp_path / "luigid")
    scheduler.start()
    yield scheduler
    scheduler.stop()


@pytest.fixture
def make_photo() -> PhotoMaker:
    """Write a photo of coloured noise around one hue; equal arguments give equal bytes."""

    def make(
        path: Path,
        hue: int = 0,
        seed: int = 0,
        size: tuple[int, int] = (48, 40),
        kind: str | None = None,
    ) -> Path:
        generator = np.random.default_rng([hue, seed])
        pixels = generator.integers(0, 60, (size[1], size[0], 3))
        pixels[..., hue % 3] += 150
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path, format=kind)
        return path

    return make


@pytest.fixture
def photo_dir(tmp_path: Path, make_photo: PhotoMaker) -> Path:
    """Two classes of 24 photos that any module can tell apart: enough for every split."""
    for hue, label in enumerate(["green leaf", "red_rose"]):
        for seed in range(24):
            make_photo(tmp_path / "photos" / label / f"{seed}.jpg", hue, seed)
    return tmp_path / "photos"


@pytest.fixture
def mislabel(photo_dir: Path, make_photo: PhotoMaker) -> Callable[[], None]:
    """Put a leaf among the roses that are tested on, which no model that is any good names so."""

    def put() -> None:
        names = (f"{number}.jpg" for number in range(100, 300))
        tested = next(n for n in names if split.assign(SplitRule(), f"x/{n}") == split.TESTING)
        make_photo(photo_dir / "red_rose" / tested, 0, 100)

    return put


@pytest.fixture(scope="session")
def tiny_module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TF2 SavedModel that takes 8 x 8 pixels and gives 12 features: the colours of 4 quarters."""
    import tensorflow as tf

    class Quarters(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32)])
        def __call__(self, images: tf.Tensor) -> tf.Tensor:
            return tf.reshape(tf.nn.avg_pool2d(images, 4, 4, "VALID"), [-1, 12])

    directory = tmp_path_factory.mktemp("quarters")
    module = Quarters()
    tf.saved_model.save(module, str(directory), signatures=module.__call__)
    return directory


@pytest.fixture(scope="session")
def colours(tiny_module: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model that tells photos by the mean of their red, green and blue."""
    directory = tmp_path_factory.mktemp("colours")
    weights = np.tile(np.eye(3, dtype=np.float32) * 9, (4, 1))
    head = Head(("red", "green", "blue"), weights, np.zeros(3, np.float32))
    module = preparation.prepare(str(tiny_module), directory)
    saved_model.write(head, module, directory, "final_result")
    recipe = Recipe(module, "float32", "float16")
    model_json.write(directory, recipe, head.labels, ("Placeholder", "final_result"), {})
    return directory


@pytest.fixture
def store(photo_dir: Path, tiny_module: Path, tmp_path: Path) -> Store:
    module = preparation.prepare(str(tiny_module), tmp_path / "modules")
    (tmp_path / "store").mkdir()
    return Store(photo_dir, Recipe(module, "float32", "float16"), tmp_path / "store")


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A web server on loopback."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve() as server:
        yield server


@pytest.fixture(scope="session")
def s3_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Objects, str]]:
    """Moto's S3 server on loopback, behind what counts and fails; and the address."""
    with moto(tmp_path_factory.mktemp("moto")) as server, proxy(server) as given:
        yield given


@pytest.fixture
def objects(s3_proxy: tuple[Objects, str], monkeypatch: pytest.MonkeyPatch) -> Objects:
    """An empty bucket, which this process and those that it starts find in the environment."""
    given, url = s3_proxy
    for name, value in s3.environment(url).items():
        monkeypatch.setenv(name, value)
    given.empty()
    given.asked.clear()
    given.faults.clear()
    return given


@pytest.fixture
def options(photo_dir: Path, tiny_module: Path, tmp_path: Path) -> dict[str, Any]:
    """Of a pipeline on few photos, with a tiny module."""
    return {
        "image_dir": photo_dir,
        "tfhub_module": str(tiny_module),
        "output_dir": tmp_path / "out",
    }
