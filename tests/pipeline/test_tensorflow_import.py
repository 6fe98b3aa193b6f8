"""TensorFlow is imported without a word and without Keras; what is written later is seen."""

import os
import subprocess
import sys

import pytest


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    set_here = ("TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS")
    inherited = {name: value for name, value in os.environ.items() if name not in set_here}
    return subprocess.run(
        command, env=inherited | environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.slow
def test_importing_writes_nothing_and_standard_error_works_afterwards() -> None:
    finished = run(
        "import os, sys\n"
        "from pipeline import tensorflow_import\n"
        "tensorflow_import.import_tensorflow()\n"
        "import tensorflow as tf\n"
        "tf.zeros(1)\n"
        "print('from Python', file=sys.stderr, flush=True)\n"
        "os.write(2, b'from below')\n"
    )
    assert finished.returncode == 0
    assert finished.stderr == "from Python\nfrom below"


@pytest.mark.slow
def test_what_a_failed_import_writes_is_shown() -> None:
    finished = run(
        "import os, sys\n"
        "class Failing:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'tensorflow':\n"
        "            os.write(2, b'a driver is missing')\n"
        "            raise ImportError('broken')\n"
        "sys.meta_path.insert(0, Failing())\n"
        "from pipeline import tensorflow_import\n"
        "tensorflow_import.import_tensorflow()\n"
    )
    assert finished.returncode == 1
    assert "a driver is missing" in finished.stderr
    assert "ImportError: broken" in finished.stderr


@pytest.mark.slow
def test_settings_of_the_user_are_kept() -> None:
    code = (
        "import os, sys, types\n"
        "sys.modules['tensorflow'] = types.ModuleType('tensorflow')\n"
        "from pipeline import tensorflow_import\n"
        "tensorflow_import.import_tensorflow()\n"
        "print(os.environ['TF_CPP_MIN_LOG_LEVEL'], os.environ['TF_ENABLE_ONEDNN_OPTS'])\n"
    )
    assert run(code, TF_CPP_MIN_LOG_LEVEL="0", TF_ENABLE_ONEDNN_OPTS="0").stdout == "0 0\n"
    assert run(code).stdout == "3 1\n"


@pytest.mark.slow
def test_keras_is_loaded_when_somebody_asks_for_it_and_not_before() -> None:
    finished = run(
        "import sys\n"
        "from pipeline import tensorflow_import\n"
        "tensorflow_import.import_tensorflow()\n"
        "import tensorflow as tf\n"
        "print(sorted(name for name in ('keras', 'sklearn') if name in sys.modules))\n"
        "print(tf.keras.Sequential([tf.keras.layers.Dense(2)])(tf.zeros([1, 3])).shape)\n"
    )
    assert finished.stdout == "[]\n(1, 2)\n", finished.stderr
