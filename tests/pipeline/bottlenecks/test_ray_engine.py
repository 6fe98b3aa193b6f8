"""The Ray engine, on a real cluster."""

import json
import pickle
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.bottlenecks import ray_engine
from pipeline.bottlenecks.writer import Counts
from pipeline.errors import UserError
from pipeline.modules.loading import Module
from pipeline.pixels.augmentation import Augmentation
from tests.support import ray_cluster
from tests.support.photos import PhotoMaker, spoil
from tests.support.saved_modules import refusing_module
from tests.support.store import Store


def test_without_ray_it_says_what_to_install(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'retrain\[ray\]'"):
        list(ray_engine.extract([], store.recipe.module, "float32"))


def test_a_photo_for_which_the_module_fails_is_named(tmp_path: Path) -> None:
    directory = str(refusing_module(tmp_path / "module"))
    extractor = ray_engine._Extractor(Module(directory, directory, "", 8, 8, 3), "float32")
    pixels = np.zeros((2, 8, 8, 3), np.float32)
    pixels[1] = 1
    texts = {name: np.array(["", ""]) for name in ("reason", "mistake")}
    rows = {"index": np.arange(2), "path": np.array(["a.png", "b.png"]), "pixels": pixels, **texts}
    with pytest.raises(UserError, match=r"raises an error for b\.png: .*too bright"):
        ray_engine._batch(extractor(rows))


@pytest.mark.slow
@pytest.mark.skipif(
    not ray_cluster.available(), reason="needs unshare --net, as Ray listens on all addresses"
)
def test_a_node_that_dies_costs_no_row_and_the_rows_are_those_of_local_work(
    store: Store, options: dict[str, Any], make_photo: PhotoMaker, tmp_path: Path
) -> None:
    spoil(make_photo(store.image_dir / "red_rose/0.png"))
    copies = {"augmentations": 20, "flip_left_right": True, "random_rotation": 20}
    store.recipe = replace(store.recipe, augmentation=Augmentation(**copies))
    store.run()
    local = store.frame()
    store.path = tmp_path / "ray"
    store.path.mkdir()
    pickles = []
    for name, what in {"store": store, "options": {**options, "precision": "float32"}}.items():
        pickles.append(tmp_path / f"{name}.pickle")
        pickles[-1].write_bytes(pickle.dumps(what))
    done = ray_cluster.run("-m", "tests.support.ray_cluster", *pickles)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    at, total = found["killed_at"]
    assert 0 < at < total == len(local) + 21
    assert found["alive"] == 1
    assert found["counts"]["computed"] == len(local)
    assert found["counts"]["rejected"].keys() == {"red_rose/0.png"}
    assert store.run() == Counts(reused=len(local), rejected=found["counts"]["rejected"])
    pd.testing.assert_frame_equal(store.frame(), local)
    assert found["built"]
    assert "cannot be decoded (Invalid PNG data" in found["counts"]["rejected"]["red_rose/0.png"]
    assert re.findall(r"Ray\. (.*)", done.stderr) == ["Bottlenecks: 48 computed, 0 reused"]
    parts = sorted(options["output_dir"].glob("bottlenecks/*/*-*/*.parquet"))
    rows = pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)
    pd.testing.assert_frame_equal(rows, local[local["variant"] == 0].reset_index(drop=True))
