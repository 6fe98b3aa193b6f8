"""The finished model as files that others can use without this project.

saved_model/        TensorFlow Serving: `serving_default` takes files, `pixels` takes pixels
output_graph.pb     frozen graph, from `Placeholder` to `final_result`, as retrain.py wrote it
output_labels.txt   one label a line, in the order of the outputs
model-*.tflite      for phones, where asked for: `tflite.py`
model.onnx          for other runtimes, where asked for: `onnx.py`
model.json          what all of these take and give: `contract.py`
model_card.md, .json    the same for people: `model_card.py`
head.npz, recipe.json   the head, and how the vectors that it takes are made
"""

import re
from pathlib import Path
from typing import Any

from pipeline import tensorflow_import
from pipeline.errors import UserError
from pipeline.head.softmax_head import Head
from pipeline.modules import loading
from pipeline.modules.loading import Module
from pipeline.photos import decoding

INPUT_TENSOR = "Placeholder"


def write(head: Head, module: Module, directory: Path, final_tensor_name: str) -> None:
    """Write the SavedModel, the frozen graph and the labels into `directory`.

    Args:
        head: the trained softmax layer.
        module: that makes its features.
        directory: a folder that is there.
        final_tensor_name: name of the frozen graph's output, float32 [batch, classes].

    Raises:
        UserError: where the tensor's name is not one, or the module cannot be loaded.
    """
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    named = re.fullmatch(r"[A-Za-z0-9.][A-Za-z0-9_.]*", final_tensor_name)
    if not named or final_tensor_name == INPUT_TENSOR:
        raise UserError(
            f"final_tensor_name is {final_tensor_name!r}; it must be of letters, digits, dots and "
            f"underscores, and not {INPUT_TENSOR}, which is the input"
        )
    features, loaded = loading.load(module)
    model = tf.Module()
    model.module = loaded
    model.weights = tf.Variable(head.weights, name="weights")
    model.bias = tf.Variable(head.bias, name="bias")
    model.labels = tf.constant(head.labels)
    size = [None, module.height, module.width, 3]

    def logits(pixels: Any) -> Any:
        return tf.matmul(features(pixels), model.weights) + model.bias

    @tf.function(input_signature=[tf.TensorSpec(size, tf.float32, name="image")], autograph=False)
    def from_pixels(image: Any) -> dict[str, Any]:
        """[batch, height, width, 3] in [0, 1] -> probabilities [batch, classes]."""
        return {"prediction": tf.nn.softmax(logits(image))}

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")], autograph=False
    )
    def from_bytes(image_bytes: Any) -> dict[str, Any]:
        """Encoded photos [batch] -> classes and scores, best first, and all probabilities.

        A photo that cannot be decoded gets empty classes, and 0 everywhere else.
        """
        pixels, readable = decoding.decode_batch(image_bytes, module.height, module.width)
        answered = from_pixels(pixels)["prediction"]
        probabilities = tf.where(readable[:, None], answered, 0.0)
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
    """The graph from pixels to probabilities, its variables turned into constants."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    @tf.function(
        input_signature=[tf.TensorSpec(size, tf.float32, name=INPUT_TENSOR)], autograph=False
    )
    def frozen(pixels: Any) -> Any:
        return tf.nn.softmax(logits(pixels), name=final_tensor_name)

    constant = convert_variables_to_constants_v2(frozen.get_concrete_function())
    return constant.graph.as_graph_def()
