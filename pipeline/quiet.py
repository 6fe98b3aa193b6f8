"""TensorFlow without the lines that it writes before any log level counts."""

import os
import tempfile


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
            import tensorflow  # noqa: F401
        except BaseException:
            written.seek(0)
            os.write(stderr, written.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
