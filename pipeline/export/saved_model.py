"""The SavedModel, and the frozen graph with its labels as retrain.py wrote them.

The SavedModel has three signatures: `serving_default` takes encoded image files; `pixels` and
`known` take pixels, and `known` also returns how familiar they are. The frozen graph reads
`Placeholder` and computes `final_result`.
"""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from pipeline import tensorflow_import
from pipeline.errors import UserError
from pipeline.head.familiarity import Familiarity
from pipeline.head.softmax_head import Head
from pipeline.modules import frozen_graph, loading, signatures
from pipeline.modules.loading import Module
from pipeline.pixels import decoding

INPUT_TENSOR = "Placeholder"


def refuse_name(final_tensor_name: str) -> None:
    """Check the name of the frozen graph's output.

    Raises:
        UserError: if TensorFlow would refuse it, or it is that of the input.
    """
    valid = re.fullmatch(r"[A-Za-z0-9.][A-Za-z0-9_.]*", final_tensor_name)
    if not valid or final_tensor_name == INPUT_TENSOR:
        raise UserError(
            f"final_tensor_name is {final_tensor_name!r}; it must consist of letters, digits, dots "
            f"and underscores, and not be {INPUT_TENSOR}, which is the input"
        )


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

    refuse_name(final_tensor_name)
    model = tf.Module()
    features = frozen_graph.read(module)
    if features is None:  # it cannot be frozen, is large, or its graph is damaged
        features, model.module = loading.load(module)
    model.weights = tf.Variable(head.weights, name="weights")
    model.bias = tf.Variable(head.bias, name="bias")
    model.labels = tf.constant(head.labels)
    model.familiarity = _variables(head.familiarity)
    # Columns of the classes that may be answers: all but the one that stands for unknown photos.
    other = int(head.familiarity.other) if head.familiarity else -1
    answers = [i for i in range(len(head.labels)) if i != other]
    size = [None, module.height, module.width, 3]

    pixels = tf.TensorSpec(size, tf.float32, name="image")

    def logits(vectors: Any) -> Any:
        return tf.matmul(vectors, model.weights) + model.bias

    # A function of its own, so that the SavedModel contains the module once.
    vectors = tf.function(features, input_signature=[pixels], autograph=False)

    @tf.function(input_signature=[pixels], autograph=False)
    def from_pixels(image: Any) -> dict[str, Any]:
        """Classify pixels, [batch, height, width, 3] in [0, 1]: probabilities [batch, classes]."""
        return {"prediction": tf.nn.softmax(logits(vectors(image)))}

    @tf.function(input_signature=[pixels], autograph=False)
    def with_known(image: Any) -> dict[str, Any]:
        """Classify pixels as `from_pixels` does, and return how familiar they are: known [batch].

        TFLite files are made from `from_pixels`, and stay small without the training photos.
        """
        computed = vectors(image)
        outputs = logits(computed)
        known = _known(model.familiarity, computed, outputs)
        return {"prediction": tf.nn.softmax(outputs), "known": known}

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")], autograph=False
    )
    def from_bytes(image_bytes: Any) -> dict[str, Any]:
        """Classify encoded photos, [batch]: classes and scores, best first, probabilities, known.

        For a photo without a prediction, all classes are empty and all numbers are 0.
        """
        images, readable = decoding.decode_batch(image_bytes, module.input)
        outputs = with_known(images)
        predicted = outputs["prediction"]
        # A module may return NaN for some photos, such as black ones.
        finite = tf.reduce_all(tf.math.is_finite(predicted), axis=1)
        readable = tf.logical_and(readable, finite)
        probabilities = tf.where(readable[:, None], predicted, 0.0)
        scores, best = tf.math.top_k(tf.gather(probabilities, answers, axis=1), len(answers))
        labels = tf.gather(tf.gather(model.labels, answers), best)
        return {
            "classes": tf.where(readable[:, None], labels, ""),
            "scores": scores,
            "probabilities": probabilities,
            "known": tf.where(readable, outputs["known"], 0.0),
        }

    model.from_pixels, model.with_known, model.from_bytes = from_pixels, with_known, from_bytes
    functions = {
        "serving_default": from_bytes,
        signatures.PIXELS: from_pixels,
        signatures.KNOWN: with_known,
    }
    tf.saved_model.save(model, str(directory / "saved_model"), signatures=functions)
    (directory / "output_labels.txt").write_text("\n".join(head.labels) + "\n", encoding="utf-8")
    graph = _frozen(lambda images: logits(features(images)), size, final_tensor_name)
    (directory / "output_graph.pb").write_bytes(graph.SerializeToString())


def _variables(familiarity: Familiarity | None) -> dict[str, Any]:
    """Return the parameters of the familiarity as variables; empty for None."""
    import tensorflow as tf

    names = [field.name for field in fields(Familiarity)] if familiarity else []
    return {name: tf.Variable(getattr(familiarity, name), name=name) for name in names}


def _known(familiarity: dict[str, Any], vectors: Any, logits: Any) -> Any:
    """Compute `Familiarity.known` of photos, float32 [batch]; 1 without a familiarity."""
    import tensorflow as tf

    if not familiarity:
        return tf.ones_like(logits[:, 0])

    def in_units(values: Any, units: Any) -> Any:
        return (values - units[0]) / units[1]

    products = tf.matmul(tf.matmul(vectors, familiarity["directions"]), familiarity["references"])
    similarity = tf.reduce_max(products, axis=1) / tf.maximum(tf.norm(vectors, axis=1), 1e-12)
    confidence = in_units(tf.reduce_max(logits, axis=1), familiarity["logit_units"])
    scores = in_units(similarity, familiarity["similarity_units"])
    scores += tf.minimum(confidence, familiarity["cap"])
    is_other = tf.equal(tf.argmax(logits, axis=1), familiarity["other"])
    worse = tf.searchsorted(familiarity["levels"], scores, side="right")
    steps = tf.size(familiarity["levels"]) + 1
    return tf.where(is_other, 0.0, tf.cast(worse + 1, tf.float32) / tf.cast(steps, tf.float32))


def _frozen(logits: Any, size: list[int | None], final_tensor_name: str) -> Any:
    """Return the graph from pixels to probabilities, with constants instead of variables."""
    import tensorflow as tf

    @tf.function(
        input_signature=[tf.TensorSpec(size, tf.float32, name=INPUT_TENSOR)], autograph=False
    )
    def frozen(pixels: Any) -> Any:
        return tf.nn.softmax(logits(pixels), name=final_tensor_name)

    return frozen_graph.constants(frozen.get_concrete_function())
