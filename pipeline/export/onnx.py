"""The model for ONNX runtimes, converted from the frozen graph by tf2onnx."""

import json
from pathlib import Path

from pipeline import tensorflow_import
from pipeline.errors import UserError

NAME = "model.onnx"


def write(directory: Path, tensors: tuple[str, str], labels: tuple[str, ...]) -> None:
    """Write `model.onnx` beside a model's frozen graph; its metadata holds the labels, as JSON.

    Args:
        directory: of the model.
        tensors: names of the frozen graph's input and output; the ONNX file's carry `:0` behind.
        labels: of the outputs, in order.

    Raises:
        UserError: where the converter is not installed.
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
    logger, level = tf.get_logger(), tf.get_logger().level
    logger.setLevel("ERROR")  # it warns of its own deprecations
    try:
        model, _ = tf2onnx.convert.from_graph_def(graph, None, names[:1], names[1:])
    finally:
        logger.setLevel(level)
    model.metadata_props.add(key="labels", value=json.dumps(labels, ensure_ascii=False))
    (directory / NAME).write_bytes(model.SerializeToString())
