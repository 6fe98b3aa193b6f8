"""The finished model as files that others can use without this project.

saved_model/        TensorFlow Serving: `serving_default` takes files, `pixels` takes pixels
output_graph.pb     frozen graph, from `Placeholder` to `final_result`, as retrain.py wrote it
output_labels.txt   one label a line, in the order of the outputs
head.npz, recipe.json   the head, and how the vectors that it takes are made
"""

import re
import shutil
from pathlib import Path
from typing import Any

from pipeline import head as heads
from pipeline import images, modules, quiet, recipe, storage
from pipeline.errors import UserError
from pipeline.head import Head
from pipeline.modules import Module
from pipeline.recipe import Recipe

FORMAT_VERSION = 2  # raise it when the exported files change
INPUT_TENSOR = "Placeholder"


def publish(
    head_directory: Path,
    made_by: Recipe,
    evaluation: Path,
    final_tensor_name: str,
    directory: Path,
) -> None:
    """Put a finished model into `directory`.

    Args:
        head_directory: folder of the head.
        made_by: how the vectors were made that the head was trained on.
        evaluation: folder whose files go with the model.
        final_tensor_name: as `export`.
        directory: `<output folder>/models/<digest>`; kept as it is where it is there already.

    Raises:
        UserError: as `export`.
    """
    if not directory.is_dir():
        with storage.publish(directory) as temporary:
            shutil.copytree(evaluation, temporary)
            export(heads.read(head_directory), made_by.module, temporary, final_tensor_name)
            shutil.copytree(head_directory, temporary, dirs_exist_ok=True)
            recipe.write(made_by, temporary / "recipe.json")


def export(head: Head, module: Module, directory: Path, final_tensor_name: str) -> None:
    """Write the model's own files into `directory`.

    Args:
        head: the trained softmax layer.
        module: that makes its features.
        directory: a folder that is there.
        final_tensor_name: name of the frozen graph's output, float32 [batch, classes].

    Raises:
        UserError: where the tensor's name is not one, or the module cannot be loaded.
    """
    quiet.import_tensorflow()
    import tensorflow as tf

    named = re.fullmatch(r"[A-Za-z0-9.][A-Za-z0-9_.]*", final_tensor_name)
    if not named or final_tensor_name == INPUT_TENSOR:
        raise UserError(
            f"final_tensor_name is {final_tensor_name!r}; it must be of letters, digits, dots and "
            f"underscores, and not {INPUT_TENSOR}, which is the input"
        )
    features, loaded = modules.load(Path(module.directory))
    model = tf.Module()
    model.module = loaded
    model.weights = tf.Variable(head.weights, name="weights")
    model.bias = tf.Variable(head.bias, name="bias")
    model.labels = tf.constant(head.labels)
    size = [None, module.height, module.width, 3]

    def logits(pixels: Any) -> Any:
        return tf.matmul(features(pixels), model.weights) + model.bias

    @tf.function(input_signature=[tf.TensorSpec(size, tf.float32, name="image")])
    def from_pixels(image: Any) -> dict[str, Any]:
        """[batch, height, width, 3] in [0, 1] -> probabilities [batch, classes]."""
        return {"prediction": tf.nn.softmax(logits(image))}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def from_bytes(image_bytes: Any) -> dict[str, Any]:
        """Encoded photos [batch] -> classes and scores, best first, and all probabilities."""
        decoded = tf.map_fn(
            lambda encoded: images.decode(encoded, module.height, module.width),
            image_bytes,
            fn_output_signature=tf.TensorSpec(size[1:], tf.float32),
        )
        probabilities = from_pixels(decoded)["prediction"]
        scores, best = tf.math.top_k(probabilities, len(head.labels))
        classes = tf.gather(model.labels, best)
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

    @tf.function(input_signature=[tf.TensorSpec(size, tf.float32, name=INPUT_TENSOR)])
    def frozen(pixels: Any) -> Any:
        return tf.nn.softmax(logits(pixels), name=final_tensor_name)

    constant = convert_variables_to_constants_v2(frozen.get_concrete_function())
    return constant.graph.as_graph_def()
