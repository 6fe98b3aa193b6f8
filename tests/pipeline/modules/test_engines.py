"""Engines: the fastest one that computes the right vectors, in the best precision."""

from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.modules import consistency, engines, frozen_graph, loading, preparation
from pipeline.modules.loading import Module

BATCH = 4


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    engines._openvino_is_installed.cache_clear()
    yield
    engines._openvino_is_installed.cache_clear()


@pytest.fixture
def tiny(tiny_module: Path, tmp_path: Path) -> Module:
    """A small module with its frozen graph."""
    module = preparation.prepare(str(tiny_module), tmp_path)
    return frozen_graph.freeze(module, tmp_path / "frozen.pb")


@pytest.fixture
def bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor on which auto is OpenVINO."""
    monkeypatch.setattr(engines, "resolve_precision", lambda _: "bfloat16")


def without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "openvino" else find_spec(name)
    )


def cosines(module: Module, precision: str) -> np.ndarray:
    """Compare OpenVINO's vectors of a module with the float32 vectors of its SavedModel."""
    images = consistency.images(module.height, module.width, BATCH)
    ours = engines.load(replace(module, engine="openvino"), precision, BATCH)(images)
    assert ours.dtype == np.float32
    theirs = loading.load(module)[0](images).numpy()
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    result: np.ndarray = (ours * theirs).sum(1) / norms
    return result


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_given_precision_is_used(precision: str) -> None:
    assert engines.resolve_precision(precision) == precision


@pytest.mark.parametrize(
    ("flags", "gpu", "hidden", "precision"),
    [
        ("sse avx512_bf16", False, "", "bfloat16"),
        ("sse amx_bf16", False, "0", "bfloat16"),
        ("sse avx2", False, "0", "float32"),
        ("sse avx2", True, "0", "float16"),
        ("sse avx2", True, "-1", "float32"),
    ],
)
def test_auto_is_the_best_precision_of_the_machine(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: str,
    gpu: bool,
    hidden: str,
    precision: str,
) -> None:
    (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
    if gpu:
        (tmp_path / "gpus").mkdir()
    monkeypatch.setattr(engines, "_CPU_FLAGS", tmp_path / "cpuinfo")
    monkeypatch.setattr(engines, "_GPUS", tmp_path / "gpus")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "nvidia")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert engines.resolve_precision.__wrapped__("auto") == precision


@pytest.mark.parametrize(
    ("precision", "installed", "engine"),
    [
        ("bfloat16", True, "openvino"),
        ("bfloat16", False, "tensorflow"),
        ("float32", True, "tensorflow"),
        ("float16", True, "tensorflow"),
    ],
)
def test_auto_is_openvino_where_it_is_faster(
    monkeypatch: pytest.MonkeyPatch, precision: str, installed: bool, engine: str
) -> None:
    monkeypatch.setattr(engines, "resolve_precision", lambda _: precision)
    if not installed:
        without_openvino(monkeypatch)
    assert engines.candidate("auto") == engine


def test_a_given_engine_must_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engines.candidate("openvino") == "openvino"
    assert engines.candidate("tensorflow") == "tensorflow"
    engines._openvino_is_installed.cache_clear()
    without_openvino(monkeypatch)
    with pytest.raises(UserError, match=r"not installed; install it with: pip install 'retrain"):
        engines.candidate("openvino")


def test_both_engines_compute_the_same_vectors(tiny: Module) -> None:
    assert engines.choose(tiny, "openvino") == "openvino"
    assert cosines(tiny, "float32").min() > 0.9999


@pytest.mark.slow
def test_both_engines_compute_the_same_vectors_with_a_built_in_module(
    lite0: Module, tmp_path: Path
) -> None:
    module = frozen_graph.freeze(lite0, tmp_path / "frozen.pb")
    assert engines.choose(module, "openvino") == "openvino"
    assert cosines(module, "float32").min() > 0.9999
    assert cosines(module, "bfloat16").min() > 0.98


@pytest.mark.usefixtures("bfloat16")
def test_tensorflow_runs_what_openvino_cannot_read(tmp_path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    spec = tf.TensorSpec([None, 8, 8, 3], tf.float32)
    module.__call__ = tf.function(
        lambda images: tf.math.igamma(1.0, tf.reduce_mean(images, [1, 2])), [spec]
    )
    tf.saved_model.save(module, str(tmp_path / "module"))
    prepared = preparation.prepare(str(tmp_path / "module"), tmp_path)
    frozen = frozen_graph.freeze(prepared, tmp_path / "frozen.pb")
    assert engines.choose(frozen, "auto") == "tensorflow"
    with pytest.raises(UserError, match=r"OpenVINO cannot run .*set inference_engine to auto"):
        engines.choose(frozen, "openvino")


@pytest.mark.usefixtures("bfloat16")
def test_tensorflow_runs_what_cannot_be_frozen(tiny: Module) -> None:
    thawed = replace(tiny, frozen="")
    assert engines.choose(thawed, "auto") == "tensorflow"
    with pytest.raises(UserError, match="cannot be frozen"):
        engines.choose(thawed, "openvino")


@pytest.mark.usefixtures("bfloat16")
def test_tensorflow_runs_what_openvino_computes_differently(
    tiny: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_openvino", lambda *_: lambda images: np.ones((len(images), 12)))
    assert engines.choose(tiny, "auto") == "tensorflow"


def test_tensorflow_replaces_openvino_once_it_is_gone(
    tiny: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_openvino(monkeypatch)
    assert cosines(tiny, "float32").min() > 0.999999


def test_a_damaged_graph_is_deleted_so_that_the_next_run_writes_it_again(tiny: Module) -> None:
    content = bytearray(Path(tiny.frozen).read_bytes())
    content[len(content) // 2] ^= 64
    Path(tiny.frozen).write_bytes(content)
    with pytest.raises(UserError, match=r"frozen\.pb was damaged and has been deleted; run again"):
        engines.load(replace(tiny, engine="openvino"), "float32", BATCH)
    assert not Path(tiny.frozen).exists()
