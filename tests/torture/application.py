"""Take a Keras application with random weights through all steps that use a module.

    python -m tests.torture.application NAME FOLDER

prints as JSON, for each file, the greatest difference between its probabilities and the network's
own, or why it cannot be written; the peak memory in GB; and the engine that ran the module. It runs
in a process of its own, as Keras and TensorFlow do not return memory.
"""

import importlib
import json
import resource
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.export import onnx, runtimes, saved_model, tflite
from pipeline.head.softmax_head import Head
from pipeline.modules import engines, frozen_graph, keras_export, preparation
from tests.support.keras_models import network, save_weights

NAMES = ("a", "b", "c")
TENSORS = (saved_model.INPUT_TENSOR, "final_result")


def vectors_of(name: str, photos: np.ndarray, weights: Path) -> np.ndarray:
    """Build a network and save its weights; return its own vectors of photos in [0, 1]."""
    model = network(name, photos.shape[1])
    save_weights(model, weights)
    application = getattr(keras_export.import_keras().applications, name)
    preprocess = importlib.import_module(application.__module__).preprocess_input
    vectors: np.ndarray = model(preprocess(photos * 255.0), training=False).numpy()
    return vectors


def main(name: str, folder: Path) -> None:
    size = 80 if "ception" in name else 32  # the least that they take
    photos = np.random.default_rng(0).random((2, size, size, 3), np.float32)
    vectors = vectors_of(name, photos, folder / "weights.h5")
    scale = 1 / np.linalg.norm(vectors, axis=1).mean()
    kernel = np.random.default_rng(1).normal(0, scale, (vectors.shape[1], len(NAMES)))
    head = Head(NAMES, kernel.astype(np.float32), np.zeros(len(NAMES), np.float32))
    expected = head.probabilities(vectors)
    module = preparation.prepare(f"keras:{name}@{folder}/weights.h5", folder / "modules", size)
    (folder / "weights.h5").unlink()
    module = frozen_graph.freeze(module, folder / "module.pb")
    module = replace(module, engine=engines.choose(module, engines.AUTO))
    run = engines.load(module, engines.FLOAT32, len(photos))
    results: dict[str, object] = {
        "engine": module.engine if module.frozen else "not frozen",
        "vectors": float(np.abs(head.probabilities(run(photos)) - expected).max()),
    }

    def attempt(file: str, write: Callable[[], None], load: Callable[[Path], object]) -> None:
        try:
            write()
            found = load(folder / file)(photos)  # type: ignore[operator]
            results[file] = float(np.abs(found - expected).max())
        except Exception as error:  # converters raise all kinds
            results[file] = f"{type(error).__name__}: {str(error)[:200]}"

    write = partial(saved_model.write, head, module, folder, TENSORS[1])
    attempt("saved_model", write, runtimes.saved_model)
    write_tflite = partial(tflite.write, manifest=pd.DataFrame(), image_dir=folder)
    attempt(
        "model-float32.tflite",
        lambda: write_tflite(folder, "float32", NAMES, module.input),
        runtimes.tflite,
    )
    attempt("model.onnx", lambda: onnx.write(folder, TENSORS, NAMES), runtimes.onnx)
    results["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
