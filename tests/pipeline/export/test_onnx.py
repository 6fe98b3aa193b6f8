"""The ONNX file: answers and labels."""

import json
import shutil
from pathlib import Path

import numpy as np

from pipeline.export import onnx, runtimes

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
