"""A module as one graph of constants: all that the bottleneck stage needs of it.

A SavedModel brings its functions for training, its variables and their checkpoint; to restore them
all takes longer than several batches. Here they are made constants, and what depends on nothing
else, such as kernels scaled by a batch norm, is computed once. Vectors stay the same to the bit.
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


def freeze(module: Module, batch: int, path: Path) -> Module:
    """Write a module as a graph for so many photos at a time.

    Returns:
        The module, which now knows of the graph; unchanged where it cannot be frozen, for it has
        a table, say, or more than the 2 GB that fit into a file of this kind.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    call, _ = loading.load(module)
    shape = tf.TensorSpec([batch, module.height, module.width, 3], tf.float32, _INPUT)
    function = tf.function(call, input_signature=[shape], autograph=False)
    try:
        constant = convert_variables_to_constants_v2(function.get_concrete_function())
        if len(constant.inputs) > 1:  # a table, which only the SavedModel can fill
            return module
        graph = _without_input(_folded(constant.graph.as_graph_def()))
        content = graph.SerializeToString(deterministic=True)
    except Exception:  # whatever is in the way, the SavedModel itself will do
        return module
    with atomic.write(path) as temporary:
        temporary.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return replace(module, frozen=str(path.absolute()), frozen_digest=digest)


def load(module: Module, batch: int) -> Callable[[Any], Any] | None:
    """The frozen module, for as many photos as it was frozen for; None where it is not to be had.

    It is a function from images, float32 [batch, height, width, 3] in [0, 1], to features,
    float32 [batch, features].
    """
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef()

    def call(images: Any) -> Any:
        given, wanted = {f"{_INPUT}:0": images}, [f"{_OUTPUT}:0"]
        return tf.graph_util.import_graph_def(graph, given, wanted, name="")[0]

    try:
        content = Path(module.frozen).read_bytes()
        if hashlib.sha256(content).hexdigest() != module.frozen_digest:
            return None
        graph.ParseFromString(content)
        shape = tf.TensorSpec([batch, module.height, module.width, 3], tf.float32)
        function: Callable[[Any], Any] = tf.compat.v1.wrap_function(call, [shape])
    except Exception:  # not frozen, or not on this machine
        return None
    return function


def _folded(graph: Any) -> Any:
    """The graph with all computed that depends on constants alone."""
    import tensorflow as tf
    from tensorflow.core.protobuf.config_pb2 import ConfigProto
    from tensorflow.python.grappler import tf_optimizer

    with tf.Graph().as_default() as imported:
        tf.graph_util.import_graph_def(graph, name="")
    meta = tf.compat.v1.train.export_meta_graph(graph=imported, graph_def=graph)
    meta.collection_def["train_op"].node_list.value.append(_OUTPUT)  # what must stay
    config = ConfigProto()
    config.graph_options.rewrite_options.optimizers.extend(["constfold", "dependency"])
    return tf_optimizer.OptimizeGraph(config, meta)


def _without_input(graph: Any) -> Any:
    """The graph as the body of a function, whose argument takes the place of the placeholder."""
    nodes = sorted(graph.node, key=lambda node: str(node.name))  # the same bytes each time
    del graph.node[:]
    for node in nodes:
        if node.name != _INPUT:
            # Constants wait for it.
            node.input[:] = [name for name in node.input if name != f"^{_INPUT}"]
            graph.node.append(node)
    return graph
