"""What the bottleneck stage is compared with: other ways to the same vectors, and bare engines.

Each function returns photos per second, or steps per second, and runs in a process of its own.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import tensorflow_import
from pipeline.bottlenecks.extraction import BATCH
from pipeline.modules import engines, frozen_graph, loading
from pipeline.modules.engines import FLOAT32
from pipeline.modules.loading import Module
from pipeline.pixels import decoding

SECONDS = 8.0  # limit for measurements without an end of their own
_HEAD_BATCH, _EVAL_STEP_INTERVAL = 100, 10  # defaults of retrain.py


def rate(steps: Sequence[Callable[[], Any]], for_ever: bool = False) -> float:
    """Return steps per second, until the end or the time limit, after one step of warm-up."""
    steps[0]()
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS and (for_ever or done < len(steps)):
        steps[done % len(steps)]()
        done += 1
    return done / (time.perf_counter() - start)


def retrain(paths: list[Path], module: Module, scratch: Path, onednn: bool) -> float:
    """Decode, resize and forward one photo at a time, in float32, into one text file each."""
    os.environ.pop("TF_ENABLE_ONEDNN_OPTS", None)  # inherited from the main process
    if onednn:
        tensorflow_import.import_tensorflow()
    import tensorflow as tf

    call, _ = loading.load(module)
    shape = tf.TensorSpec([1, module.height, module.width, 3], tf.float32)
    forward = tf.function(call, input_signature=[shape])
    scratch.mkdir(parents=True, exist_ok=True)

    def one(path: Path) -> None:
        pixels = tf.io.decode_image(path.read_bytes(), channels=3, expand_animations=False)
        pixels = tf.image.resize(pixels, (module.height, module.width))[None] / 255.0
        text = ",".join(str(value) for value in forward(pixels).numpy()[0])
        (scratch / f"{path.parent.name}-{path.name}.txt").write_text(text)

    return rate([lambda path=path: one(path) for path in paths])


def retrain_head(scratch: Path, features: int, classes: int) -> float:
    """Train a softmax layer by gradient descent from the text files, which each step reads again.

    Every tenth step also evaluates the batch and as many validation photos, as in retrain.py.
    """
    import tensorflow as tf

    files = sorted(scratch.glob("*.txt"))
    generator = np.random.default_rng(0)
    weights = tf.Variable(tf.random.normal([features, classes], stddev=0.001))
    bias = tf.Variable(tf.zeros([classes]))
    steps = 0

    def batch() -> tuple[Any, Any]:
        chosen = generator.integers(len(files), size=_HEAD_BATCH)
        rows = [[float(x) for x in files[i].read_text().split(",")] for i in chosen]
        return tf.constant(rows), tf.constant(chosen % classes)

    @tf.function
    def train(vectors: Any, labels: Any) -> None:
        with tf.GradientTape() as tape:
            logits = vectors @ weights + bias
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses)
        for variable, gradient in zip(
            (weights, bias), tape.gradient(loss, (weights, bias)), strict=True
        ):
            variable.assign_sub(0.01 * gradient)

    @tf.function
    def accuracy(vectors: Any, labels: Any) -> Any:
        best = tf.argmax(vectors @ weights + bias, 1)
        return tf.reduce_mean(tf.cast(tf.equal(best, labels), tf.float32))

    def step() -> None:
        nonlocal steps
        vectors, labels = batch()
        train(vectors, labels)
        if steps % _EVAL_STEP_INTERVAL == 0:
            accuracy(vectors, labels).numpy()
            accuracy(*batch()).numpy()
        steps += 1

    return rate([step], for_ever=True)


def expert(paths: list[Path], module: Module, _scratch: Path, precision: str) -> float:
    """Run a batched tf.data pipeline such as an expert writes in an afternoon."""
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    call, _ = loading.load(module)

    def pixels(path: Any) -> Any:
        decoded = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        return tf.image.resize(decoded, (module.height, module.width)) / 255.0

    with engines.mixed_precision(precision):
        forward = tf.function(call)
        names = tf.data.Dataset.from_tensor_slices([str(path) for path in paths])
        photos = names.map(pixels, tf.data.AUTOTUNE).batch(BATCH).prefetch(tf.data.AUTOTUNE)
        start = time.perf_counter()
        vectors = np.concatenate([forward(batch).numpy() for batch in photos])
        return len(vectors) / (time.perf_counter() - start)


def decode(paths: list[Path], module: Module, _scratch: Path) -> float:
    """Only read, decode and resize, as the stage does."""
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    def pixels(path: Any) -> Any:
        return decoding.decode(tf.io.read_file(path), module.input)

    decoded = tf.data.Dataset.from_tensor_slices([str(path) for path in paths])
    batches = iter(decoded.map(pixels, tf.data.AUTOTUNE).batch(BATCH).prefetch(2).repeat())
    next(batches)
    return BATCH * rate([lambda: next(batches)], for_ever=True)


def tensorflow(_paths: list[Path], module: Module, _scratch: Path, precision: str) -> float:
    """Only run the forward pass, on a batch in memory."""
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    pixels = tf.constant(_noise(module))
    with engines.mixed_precision(precision):
        forward = engines.load(replace(module, engine=engines.TENSORFLOW), precision, BATCH)
        return BATCH * rate([lambda: forward(pixels)], for_ever=True)


def openvino(_paths: list[Path], module: Module, _scratch: Path, precision: str) -> float:
    """Only run the forward pass, on a batch in memory."""
    forward = engines.load(replace(module, engine=engines.OPENVINO), precision, BATCH)
    pixels = _noise(module)
    return BATCH * rate([lambda: forward(pixels)], for_ever=True)


def onnx_runtime(_paths: list[Path], module: Module, scratch: Path) -> float:
    """Only run the forward pass in float32, on a batch in memory."""
    tensorflow_import.import_tensorflow()
    import onnxruntime
    import tensorflow as tf
    import tf2onnx

    graph = tf.compat.v1.GraphDef.FromString(Path(module.frozen).read_bytes())
    scratch.mkdir(parents=True, exist_ok=True)
    file = str(scratch / "module.onnx")
    tf2onnx.convert.from_graph_def(graph, None, ["photos:0"], ["Identity:0"], output_path=file)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    pixels = {session.get_inputs()[0].name: _noise(module)}
    return BATCH * rate([lambda: session.run(None, pixels)], for_ever=True)


def litert(_paths: list[Path], module: Module, _scratch: Path) -> float:
    """Only run the forward pass in float32, on a batch in memory."""
    tensorflow_import.import_tensorflow()
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    call = frozen_graph.load(module, BATCH)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([call], tf.Module())
    content = converter.convert()
    interpreter = Interpreter(model_content=content, num_threads=os.cpu_count())
    interpreter.allocate_tensors()
    position = interpreter.get_input_details()[0]["index"]
    output = interpreter.get_output_details()[0]["index"]
    pixels = _noise(module)

    def step() -> Any:
        interpreter.set_tensor(position, pixels)
        interpreter.invoke()
        return interpreter.get_tensor(output)

    return BATCH * rate([step], for_ever=True)


def forward_passes(precision: str) -> dict[str, tuple[Callable[..., float], tuple[str, ...]]]:
    """Return the forward passes to measure, by name, with their arguments."""
    passes = {
        f"{engine.__name__} {kind}": (engine, (kind,))
        for engine in (tensorflow, openvino)
        for kind in dict.fromkeys((FLOAT32, precision))
    }
    return passes | {
        "ONNX Runtime float32": (onnx_runtime, ()),
        "LiteRT float32": (litert, ()),
    }


def _noise(module: Module) -> np.ndarray:
    shape = (BATCH, module.height, module.width, 3)
    return np.random.default_rng(0).random(shape, np.float32)
