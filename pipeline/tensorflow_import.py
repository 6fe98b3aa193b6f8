"""TensorFlow without the lines that it writes before any log level counts, and without Keras."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


def import_tensorflow() -> None:
    """Import TensorFlow for the first time; what it writes is shown only where that fails.

    Its C++ parts report missing GPU drivers and the like straight to the process's standard
    error, whatever TF_CPP_MIN_LOG_LEVEL says.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            with _without_keras():
                import tensorflow  # noqa: F401
        except BaseException:
            written.seek(0)
            os.write(stderr, written.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


@contextmanager
def _without_keras() -> Iterator[None]:
    """Let TensorFlow find no Keras for a while, as it allows for; `tf.keras` loads it when asked.

    TensorFlow loads Keras, and that scikit-learn, in case a Keras optimizer is to be restored: a
    third of the time that its import takes.
    """
    if "keras.src" in sys.modules:
        yield
        return
    sys.modules["keras.src"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["keras.src"]
