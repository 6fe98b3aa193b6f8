"""Import TensorFlow with oneDNN, without its start-up messages, and without loading Keras."""

import atexit
import functools
import gc
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import UserError


def import_tensorflow() -> None:
    """Import TensorFlow, showing what it writes only if the import fails.

    Its C++ libraries report missing GPU drivers and the like directly to the process's standard
    error, regardless of TF_CPP_MIN_LOG_LEVEL.

    By default, TensorFlow uses oneDNN only on processors with AVX-512 VNNI or newer extensions. On
    the others, oneDNN makes the forward pass twice as fast, and changes vectors no more than any
    other order of additions. A value of TF_ENABLE_ONEDNN_OPTS set by the user stays.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if "tensorflow" in sys.modules:
        return
    with hidden_messages(), _without_keras(), _without_garbage_collection():
        import tensorflow  # noqa: F401


@contextmanager
def hidden_messages() -> Iterator[None]:
    """Show what libraries write to the process's standard error only after an exception.

    A UserError says everything itself.
    """
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        except UserError:
            raise
        except BaseException:
            written.seek(0)
            os.write(stderr, written.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


@functools.cache
def literal_path(directory: Path) -> str:
    """Return a path by which TensorFlow loads a SavedModel, whatever its folders are called.

    TensorFlow finds the variables by a pattern, so `photos [2019]` would not match itself. A path
    with such characters is replaced by a temporary link.
    """
    if not re.search(r"[][*?\\]", str(directory)):
        return str(directory)
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "link").symlink_to(directory.absolute())
    return str(folder / "link")


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Keep the objects that are created in this context out of garbage collection.

    TensorFlow creates hundreds of thousands that live until the process ends. To search them for
    garbage takes a tenth of the import, and a second when the process ends.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()
        atexit.register(gc.freeze)


@contextmanager
def _without_keras() -> Iterator[None]:
    """Hide Keras during the import, which TensorFlow permits; `tf.keras` loads it on first use.

    TensorFlow imports Keras, which imports scikit-learn if it is installed, in case a Keras
    optimizer is restored: that takes a third of the import time.
    """
    if "keras.src" in sys.modules:
        yield
        return
    sys.modules["keras.src"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["keras.src"]
