"""The SavedModel, and the frozen graph with its labels as retrain.py wrote them.

The SavedModel has two signatures: `serving_default` takes encoded image files, and `pixels` takes
pixels. The frozen graph reads `Placeholder` and computes `final_result`.
"""

import re
from pathlib import Path
from typing import Any

from pipeline import tensorflow_import
from pipeline.errors import UserError
from pipeline.head.softmax_head import Head
from pipeline.modules import frozen_graph, loading
from pipeline.modules.loading import Module
from pipeline.pixels import decoding

INPUT_TENSOR = "Placeholder"


def write(head: Head, module: Module, directory: Path, final_tensor_name: str) -> None:
    """Write the SavedModel, the frozen graph and the labels into `directory`.

    Args:
        head: the trained softmax layer.
        module: the feature extractor.
        directory: an existing folder.
        final_tensor_name: name of the frozen graph's output, float32 [batch, classes].

    Raises:
        UserError: if the tensor's name is invalid, or the module cannot be loaded.
    """
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    valid = re.fullmatch(r"[A-Za-z0-9.][A-Za-z0-9_.]*", final_tensor_name)
    if not valid or final_tensor_name == INPUT_TENSOR:
        raise UserError(
            f"final_tensor_name is {final_tensor_name!r}; it must consist of letters, digits, dots "
            f"and underscores, and not be {INPUT_TENSOR}, which is the input"
        )
    model = tf.Module()
    features = frozen_graph.read(module)
    if features is None:  # it cannot be frozen, is large, or its graph is damaged
        features, model.module = loading.load(module)
    model.weights = tf.Variable(head.weights, name="weights")
    model.bias = tf.Variable(head.bias, name="bias")
    model.labels = tf.constant(head.labels)
    size = [None, module.height, module.width, 3]

    def logits(pixels: Any) -> Any:
        return tf.matmul(features(pixels), model.weights) + model.bias

    @tf.function(input_signature=[tf.TensorSpec(size, tf.float32, name="image")], autograph=False)
    def from_pixels(image: Any) -> dict[str, Any]:
        """Classify pixels, [batch, height, width, 3] in [0, 1]: probabilities [batch, classes]."""
        return {"prediction": tf.nn.softmax(logits(image))}

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")], autograph=False
    )
    def from_bytes(image_bytes: Any) -> dict[str, Any]:
        """Classify encoded photos, [batch]: classes and scores, best first, and probabilities.

        For a photo without a prediction, all classes are empty and all numbers are 0.
        """
        pixels, readable = decoding.decode_batch(image_bytes, module.input)
        predicted = from_pixels(pixels)["prediction"]
        # A module may return NaN for some photos, such as black ones.
        finite = tf.reduce_all(tf.math.is_finite(predicted), axis=1)
        readable = tf.logical_and(readable, finite)
        probabilities = tf.where(readable[:, None], predicted, 0.0)
        scores, best = tf.math.top_k(probabilities, len(head.labels))
        classes = tf.where(readable[:, None], tf.gather(model.labels, best), "")
        return {"classes": classes, "scores": scores, "probabilities": probabilities}

    model.from_pixels, model.from_bytes = from_pixels, from_bytes
    signatures = {"serving_default": from_bytes, "pixels": from_pixels}
    tf.saved_model.save(model, str(directory / "saved_model"), signatures=signatures)
    (directory / "output_labels.txt").write_text("\n".join(head.labels) + "\n", encoding="utf-8")
    graph = _frozen(logits, size, final_tensor_name)
    (directory / "output_graph.pb").write_bytes(graph.SerializeToString())


def _frozen(logits: Any, size: list[int | None], final_tensor_name: str) -> Any:
    """Return the graph from pixels to probabilities, with constants instead of variables."""
    import tensorflow as tf

    @tf.function(
        input_signature=[tf.TensorSpec(size, tf.float32, name=INPUT_TENSOR)], autograph=False
    )
    def frozen(pixels: Any) -> Any:
        return tf.nn.softmax(logits(pixels), name=final_tensor_name)

    return frozen_graph.constants(frozen.get_concrete_function())
