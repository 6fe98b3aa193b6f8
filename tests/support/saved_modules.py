"""Modules in the formats that users have."""

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import tensorflow_import

Tensors = Callable[[Any], dict[str, Any]]


def tf1_module(
    directory: Path,
    size: tuple[int | None, ...] = (None, 8, 8, 3),
    signatures: dict[str, Tensors] | None = None,
    stated: tuple[int, int] | None = None,
) -> Path:
    """Save a module in the TensorFlow 1 Hub format: graphs with no tag and with the tag `train`.

    Its 4 features are the mean colours multiplied by the weights [1, 2, 3, 4] per colour.

    Args:
        size: shape of the images that the signatures take.
        signatures: functions from features to outputs, by name; by default, only `default`.
        stated: height and width in the ImageModuleInfo.
    """
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    v1 = tf.compat.v1
    builder = v1.saved_model.Builder(str(directory))
    for tags in ([], ["train"]):
        with tf.Graph().as_default(), v1.Session() as session:
            images = v1.placeholder(tf.float32, size, "images")
            initial = tf.constant([[1.0, 2.0, 3.0, 4.0]] * 3)
            weights = v1.get_variable("weights", initializer=initial, use_resource=True)
            features = tf.reduce_mean(images, [1, 2]) @ weights
            made = signatures or {"default": lambda x: {"default": x}}
            definitions = {
                name: v1.saved_model.predict_signature_def({"images": images}, tensors(features))
                for name, tensors in made.items()
            }
            if stated:
                v1.add_to_collection("hub_module_attachments", _image_module_info(*stated))
            session.run(v1.global_variables_initializer())
            if tags:
                builder.add_meta_graph(tags, definitions)
            else:
                builder.add_meta_graph_and_variables(session, tags, definitions)
    builder.save()
    (directory / "tfhub_module.pb").write_bytes(b"\x08\x03")  # format: FORMAT_V3
    return directory


def _image_module_info(height: int, width: int) -> bytes:
    """Serialize a ModuleAttachment with an ImageModuleInfo."""
    numbers = b"".join(
        bytes([8 * field, n & 127 | 128, n >> 7]) for field, n in ((1, height), (2, width))
    )
    info = bytes([0o12, len(numbers)]) + numbers
    key = b"image_module_info"
    return bytes([0o12, len(key)]) + key + bytes([0o22, len(info)]) + info


def packed(directory: Path, file: Path) -> Path:
    """Pack a module as the archive that a hub serves, with the module as its root."""
    with tarfile.open(file, "w:gz") as tar:
        tar.add(directory, ".")
    return file


def slow_module(directory: Path) -> Path:
    """Save a TF2 module of 12 features that needs about 0.2 s of computation per call."""
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    class Slow(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32)])
        def __call__(self, images: tf.Tensor) -> tf.Tensor:
            features = tf.reshape(tf.nn.avg_pool2d(images, 4, 4, "VALID"), [-1, 12])
            identity = tf.eye(512)
            product = identity * features[0, 0]  # depends on the images, or TensorFlow caches it
            for _ in tf.range(20):
                product = product @ identity
            return features + 0 * product[0, 0]

    module = Slow()
    tf.saved_model.save(module, str(directory), signatures=module.__call__)
    return directory


def normalizing_module(directory: Path) -> Path:
    """Save a TF2 module that divides each photo by its contrast: NaN for one of a single colour."""
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    class Normalizing(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32)])
        def __call__(self, images: tf.Tensor) -> tf.Tensor:
            contrast = tf.math.reduce_std(images, [1, 2, 3], keepdims=True)
            return tf.reduce_mean((images - 0.5) / contrast * tf.sign(contrast), [1, 2])

    module = Normalizing()
    tf.saved_model.save(module, str(directory), signatures=module.__call__)
    return directory


def training_module(directory: Path) -> Path:
    """Save a TF2 module with batch normalization in training mode."""
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    class Training(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32)])
        def __call__(self, images: tf.Tensor) -> tf.Tensor:
            mean, variance = tf.nn.moments(images, [0, 1, 2])
            return tf.reshape((images - mean) / tf.sqrt(variance + 1e-3), [-1, 192])

    module = Training()
    tf.saved_model.save(module, str(directory), signatures=module.__call__)
    return directory


def refusing_module(directory: Path) -> Path:
    """Save a TF2 module of 3 features, the mean colour, that raises an error for a white photo."""
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    class Refusing(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32)])
        def __call__(self, images: tf.Tensor) -> tf.Tensor:
            means = tf.reduce_mean(images, [1, 2])
            tf.debugging.assert_less(means, 0.99, message="too bright for this module")
            return means

    module = Refusing()
    tf.saved_model.save(module, str(directory), signatures=module.__call__)
    return directory


def tunable_module(directory: Path, gradients: bool = True) -> Path:
    """Save a TF2 module with TensorFlow Hub's interface for fine-tuning.

    Its 6 features are mixtures of the mean colours of four quarters, in two layers. At first, they
    depend only on the brightness. They have no gradients unless `gradients`.
    """
    tensorflow_import.import_tensorflow()
    import tensorflow as tf

    draw = np.random.default_rng(0).normal
    first = tf.Variable(np.tile(draw(size=8), (12, 1)).astype(np.float32), name="first")
    second = tf.Variable(draw(size=(8, 6)).astype(np.float32) / 3, name="second")

    @tf.function(autograph=False)
    def call(images: Any, training: bool = False) -> Any:  # noqa: ARG001
        quarters = tf.reshape(tf.nn.avg_pool2d(images, 4, 4, "VALID"), [-1, 12])
        features = tf.tanh(tf.tanh((quarters - 0.5) @ first) @ second)
        return features if gradients else tf.stop_gradient(features)

    images = tf.TensorSpec([None, 8, 8, 3], tf.float32)
    serving, _ = (call.get_concrete_function(images, training) for training in (False, True))
    module = tf.train.Checkpoint(variables=[first, second], trainable_variables=[first, second])
    module.__call__ = call
    tf.saved_model.save(module, str(directory), signatures=serving)
    return directory
