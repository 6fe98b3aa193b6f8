"""Every Keras application with random weights: frozen, extracted from, and exported.

Each runs in a process of its own, which needs up to 3 GB of memory: see application.py.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.modules import keras_applications

NAMES = [
    *(f"ConvNeXt{size}" for size in ("Tiny", "Small", "Base", "Large", "XLarge")),
    *("DenseNet121", "DenseNet169", "DenseNet201"),
    *(f"EfficientNetB{number}" for number in range(8)),
    *(f"EfficientNetV2{size}" for size in ("B0", "B1", "B2", "B3", "S", "M", "L")),
    *("InceptionResNetV2", "InceptionV3", "MobileNet", "MobileNetV2"),
    *("MobileNetV3Large", "MobileNetV3Small", "NASNetLarge", "NASNetMobile"),
    *("ResNet50", "ResNet101", "ResNet152", "ResNet50V2", "ResNet101V2", "ResNet152V2"),
    *("VGG16", "VGG19", "Xception"),
]
TOO_LARGE: set[str] = set()


def test_no_application_is_left_out() -> None:
    assert sorted(NAMES) == keras_applications.names()


@pytest.mark.torture
@pytest.mark.parametrize("name", [name for name in NAMES if name not in TOO_LARGE])
def test_all_files_of_an_application_agree(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.torture.application", name, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    print(f"\n{name}: {results}")
    for file in ("vectors", "saved_model", "model-float32.tflite", "model.onnx"):
        assert results[file] < 1e-4, results
