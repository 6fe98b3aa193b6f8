"""The ONNX file: answers and labels."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import tensorflow_import
from pipeline.errors import UserError
from pipeline.export import onnx, runtimes, saved_model

LABELS = ("red", "green", "blå")


def test_it_answers_as_the_saved_model_and_holds_the_labels(colours: Path, tmp_path: Path) -> None:
    import onnxruntime

    model = shutil.copytree(colours, tmp_path / "model")
    onnx.write(model, ("Placeholder", "final_result"), LABELS)
    session = onnxruntime.InferenceSession(str(model / onnx.NAME))
    assert json.loads(session.get_modelmeta().custom_metadata_map["labels"]) == list(LABELS)
    pixels = np.random.default_rng(0).uniform(0, 1, (9, 8, 8, 3)).astype(np.float32)
    expected = runtimes.saved_model(model / "saved_model")(pixels)
    np.testing.assert_allclose(runtimes.onnx(model / onnx.NAME)(pixels), expected, atol=1e-6)


def frozen(logits: Callable[[Any], Any], directory: Path) -> Path:
    """Write the frozen graph of a model."""
    tensorflow_import.import_tensorflow()
    graph = saved_model._frozen(logits, [None, 8, 8, 3], "final_result")
    (directory / "output_graph.pb").write_bytes(graph.SerializeToString())
    return directory / "output_graph.pb"


def test_a_graph_with_gelu_gives_the_same_answers(tmp_path: Path) -> None:
    import tensorflow as tf

    def logits(pixels: Any) -> Any:
        return tf.reduce_mean(tf.nn.gelu(pixels * 8 - 4), [1, 2])

    path = frozen(logits, tmp_path)
    assert b"Erfc" in path.read_bytes()
    onnx.write(tmp_path, ("Placeholder", "final_result"), LABELS)
    pixels = np.random.default_rng(0).uniform(0, 1, (9, 8, 8, 3)).astype(np.float32)
    expected = runtimes.frozen_graph(path, "Placeholder", "final_result")(pixels)
    np.testing.assert_allclose(runtimes.onnx(tmp_path / onnx.NAME)(pixels), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["Igamma", "bfloat16"])
def test_what_onnx_lacks_is_one_line_with_the_remedy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    import tensorflow as tf

    def logits(pixels: Any) -> Any:
        if kind == "bfloat16":
            pixels = tf.cast(tf.cast(pixels, tf.bfloat16) * 255, tf.float32)
        else:
            pixels = tf.math.igamma(pixels + 1, pixels)
        return tf.reduce_mean(pixels, [1, 2])

    frozen(logits, tmp_path)
    caplog.clear()  # TensorFlow may warn about what other tests left in its default graph
    with pytest.raises(UserError) as caught:
        onnx.write(tmp_path, ("Placeholder", "final_result"), LABELS)
        runtimes.onnx(tmp_path / onnx.NAME)
    message = str(caught.value)
    assert message.startswith("onnx: the model cannot be converted (")
    assert "leave out --onnx" in message
    assert kind in message
    assert str(tmp_path) not in message
    assert "\n" not in message
    assert caplog.text == ""
