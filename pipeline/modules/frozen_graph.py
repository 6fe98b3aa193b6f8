"""A module frozen to a graph of constants, which is all that extraction and export need.

Restoring a SavedModel with its training functions, variables and checkpoint takes longer than
several batches. A frozen graph has constants instead, and values that depend only on constants,
such as kernels scaled by a batch norm, are precomputed. Vectors stay bit-identical.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.files import atomic
from pipeline.modules import loading
from pipeline.modules.loading import Module

_INPUT, _OUTPUT = "photos", "Identity"


def freeze(module: Module, path: Path) -> Module:
    """Write a module as a frozen graph for batches of any size.

    Returns:
        The module with the path of the graph. It is unchanged if it cannot be frozen, for example
        because it has a lookup table or a loop, or is larger than 2 GB, the limit of the format.
    """
    import tensorflow as tf

    call, _ = loading.load(module)
    shape = tf.TensorSpec([None, module.height, module.width, 3], tf.float32, _INPUT)
    function = tf.function(call, input_signature=[shape], autograph=False)
    try:
        graph = constants(function.get_concrete_function())
        if sum(node.op == "Placeholder" for node in graph.node) > 1:
            return module  # a lookup table, which only the SavedModel can initialize
        if not _is_large(graph.ByteSize()):
            graph = _folded(graph)
        graph = _independent(graph)
        if any(node.op == "Merge" for node in graph.node):  # a loop, which functions cannot contain
            return module
        content = graph.SerializeToString(deterministic=True)
    except Exception:  # for whatever reason: the SavedModel itself works as well
        return module
    with atomic.write(path) as temporary:
        temporary.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return replace(module, frozen=str(path.absolute()), frozen_digest=digest)


def load(module: Module, batch: int) -> Callable[[Any], Any] | None:
    """Return the frozen module for batches of one size; None as `read` does.

    The function takes images, float32 [batch, height, width, 3] in [0, 1], and returns features,
    float32 [batch, features].
    """
    import tensorflow as tf

    call = read(module)
    if call is None:
        return None
    shape = tf.TensorSpec([batch, module.height, module.width, 3], tf.float32)
    try:
        function: Callable[[Any], Any] = tf.compat.v1.wrap_function(call, [shape])
    except Exception:  # frozen by another version of TensorFlow
        return None
    return function


def read(module: Module) -> Callable[[Any], Any] | None:
    """Return a function that adds the frozen module to a graph.

    None if it is not intact, or so large that it is better to load the module itself.

    The function takes images, float32 [batch, height, width, 3] in [0, 1], of any batch size, and
    returns features, float32 [batch, features].
    """
    import tensorflow as tf

    content = _content(module)
    if content is None or _is_large(len(content)):
        return None
    graph = tf.compat.v1.GraphDef.FromString(content)

    def call(images: Any) -> Any:
        given, wanted = {f"{_INPUT}:0": images}, [f"{_OUTPUT}:0"]
        return tf.graph_util.import_graph_def(graph, given, wanted, name="")[0]

    return call


def is_intact(module: Module) -> bool:
    """Return whether a module's frozen graph exists on this machine, as it was written."""
    return _content(module) is not None


def _content(module: Module) -> bytes | None:
    """Return the bytes of a module's frozen graph, or None if they are not those written."""
    if not module.frozen:
        return None
    try:
        content = Path(module.frozen).read_bytes()
    except OSError:
        return None
    return content if hashlib.sha256(content).hexdigest() == module.frozen_digest else None


def constants(function: Any) -> Any:
    """Return the graph of a concrete function with constants instead of variables.

    TensorFlow's public function does the same, and then builds a function again: that takes five
    times as much memory.
    """
    from tensorflow.python.framework import convert_to_constants

    data = convert_to_constants._FunctionConverterDataInEager(function, True, False)
    graph, _ = convert_to_constants._replace_variables_by_constants(data)
    return graph


def _is_large(size: int) -> bool:
    """Return whether TensorFlow should not get a graph of this size, in bytes.

    To optimize a graph, or to save it in a function, TensorFlow copies its constants ten to twenty
    times.
    """
    return size > 100e6


def _folded(graph: Any) -> Any:
    """Return the graph with constant folding applied; `graph` is emptied, to save memory."""
    from tensorflow.core.protobuf.config_pb2 import ConfigProto
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
    from tensorflow.python.grappler import tf_optimizer

    meta = MetaGraphDef(graph_def=graph)
    graph.Clear()
    meta.collection_def["train_op"].node_list.value.append(_OUTPUT)  # which must be kept
    config = ConfigProto()
    config.graph_options.rewrite_options.optimizers.extend(["constfold", "dependency"])
    return tf_optimizer.OptimizeGraph(config, meta)


def _independent(graph: Any) -> Any:
    """Remove control dependencies on the input, which constants have, and sort the nodes."""
    nodes = sorted(graph.node, key=lambda node: str(node.name))  # for reproducible bytes
    del graph.node[:]
    for node in nodes:
        node.input[:] = [name for name in node.input if name != f"^{_INPUT}"]
        graph.node.append(node)
    return graph
