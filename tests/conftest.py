"""Small real photos that several tests share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.web import Web, serve

PhotoMaker = Callable[..., Path]


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


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A web server on loopback."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve() as server:
        yield server
