"""Inference engines: which one runs a module's frozen graph, and in which precision.

In bfloat16, OpenVINO is faster than TensorFlow (decision 29). TensorFlow runs modules on other
processors, modules that OpenVINO cannot read, and all modules where OpenVINO is not installed.
"""

import functools
import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.modules import consistency, frozen_graph, loading
from pipeline.modules.loading import Module

AUTO, TENSORFLOW, OPENVINO = "auto", "tensorflow", "openvino"
FLOAT32, BFLOAT16, FLOAT16 = "float32", "bfloat16", "float16"
_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}
_CPU_FLAGS, _GPUS = Path("/proc/cpuinfo"), Path("/proc/driver/nvidia/gpus")
# TensorFlow's options for multiplications in lower precision with float32 accumulation.
_MIXED = {BFLOAT16: "auto_mixed_precision_onednn_bfloat16", FLOAT16: "auto_mixed_precision"}
# Gradients of depthwise convolutions take up to five times as long in bfloat16 as in float32.
_KEPT = "DepthwiseConv2dNativeBackpropFilter,DepthwiseConv2dNativeBackpropInput"
_KEPT_VARIABLE = "TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_ALLOWLIST_REMOVE"
_COMPARED = 4  # images whose vectors from both engines are compared
_LEAST_COSINE = 0.9999  # between the vectors of both engines in float32; it is above 0.999999

# From float32 tensor [batch, height, width, 3] in [0, 1] to float32 [batch, features].
Forward = Callable[[Any], np.ndarray]


@functools.cache
def resolve_precision(precision: str) -> str:
    """Replace `auto` by the best precision on this machine; return other precisions unchanged.

    It is float16 if TensorFlow will use an NVIDIA GPU (the extra `gpu` installs the libraries),
    bfloat16 if the processor supports it natively, and float32 otherwise. Does not import
    TensorFlow.
    """
    if precision != AUTO:
        return precision
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if _GPUS.is_dir() and not hidden and importlib.util.find_spec("nvidia"):
        return FLOAT16
    try:
        flags = _CPU_FLAGS.read_text().split()
    except OSError:
        return FLOAT32
    return BFLOAT16 if _BFLOAT16_FLAGS.intersection(flags) else FLOAT32


def candidate(engine: str) -> str:
    """Return the engine to try: the given one, or for `auto` the one that is fastest here.

    Raises:
        UserError: if the given engine is not installed.
    """
    if engine == AUTO:
        native = resolve_precision(AUTO) == BFLOAT16
        return OPENVINO if native and _openvino_is_installed() else TENSORFLOW
    if engine == OPENVINO and not _openvino_is_installed():
        raise UserError(
            "inference_engine is openvino, but OpenVINO is not installed; install it with: "
            "pip install 'retrain[openvino]', or set inference_engine to tensorflow"
        )
    return engine


@functools.cache
def _openvino_is_installed() -> bool:
    return importlib.util.find_spec("openvino") is not None


def choose(module: Module, engine: str) -> str:
    """Return the engine to use for a module.

    Args:
        module: the module with its frozen graph, if it has one.
        engine: `auto`, `tensorflow` or `openvino`.

    Raises:
        UserError: if the engine is `openvino`, but OpenVINO does not compute TensorFlow's vectors.
    """
    if candidate(engine) == TENSORFLOW:
        return TENSORFLOW
    problem = _problem(module)
    if problem and engine == OPENVINO:
        raise UserError(
            f"inference_engine is openvino, but {problem}; set inference_engine to auto or "
            "tensorflow"
        )
    return TENSORFLOW if problem else OPENVINO


def _problem(module: Module) -> str:
    """Return why OpenVINO cannot run a module, or an empty string."""
    if not module.frozen:
        return f"{module.handle} cannot be frozen to a graph without variables and tables"
    images = consistency.images(module.height, module.width, _COMPARED)
    try:
        ours = _openvino(module, FLOAT32, _COMPARED)(images)
    except Exception as error:  # OpenVINO raises RuntimeError and its own kinds
        return f"OpenVINO cannot run {module.handle} ({str(error).strip().splitlines()[-1][:200]})"
    theirs = loading.load(module)[0](images).numpy()
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    if not ((ours * theirs).sum(1) >= _LEAST_COSINE * norms).all():
        return f"its vectors of {module.handle} differ from TensorFlow's"
    return ""


def load(module: Module, precision: str, batch: int) -> Forward:
    """Load a module for batches of one size.

    With a fixed size, nothing is traced twice, and a photo's vector does not depend on the size of
    its batch.

    Args:
        module: the module, with the engine to use. TensorFlow replaces an engine that is not
            installed any more; its vectors differ only by rounding.
        precision: float32; or bfloat16 or float16 with float32 accumulation. TensorFlow also
            requires the context `mixed_precision`.
        batch: photos per batch.

    Raises:
        UserError: if the module does not exist any more, or its graph is damaged.
    """
    if module.engine == OPENVINO and module.frozen and _openvino_is_installed():
        return _openvino(module, precision, batch)
    import tensorflow as tf

    shape = tf.TensorSpec([batch, module.height, module.width, 3], tf.float32)
    function = frozen_graph.load(module, batch) or tf.function(
        loading.load(module)[0], input_signature=[shape], autograph=False
    )

    def forward(images: Any) -> np.ndarray:
        vectors: np.ndarray = function(images).numpy()
        return vectors

    return forward


def _openvino(module: Module, precision: str, batch: int) -> Forward:
    import openvino

    if not frozen_graph.is_intact(module):
        Path(module.frozen).unlink(missing_ok=True)
        raise UserError(f"{module.frozen} was damaged and has been deleted; run again")
    core = openvino.Core()
    model = core.read_model(module.frozen)
    model.reshape([batch, module.height, module.width, 3])
    short = {FLOAT32: "f32", BFLOAT16: "bf16", FLOAT16: "f16"}[precision]
    compiled = core.compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": short,
            "PERFORMANCE_HINT": "LATENCY",  # all cores work on one batch
            "ENABLE_CPU_PINNING": False,  # several workers would share the first cores
        },
    )
    request = compiled.create_infer_request()

    def forward(images: Any) -> np.ndarray:
        vectors: np.ndarray = request.infer([np.asarray(images)], share_inputs=True)[0]
        return vectors

    return forward


@contextmanager
def mixed_precision(precision: str) -> Iterator[None]:
    """Let TensorFlow use a lower precision in this context; exported models stay float32."""
    import tensorflow as tf

    if precision == BFLOAT16:
        os.environ.setdefault(_KEPT_VARIABLE, _KEPT)
    set_options = tf.config.optimizer.set_experimental_options
    set_options({option: kind == precision for kind, option in _MIXED.items()})
    try:
        yield
    finally:
        set_options(dict.fromkeys(_MIXED.values(), False))
