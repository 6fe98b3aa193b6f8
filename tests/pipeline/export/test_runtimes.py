"""The exported files as functions: those of TFLite and ONNX are in test_tflite.py, test_onnx.py."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.export import runtimes


def test_the_frozen_graph_answers_as_the_saved_model(colours: Path) -> None:
    pixels = np.random.default_rng(0).uniform(0, 1, (5, 8, 8, 3)).astype(np.float32)
    saved = runtimes.saved_model(colours / "saved_model")(pixels)
    frozen = runtimes.frozen_graph(colours / "output_graph.pb", "Placeholder", "final_result")
    assert saved.shape == (5, 3)
    np.testing.assert_allclose(frozen(pixels), saved, atol=1e-6)


@pytest.mark.parametrize(
    ("load", "package"),
    [(runtimes.tflite, "ai_edge_litert.interpreter"), (runtimes.onnx, "onnxruntime")],
)
def test_a_runtime_that_is_missing_is_named_with_the_remedy(
    load: Callable[[Path], object], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"is not installed; install it with: pip install 'retrain"):
        load(Path("model"))
