"""Small real photos, and a store of their bottlenecks, that several tests share."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from luigi import Task, build
from PIL import Image

from pipeline import bottlenecks, contract, evaluation, export, manifest, modules, rows, split
from pipeline import head as heads
from pipeline.bottlenecks import Counts
from pipeline.export import Source
from pipeline.head import Head
from pipeline.recipe import Recipe
from pipeline.rows import Photos, Rows
from pipeline.split import SplitRule
from tests import objects as s3
from tests.objects import Objects, moto, proxy
from tests.web import Web, serve

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
    module = modules.prepare(str(tiny_module), directory)
    export.export(head, module, directory, "final_result")
    recipe = Recipe(module, "float32", "float16")
    contract.write(directory, recipe, head.labels, ("Placeholder", "final_result"), {})
    return directory


def write_figures(trained: Head, test: Photos, directory: Path) -> None:
    """What later steps read of an evaluation, without its page."""
    figures, predictions = evaluation.evaluate(trained, test)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "evaluation.json").write_text(json.dumps(asdict(figures)))
    predictions.to_parquet(directory / "predictions.parquet")


@dataclass
class Store:
    """A folder of photos with its store, run as often as one likes."""

    image_dir: Any  # a path, or a place in a store
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

    def part(self, split: str) -> rows.Part:
        return rows.Part(self.directories(), split)

    def rows(self, split: str) -> Rows:
        return rows.joined(list(self.part(split).batches()))

    def evaluate(self, validation: str = "testing") -> Source:
        """Train a head and measure it: what a model is exported from."""
        trained = heads.train(*(self.part(part).labelled for part in ("training", validation)))
        heads.write(*trained, self.path / "head")
        figures, predictions = evaluation.evaluate(trained[0], self.part("testing"))
        directory = self.path / "evaluation"
        directory.mkdir()
        (directory / "evaluation.json").write_text(json.dumps(asdict(figures)), encoding="utf-8")
        predictions.to_parquet(directory / "predictions.parquet")
        manifest_path = self.path / "manifest.parquet"
        return Source(self.path / "head", directory, self.recipe, manifest_path, self.image_dir)

    def frame(self) -> pd.DataFrame:
        return pd.concat([pd.read_parquet(d) for d in self.directories()], ignore_index=True)


@pytest.fixture
def store(photo_dir: Path, tiny_module: Path, tmp_path: Path) -> Store:
    module = modules.prepare(str(tiny_module), tmp_path / "modules")
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


def points(
    n: int, classes: int, seed: int, features: int = 20, noise: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """Noisy points around a centre for each class, on features of very different scales."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(size=(classes, features))
    numbers = generator.integers(0, classes, n)
    vectors = centres[numbers] + noise * generator.normal(size=(n, features))
    labels = np.array([f"class {number}" for number in numbers], dtype=object)
    return (vectors * np.logspace(-2, 2, features)).astype(np.float32), labels


@pytest.fixture
def options(photo_dir: Path, tiny_module: Path, tmp_path: Path) -> dict[str, Any]:
    """Of a pipeline on few photos, with a tiny module."""
    return {
        "image_dir": photo_dir,
        "tfhub_module": str(tiny_module),
        "output_dir": tmp_path / "out",
    }


def run(task: Task) -> None:
    """Run a task and all that it requires."""
    assert build([task], local_scheduler=True, log_level="INFO", no_lock=True)


def saved(directory: Path, content: str = "") -> Path:
    """A model's folder, as far as promoting it looks at it."""
    (directory / "saved_model/variables").mkdir(parents=True, exist_ok=True)
    (directory / "saved_model/saved_model.pb").write_text(content)
    (directory / "saved_model/variables/variables.index").write_text(content)
    return directory
