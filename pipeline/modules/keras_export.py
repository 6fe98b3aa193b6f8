"""Keras models as modules: exported once, with a digest that is the same on every machine.

The bytes of a SavedModel differ each time. The identity of an exported model is therefore what it
was made of: the SHA-256 of its weights or file, and the Keras version that built the network.
"""

import functools
import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline import tensorflow_import
from pipeline.files import atomic
from pipeline.modules.loading import _UnreadableError

BUILDER = 3  # part of the digest: raise it when what is exported changes
_FACTS = "keras.json"  # in the folder of the SavedModel


@dataclass(frozen=True)
class Facts:
    """What is known about an exported model.

    Attributes:
        digest: SHA-256 of everything that determines its vectors.
        image_range: pixel range that it expects, one of `signatures.RANGES`; empty if unknown.
    """

    digest: str
    image_range: str


def digest(*parts: str) -> str:
    """Return the SHA-256 of parts, `BUILDER` and the Keras version in hex."""
    return hashlib.sha256("\n".join([str(BUILDER), version(), *parts]).encode()).hexdigest()


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Return the digest of a file in hex."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, algorithm).hexdigest()


@functools.cache
def version() -> str:
    """Return the Keras version, without importing Keras."""
    return importlib.metadata.version("keras")


def import_keras() -> Any:
    """Import Keras with TensorFlow as its backend, whatever ~/.keras/keras.json says.

    Keras takes seconds to load: call it only if a model is built.
    """
    tensorflow_import.import_tensorflow()
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    return keras


def resolve(directory: Path, build: Callable[[], tuple[Any, Facts]], again: bool) -> Path:
    """Return the folder of an exported model, exporting it if need be.

    Args:
        directory: the folder; its name contains a digest of what the model is made of.
        build: returns the model and what is known about it.
        again: replace what was exported before.
    """
    if again or not directory.is_dir():
        with atomic.write(directory) as temporary:
            model, facts = build()
            _save(model, temporary)
            (temporary / _FACTS).write_text(json.dumps(asdict(facts), indent=2) + "\n")
            if again:  # otherwise, another process wrote what is there now and may be reading it
                shutil.rmtree(directory, ignore_errors=True)
    return directory


def flat_layers(model: Any) -> Iterator[Any]:
    """Yield the layers of a model, and those of the models inside it."""
    keras = import_keras()
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from flat_layers(layer)
        else:
            yield layer


def _save(model: Any, directory: Path) -> None:
    """Write a model as a SavedModel that is called with photos.

    Keras's own `export` takes five times as long: it traces the model for each signature, and the
    gradients of its activations.
    """
    import tensorflow as tf

    model = _without_grouped_convolutions(model)
    (photos,) = model.inputs
    spec = tf.TensorSpec(photos.shape, photos.dtype, name="photos")
    for layer in flat_layers(model):
        layer.trainable = True  # also those that were frozen to train a classifier
    # Unlike tf.Module, a Checkpoint stores the lists under the names of TensorFlow Hub's interface.
    module = tf.train.Checkpoint(
        variables=[variable.value for variable in model.variables],
        trainable_variables=[variable.value for variable in model.trainable_variables],
    )
    module.__call__ = tf.function(
        lambda inputs: model(inputs, training=False), [spec], autograph=False
    )
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(directory), options=options)
    _forget_gradients(directory / "saved_model.pb")


def _forget_gradients(path: Path) -> None:
    """Remove the names of custom gradients, about which TensorFlow warns if they are not saved."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved = SavedModel.FromString(path.read_bytes())
    for graph in saved.meta_graphs:
        for function in graph.graph_def.library.function:
            for node in function.node_def:
                node.attr.pop("_gradient_op_type", None)
    path.write_bytes(saved.SerializeToString(deterministic=True))


def _without_grouped_convolutions(model: Any) -> Any:
    """Return a model with convolutions of one channel per group replaced by depthwise ones.

    They compute the same. ConvNeXt has them, and Keras compiles them by XLA, which neither a frozen
    graph nor other runtimes can contain.
    """
    keras = import_keras()
    replaced: list[tuple[Any, Any]] = []

    def depthwise(layer: Any) -> bool:
        is_convolution = isinstance(layer, keras.layers.Conv2D)
        return is_convolution and layer.filters == layer.groups == layer.kernel.shape[-1] > 1

    def clone(layer: Any) -> Any:
        if not depthwise(layer):
            return layer
        common = ("name", "strides", "padding", "dilation_rate", "activation", "use_bias")
        made = keras.layers.DepthwiseConv2D(
            layer.kernel_size, **{option: getattr(layer, option) for option in common}
        )
        replaced.append((layer, made))
        return made

    if not any(map(depthwise, flat_layers(model))):
        return model
    cloned = keras.models.clone_model(model, clone_function=clone, recursive=True)
    for layer, made in replaced:
        kernel, *bias = layer.get_weights()
        made.set_weights([kernel.swapaxes(2, 3), *bias])
    return cloned


def read(directory: Path) -> Facts:
    """Read what is known about an exported model.

    Raises:
        _UnreadableError: if the folder is damaged.
    """
    try:
        return Facts(**json.loads((directory / _FACTS).read_text()))
    except (OSError, ValueError, TypeError):
        raise _UnreadableError(f"tfhub_module: {directory} is damaged; delete it") from None
