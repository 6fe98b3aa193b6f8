"""Runtimes: load an exported file with the runtime that it is made for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import tensorflow_import
from pipeline.errors import UserError
from pipeline.export import conversion
from pipeline.modules import signatures

# From float32 [n, height, width, 3] in [0, 1] to probabilities, float32 [n, classes].
Classifier = Callable[[Any], np.ndarray]


def saved_model(directory: Path) -> Classifier:
    """Load the `pixels` signature of a SavedModel."""
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    loaded = tf.saved_model.load(tensorflow_import.literal_path(directory))
    call = loaded.signatures[signatures.PIXELS]

    def classify(pixels: Any, _kept: Any = loaded) -> np.ndarray:
        probabilities: np.ndarray = call(image=tf.convert_to_tensor(pixels))["prediction"].numpy()
        return probabilities

    return classify


def known(directory: Path) -> Callable[[Any], tuple[np.ndarray, np.ndarray]]:
    """Load the `known` signature of a SavedModel: from pixels to probabilities and `known`, [n].

    A model of an earlier version has no such signature; `known` is then NaN.
    """
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    loaded = tf.saved_model.load(tensorflow_import.literal_path(directory))
    call = loaded.signatures.get(signatures.KNOWN) or loaded.signatures[signatures.PIXELS]

    def classify(pixels: Any, _kept: Any = loaded) -> tuple[np.ndarray, np.ndarray]:
        outputs = call(image=tf.convert_to_tensor(pixels))
        probabilities = outputs["prediction"].numpy()
        without = np.full(len(probabilities), np.nan, np.float32)
        return probabilities, outputs["known"].numpy() if "known" in outputs else without

    return classify


def frozen_graph(path: Path, input_tensor: str, output_tensor: str) -> Classifier:
    """Load a frozen graph."""
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString(path.read_bytes())
    wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph_def, name=""), [])
    graph = wrapped.graph
    pruned = wrapped.prune(
        graph.get_tensor_by_name(f"{input_tensor}:0"),
        graph.get_tensor_by_name(f"{output_tensor}:0"),
    )

    def classify(pixels: Any) -> np.ndarray:
        probabilities: np.ndarray = pruned(tf.convert_to_tensor(pixels)).numpy()
        return probabilities

    return classify


def tflite(path: Path, threads: int | None = None) -> Classifier:
    """Load a TFLite file into the LiteRT interpreter, for one photo at a time, as on a phone.

    Raises:
        UserError: if the interpreter is not installed.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise UserError(
            "tflite: the LiteRT interpreter, which checks the file, is not installed; "
            "install it with: pip install 'retrain[tflite]'"
        ) from None
    with tensorflow_import.hidden_messages():
        interpreter = Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()  # reports its delegates
        run = interpreter.get_signature_runner(signatures.PIXELS)

    def classify(pixels: Any) -> np.ndarray:
        each = [run(image=one[None])["prediction"] for one in np.asarray(pixels)]
        return np.concatenate(each)

    return classify


def onnx(path: Path) -> Classifier:
    """Load an ONNX file into ONNX Runtime.

    Raises:
        UserError: if it is not installed, or cannot load the file.
    """
    try:
        from onnxruntime import InferenceSession
    except ImportError:
        raise UserError(
            "onnx: ONNX Runtime, which checks the file, is not installed; "
            "install it with: pip install 'retrain[onnx]'"
        ) from None
    try:
        session = InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # tf2onnx keeps operations that it cannot convert
        raise conversion.refusal("onnx", error) from None
    (image,), (prediction,) = session.get_inputs(), session.get_outputs()

    def classify(pixels: Any) -> np.ndarray:
        (probabilities,) = session.run([prediction.name], {image.name: np.asarray(pixels)})
        array: np.ndarray = probabilities
        return array

    return classify
