"""Modules of all kinds in the pipeline, and which steps a changed module runs again."""

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import luigi
import numpy as np
import pytest

from pipeline.modules import efficientnet_lite, handles, preparation
from tasks import ComputeBottlenecks, ExportModel, PrepareModule
from tasks.messages import logger
from tests.support.keras_models import classifier
from tests.support.saved_modules import packed, tf1_module
from tests.support.web import Page, Web

Runner = Callable[..., list[str]]
STRANGER = Path(__file__).parents[1] / "support/stranger.py"


@pytest.fixture
def run(photo_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Export a model, and return the steps that had work."""
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))

    def export(**options: Any) -> list[str]:
        lines: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore
        logger.addHandler(handler)
        task = ExportModel(image_dir=photo_dir, output_dir=tmp_path / "out", **options)
        try:
            assert luigi.build([task], local_scheduler=True, log_level="INFO", no_lock=True)
        finally:
            logger.removeHandler(handler)
        return [line.split()[0] for line in lines if " took " in line]

    return export


def put(web: Web, module: Path) -> str:
    """Replace the module on the hub."""
    content = packed(module, module.with_suffix(".tgz")).read_bytes()
    return web.put("/google/quarters/1", Page(content, query="tf-hub-format=compressed"))


def test_a_module_from_a_hub_is_fetched_in_its_step_and_written_down(
    run: Runner, web: Web, tiny_module: Path, tmp_path: Path
) -> None:
    module = shutil.copytree(tiny_module, tmp_path / "module")
    handle = put(web, module)
    assert PrepareModule(tfhub_module=handle, output_dir=tmp_path / "out").complete() is False
    assert web.requests == []
    assert "PrepareModule" in run(tfhub_module=handle)
    assert run(tfhub_module=handle) == []
    assert len(web.requests) == 1
    (beside,) = tmp_path.glob("cache/*.json")
    (written,) = tmp_path.glob("out/modules/quarters-*.json")
    known = json.loads(written.read_text())
    frozen = {name: known[name] for name in ("frozen", "frozen_digest", "engine")}
    assert json.loads(beside.read_text()) | frozen == known
    assert known["frozen"] == str(written.with_suffix(".pb"))
    assert (known["handle"], known["height"], known["features"]) == (handle, 8, 12)


def test_the_same_weights_from_a_hub_and_a_folder_cost_nothing(
    run: Runner, web: Web, tiny_module: Path, tmp_path: Path
) -> None:
    run(tfhub_module=str(tiny_module))
    handle = put(web, shutil.copytree(tiny_module, tmp_path / "module"))
    assert run(tfhub_module=handle) == ["PrepareModule"]
    file = packed(tiny_module, tmp_path / "m.tar.gz")
    assert run(tfhub_module=str(file)) == ["PrepareModule"]


def test_a_lost_cache_is_fetched_again_and_nothing_is_computed(
    run: Runner, web: Web, tiny_module: Path, tmp_path: Path
) -> None:
    handle = put(web, shutil.copytree(tiny_module, tmp_path / "module"))
    run(tfhub_module=handle)
    shutil.rmtree(tmp_path / "cache")
    assert run(tfhub_module=handle) == ["PrepareModule"]
    assert handles.files(handle)


def test_other_weights_under_the_same_handle_are_noticed(
    run: Runner, web: Web, tiny_module: Path, tmp_path: Path
) -> None:
    module = shutil.copytree(tiny_module, tmp_path / "module")
    handle = put(web, module)
    run(tfhub_module=handle)
    (module / "assets/note.txt").write_text("other content")
    put(web, module)
    shutil.rmtree(tmp_path / "cache")
    ran = run(tfhub_module=handle)
    assert ran[0] == "PrepareModule"
    assert ran[-1] == "ExportModel"
    assert "ComputeBottlenecks" in ran


def test_a_digest_that_is_pinned_stops_other_weights(
    run: Runner, tiny_module: Path, tmp_path: Path
) -> None:
    run(tfhub_module=str(tiny_module))
    (written,) = tmp_path.glob("out/modules/*.json")
    pinned = json.loads(written.read_text())["digest"]
    assert run(tfhub_module=str(tiny_module), module_sha256=pinned) == ["PrepareModule"]
    task = PrepareModule(
        tfhub_module=str(tiny_module), module_sha256="0" * 64, output_dir=tmp_path / "out"
    )
    assert not luigi.build([task], local_scheduler=True, no_lock=True)


def test_another_range_computes_other_vectors(
    run: Runner, photo_dir: Path, tiny_module: Path, tmp_path: Path
) -> None:
    run(tfhub_module=str(tiny_module))
    assert "ComputeBottlenecks" in run(tfhub_module=str(tiny_module), image_range="signed")
    options = {"image_dir": photo_dir, "output_dir": tmp_path / "out"}
    unit, signed = (
        np.concatenate([rows.vectors for rows in task.read_split("training").batches()])
        for task in (
            ComputeBottlenecks(tfhub_module=str(tiny_module), image_range=image_range, **options)
            for image_range in ("unit", "signed")
        )
    )
    np.testing.assert_allclose(signed, unit * 2 - 1, atol=0.01)


@pytest.mark.parametrize("batch", [None, 1, 5])
def test_a_module_of_tensorflow_1_is_trained_on_and_exported(
    run: Runner, photo_dir: Path, tmp_path: Path, batch: int | None
) -> None:
    import tensorflow as tf

    module = tf1_module(tmp_path / "module", (batch, 8, 8, 3))
    run(tfhub_module=str(module), image_range="byte", vector_type="float32")
    exported = tmp_path / "out/current"
    assert json.loads((exported / "evaluation.json").read_text())["count"] == 4
    saved = tf.saved_model.load(str(exported / "saved_model"))
    paths = sorted((photo_dir / "red_rose").glob("*.jpg"))
    files = tf.constant([path.read_bytes() for path in paths])
    served = saved.signatures["serving_default"](image_bytes=files)
    photos = tf.random.stateless_uniform([7, 8, 8, 3], [0, 0])
    expected = saved.signatures["pixels"](image=photos)["prediction"].numpy()
    graph = tf.compat.v1.GraphDef.FromString((exported / "output_graph.pb").read_bytes())
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(graph, name="")
        frozen = session.run("final_result:0", {"Placeholder:0": photos.numpy()})
    np.testing.assert_allclose(frozen, expected, rtol=1e-4, atol=1e-5)
    assert set(served["classes"].numpy()[:, 0]) <= {b"red_rose", b"green leaf"}
    assert len(served["classes"]) == 24


@pytest.mark.slow
def test_a_built_in_module_is_built_once_for_all_output_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    steps = [PrepareModule(output_dir=tmp_path / name) for name in ("first", "second", "third")]
    steps[0].run()
    monkeypatch.setattr(efficientnet_lite, "save", None)
    steps[1].run()
    assert steps[1].module() == steps[0].module()
    (frozen,) = tmp_path.glob("cache/*.pb")
    frozen.unlink()
    assert not any(step.complete() for step in steps)
    monkeypatch.undo()
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    steps[2].run()
    assert all(step.complete() for step in steps)


def test_only_built_in_modules_are_shared_and_only_if_the_cache_is_writable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert preparation.folder("efficientnet-lite0", tmp_path) == handles.cache()
    assert preparation.folder(str(tmp_path), tmp_path) == tmp_path / "modules"
    monkeypatch.setattr("os.access", lambda *_: False)
    assert preparation.folder("efficientnet-lite0", tmp_path) == tmp_path / "modules"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__")  # Keras 3.15 with NumPy 2.4
def test_a_keras_file_is_trained_on_and_answers_without_this_project(
    run: Runner, photo_dir: Path, tmp_path: Path
) -> None:
    """The files of the model agree, also TFLite and ONNX; see support/stranger.py."""
    file = tmp_path / "own.keras"
    classifier().save(file)
    assert "PrepareModule" in run(
        tfhub_module=str(file), image_range="byte", tflite="float32", onnx=True
    )
    assert run(tfhub_module=str(file), image_range="byte", tflite="float32", onnx=True) == []
    photos = sorted(photo_dir.rglob("*.jpg"))
    command = [sys.executable, "-I", STRANGER, tmp_path / "out/current", *photos]
    done = subprocess.run(
        list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, env={"PATH": ""}
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert {"bytes", "pixels", "output_graph.pb", "model-float32.tflite", "model.onnx"} == set(
        answers
    )
    labels = [photo.parent.name for photo in photos]
    for name, best in answers.items():
        assert best == labels, name
