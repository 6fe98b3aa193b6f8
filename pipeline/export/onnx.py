"""ONNX file, converted from the frozen graph by tf2onnx."""

import json
from pathlib import Path

from pipeline import tensorflow_import
from pipeline.errors import UserError

NAME = "model.onnx"


def write(directory: Path, tensors: tuple[str, str], labels: tuple[str, ...]) -> None:
    """Write `model.onnx` beside a model's frozen graph, with the labels as JSON in its metadata.

    Args:
        directory: folder of the model.
        tensors: names of the frozen graph's input and output; in ONNX, `:0` is appended.
        labels: labels of the outputs, in order.

    Raises:
        UserError: if the converter is not installed.
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
    logger.setLevel("ERROR")  # suppresses deprecation warnings of the converter
    try:
        model, _ = tf2onnx.convert.from_graph_def(graph, None, names[:1], names[1:])
    finally:
        logger.setLevel(level)
    model.metadata_props.add(key="labels", value=json.dumps(labels, ensure_ascii=False))
    (directory / NAME).write_bytes(model.SerializeToString())
