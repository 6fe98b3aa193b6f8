"""Fixtures shared by tests: photos, modules, bottlenecks, servers, options."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.bottlenecks.recipe import Recipe
from pipeline.export import model_json, saved_model
from pipeline.head.familiarity import Familiarity
from pipeline.head.softmax_head import Head
from pipeline.modules import preparation
from pipeline.modules.loading import Module
from pipeline.photos import split
from pipeline.photos.split import SplitRule
from tests.support import objects as s3
from tests.support.commands import Luigid
from tests.support.objects import Objects, moto, proxy
from tests.support.photos import PhotoMaker, write_photo
from tests.support.steps import ALL, Pipeline
from tests.support.store import Store
from tests.support.web import Web, serve

# There is one test process per core. More threads than that only wait for each other.
for variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(variable, "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run long tests first: at the end, one of them would keep a process busy and others idle."""
    items.sort(key=lambda item: ("test_fortnight" not in item.nodeid, "slow" not in item.keywords))


@pytest.fixture
def luigid(tmp_path: Path) -> Iterator[Luigid]:
    """Start luigid in a folder without a luigi.cfg."""
    (tmp_path / "luigid").mkdir()
    scheduler = Luigid(tmp_path / "luigid")
    scheduler.start()
    yield scheduler
    scheduler.stop()


@pytest.fixture
def make_photo() -> PhotoMaker:
    """Return a function that writes a photo: see `write_photo`."""
    return write_photo


@pytest.fixture(scope="session")
def original_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return two classes of 24 photos that any module can tell apart: enough for every split.

    Tests change the copy in `photo_dir`, never these.
    """
    directory = tmp_path_factory.mktemp("original") / "photos"  # with the usual permissions
    for hue, label in enumerate(["green leaf", "red_rose"]):
        for seed in range(24):
            write_photo(directory / label / f"{seed}.jpg", hue, seed)
    return directory


@pytest.fixture
def photo_dir(original_photos: Path, tmp_path: Path) -> Path:
    """Return a copy of the photos for one test, with the same modification times."""
    return Path(shutil.copytree(original_photos, tmp_path / "photos"))


@pytest.fixture
def mislabel(photo_dir: Path, make_photo: PhotoMaker) -> Callable[[], None]:
    """Return a function that adds a mislabeled photo to the test split."""

    def put() -> None:
        names = (f"{number}.jpg" for number in range(100, 300))
        tested = next(n for n in names if split.assign(SplitRule(), f"x/{n}") == split.TESTING)
        make_photo(photo_dir / "red_rose" / tested, 0, 100)

    return put


@pytest.fixture(scope="session")
def tiny_module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a TF2 module from 8 x 8 pixels to 12 features, the mean colours of four quarters."""
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
def lite0(tmp_path_factory: pytest.TempPathFactory) -> Module:
    """Build efficientnet-lite0 once, alone in its folder. Tests must not change its files."""
    return preparation.prepare("efficientnet-lite0", tmp_path_factory.mktemp("modules"))


@pytest.fixture(scope="session")
def finished_run(
    original_photos: Path, tiny_module: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the output folder of a run on `original_photos`. Tests change copies of it."""
    out = tmp_path_factory.mktemp("finished") / "out"
    options = {"image_dir": original_photos, "tfhub_module": str(tiny_module), "output_dir": out}
    assert Pipeline(**options).run() == sorted(ALL)
    return out


@pytest.fixture(scope="session")
def colours(tiny_module: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export a model that classifies photos by their mean red, green and blue."""
    return _colours(tiny_module, tmp_path_factory.mktemp("colours"), None)


@pytest.fixture(scope="session")
def choosy(tiny_module: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export a model that classifies like `colours`, but does not know grey photos."""
    familiarity = Familiarity(
        directions=np.eye(12, dtype=np.float32),
        references=np.tile(np.eye(3, dtype=np.float32) / 2, (4, 1)),
        similarity_units=np.array([0, 1], np.float32),
        logit_units=np.array([0, 1], np.float32),
        cap=np.array(0, np.float32),
        other=np.array(-1),
        levels=np.linspace(0.6, 0.99, 99, dtype=np.float32),
    )
    directory = tmp_path_factory.mktemp("choosy")
    facts = {"unknown_rate": 0.05, "lowest": 0.01, "other_class": ""}
    facts |= {"passed": None, "unknown_count": 0}
    (directory / "evaluation.json").write_text(json.dumps({"unknown": facts}))
    return _colours(tiny_module, directory, familiarity)


def _colours(tiny_module: Path, directory: Path, familiarity: Familiarity | None) -> Path:
    weights = np.tile(np.eye(3, dtype=np.float32) * 9, (4, 1))
    head = Head(("red", "green", "blue"), weights, np.zeros(3, np.float32), familiarity)
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
    """Start a web server on 127.0.0.1."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve() as server:
        yield server


@pytest.fixture(scope="session")
def s3_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Objects, str]]:
    """Start moto's S3 server behind a proxy that records and fails requests; also its URL."""
    with moto(tmp_path_factory.mktemp("moto")) as server, proxy(server) as objects_and_url:
        yield objects_and_url


@pytest.fixture
def objects(s3_proxy: tuple[Objects, str], monkeypatch: pytest.MonkeyPatch) -> Objects:
    """Empty the bucket, and point this process and its children to it by the environment."""
    bucket, url = s3_proxy
    for name, value in s3.environment(url).items():
        monkeypatch.setenv(name, value)
    bucket.empty()
    bucket.requests.clear()
    bucket.faults.clear()
    return bucket


@pytest.fixture
def options(photo_dir: Path, tiny_module: Path, tmp_path: Path) -> dict[str, Any]:
    """Return the options of a pipeline on `photo_dir`, with the tiny module."""
    return {
        "image_dir": photo_dir,
        "tfhub_module": str(tiny_module),
        "output_dir": tmp_path / "out",
    }
