"""Small real photos, and a store of their bottlenecks, that several tests share."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline import bottlenecks, manifest, modules
from pipeline.bottlenecks import Counts
from pipeline.recipe import Recipe
from pipeline.split import SplitRule

PhotoMaker = Callable[..., Path]

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


def environment() -> dict[str, str]:
    """The environment without what points Luigi to another configuration."""
    return {k: v for k, v in os.environ.items() if not k.startswith("LUIGI")}


def luigi(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run the `luigi` command as people do."""
    command = [BIN / "luigi", "--module", "tasks", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True)


class Luigid:
    """A luigid on a free port of this machine, started and stopped as one likes."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.directory = directory

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [BIN / "luigid", "--address", "127.0.0.1", "--port", str(self.port)]
        with (self.directory / "log").open("a") as log:
            self.process = subprocess.Popen(
                command, cwd=self.directory, env=environment(), stdout=log, stderr=log
            )
        for _ in range(300):
            try:
                urllib.request.urlopen(self.url).close()
                return
            except OSError:
                assert self.process.poll() is None, (self.directory / "log").read_text()
                time.sleep(0.1)
        raise AssertionError("luigid does not answer")

    def stop(self, kill: bool = False) -> None:
        """Stop it, so that it keeps what it knows, or kill it, so that it does not."""
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        self.process.wait()


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


@dataclass
class Store:
    """A folder of photos with its store, run as often as one likes."""

    image_dir: Path
    recipe: Recipe
    path: Path
    rule: SplitRule = field(default_factory=SplitRule)

    def summary(self) -> manifest.Summary:
        table = manifest.build(manifest.list_photos(self.image_dir), self.image_dir, self.rule)
        manifest.write(table, self.path / "manifest.parquet")
        return manifest.read_summary(self.path / "manifest.parquet")

    def run(self, progress: Callable[[int, int, str], None] = lambda *_: None) -> Counts:
        classes = list(self.summary().classes)
        rows = manifest.read(self.path / "manifest.parquet")
        usable = rows[rows["status"] == "ok"]
        return bottlenecks.compute(
            usable, classes, self.image_dir, self.recipe, self.path, progress
        )

    def directories(self) -> list[Path]:
        classes = self.summary().classes
        return [bottlenecks.class_directory(self.path, self.recipe, c) for c in classes]

    def frame(self) -> pd.DataFrame:
        return pd.concat([pd.read_parquet(d) for d in self.directories()], ignore_index=True)


@pytest.fixture
def store(photo_dir: Path, tiny_module: Path, tmp_path: Path) -> Store:
    module = modules.prepare(str(tiny_module), tmp_path / "modules")
    (tmp_path / "store").mkdir()
    return Store(photo_dir, Recipe(module, "float32", "float16"), tmp_path / "store")
