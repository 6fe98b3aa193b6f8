"""Every Keras application with random weights: frozen, extracted from, and exported.

Each step runs in a process of its own, as Keras and TensorFlow do not return memory. Converters
copy weights about twenty times, so that they get only the smaller networks.
"""

import importlib
import resource
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import pytest

from pipeline.export import onnx, runtimes, saved_model, tflite
from pipeline.fine_tuning import memory
from pipeline.head.softmax_head import Head
from pipeline.modules import engines, frozen_graph, keras_export, names, preparation
from pipeline.modules.loading import Module
from tests.support.keras_models import network, save_weights

NAMES = [
    *(f"ConvNeXt{size}" for size in ("Tiny", "Small", "Base", "Large", "XLarge")),
    *("DenseNet121", "DenseNet169", "DenseNet201"),
    *(f"EfficientNetB{number}" for number in range(8)),
    *(f"EfficientNetV2{size}" for size in ("B0", "B1", "B2", "B3", "S", "M", "L")),
    *("InceptionResNetV2", "InceptionV3", "MobileNet", "MobileNetV2"),
    *("MobileNetV3Large", "MobileNetV3Small", "NASNetLarge", "NASNetMobile"),
    *("ResNet50", "ResNet101", "ResNet152", "ResNet50V2", "ResNet101V2", "ResNet152V2"),
    *("VGG16", "VGG19", "Xception"),
]
CONVERTED = 120e6  # bytes of weights
MEMORY = 10  # bytes that a process takes at most, for each byte of large weights
TENSORS = (saved_model.INPUT_TENSOR, "final_result")
T = TypeVar("T")


def alone(step: Callable[..., T], *arguments: object) -> T:
    """Run a step in a new process."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(step, arguments)


def original(name: str, photos: np.ndarray, weights: Path) -> np.ndarray:
    """Build a network, save its weights, and return its own vectors of photos in [0, 1]."""
    model = network(name, photos.shape[1])
    for layer in model.layers:
        kind = type(layer).__name__
        if kind == "LayerScale":  # at first, the blocks of ConvNeXt contribute a millionth
            layer.gamma.assign(1e5 * layer.gamma)
        elif kind == "BatchNormalization" and name == "EfficientNetV2L":  # amplifies rounding
            layer.gamma.assign(0.9 * layer.gamma)
    save_weights(model, weights)
    application = getattr(keras_export.import_keras().applications, name)
    preprocess = importlib.import_module(application.__module__).preprocess_input
    vectors: np.ndarray = model(preprocess(photos * 255.0), training=False).numpy()
    return vectors


def prepared(handle: str, folder: Path, size: int) -> Module:
    """Prepare a module as the step PrepareModule does."""
    module = preparation.prepare(handle, folder / "modules", size)
    module = frozen_graph.freeze(module, folder / "module.pb")
    return replace(module, engine=engines.choose(module, engines.AUTO))


def extracted(module: Module, photos: np.ndarray) -> np.ndarray:
    return engines.load(module, engines.FLOAT32, len(photos))(photos)


def of_saved_model(head: Head, module: Module, folder: Path, photos: np.ndarray) -> np.ndarray:
    saved_model.write(head, module, folder, TENSORS[1])
    return runtimes.saved_model(folder / "saved_model")(photos)


def of_tflite(head: Head, module: Module, folder: Path, photos: np.ndarray) -> np.ndarray:
    tflite.write(folder, "float32", head.labels, module.input, folder, pd.DataFrame())
    return runtimes.tflite(folder / "model-float32.tflite")(photos)


def of_onnx(head: Head, _: Module, folder: Path, photos: np.ndarray) -> np.ndarray:
    onnx.write(folder, TENSORS, head.labels)
    return runtimes.onnx(folder / onnx.NAME)(photos)


def test_no_application_is_left_out() -> None:
    assert sorted(NAMES) == names.applications()


@pytest.mark.torture
@pytest.mark.parametrize("name", NAMES)
def test_all_files_of_an_application_agree(name: str, tmp_path: Path) -> None:
    size = 80 if "ception" in name else 32  # the least that they take
    photos = np.random.default_rng(0).random((2, size, size, 3), np.float32)
    weights = tmp_path / "weights.h5"
    vectors = alone(original, name, photos, weights)
    bytes_ = weights.stat().st_size
    if MEMORY * bytes_ > (memory.available_bytes() or 0):
        pytest.skip(f"{bytes_ / 1e6:.0f} MB of weights need too much memory")
    module = alone(prepared, f"keras:{name}@{weights}", tmp_path, size)
    weights.unlink()
    assert (module.height, module.features) == (size, vectors.shape[1])
    assert module.frozen
    tolerance = 1e-4 * np.abs(vectors).max()
    found = alone(extracted, module, photos)
    np.testing.assert_allclose(found, vectors, rtol=1e-3, atol=tolerance)
    scale = 1 / np.linalg.norm(vectors, axis=1).mean()
    kernel = np.random.default_rng(1).normal(0, scale, (vectors.shape[1], 3)).astype(np.float32)
    head = Head(("a", "b", "c"), kernel, np.zeros(3, np.float32))
    files = [of_saved_model, *([of_tflite, of_onnx] if bytes_ <= CONVERTED else [])]
    for of_file in files:
        probabilities = alone(of_file, head, module, tmp_path, photos)
        np.testing.assert_allclose(probabilities, head.probabilities(vectors), atol=1e-4)
    taken = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"\n{name}: {module.engine}, {len(files)} files, at most {taken:.1f} GB in a process")
