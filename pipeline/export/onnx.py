"""ONNX file, converted from the frozen graph by tf2onnx."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline import tensorflow_import
from pipeline.errors import UserError
from pipeline.export import conversion

NAME = "model.onnx"


def write(directory: Path, tensors: tuple[str, str], labels: tuple[str, ...]) -> None:
    """Write `model.onnx` beside a model's frozen graph, with the labels as JSON in its metadata.

    Args:
        directory: folder of the model.
        tensors: names of the frozen graph's input and output; in ONNX, `:0` is appended.
        labels: labels of the outputs, in order.

    Raises:
        UserError: if the converter is not installed or fails.
    """
    tensorflow_import.import_tensorflow()
    try:
        import tf2onnx
    except ImportError:
        raise UserError(
            "onnx: the converter, tf2onnx, is not installed; "
            "install it with: pip install 'retrain[onnx]'"
        ) from None
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef()
    graph.ParseFromString((directory / "output_graph.pb").read_bytes())
    names = [f"{name}:0" for name in tensors]
    try:
        with _quiet():
            model, _ = tf2onnx.convert.from_graph_def(
                _without_erfc(graph), None, names[:1], names[1:]
            )
    except Exception as error:  # the converter raises all kinds
        raise conversion.refusal("onnx", error) from None
    model.metadata_props.add(key="labels", value=json.dumps(labels, ensure_ascii=False))
    (directory / NAME).write_bytes(model.SerializeToString())


def _without_erfc(graph: Any) -> Any:
    """Replace Erfc, a part of gelu that tf2onnx does not know, by 1 - Erf in a graph."""
    import tensorflow as tf

    for node in [node for node in graph.node if node.op == "Erfc"]:
        one = graph.node.add(name=f"{node.name}/one", op="Const")
        one.attr["dtype"].CopyFrom(node.attr["T"])
        value = tf.make_tensor_proto(1, tf.as_dtype(node.attr["T"].type))
        one.attr["value"].tensor.CopyFrom(value)
        erf = graph.node.add()
        erf.CopyFrom(node)
        erf.name, erf.op = f"{node.name}/erf", "Erf"
        node.op, node.input[:] = "Sub", [one.name, erf.name]
    return graph


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the converter's messages: deprecations, and operations that it does not know."""
    import tensorflow as tf

    loggers = (tf.get_logger(), logging.getLogger("tf2onnx"))
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
