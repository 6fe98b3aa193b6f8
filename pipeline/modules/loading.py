"""Feature-extraction modules: from a handle to something that turns photos into vectors."""

import functools
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.files import atomic
from pipeline.modules import signatures


@dataclass(frozen=True)
class Module:
    """A module that is ready to use.

    Attributes:
        handle: what the user called it by.
        directory: of its SavedModel.
        digest: SHA-256 over its content, whatever its path.
        height, width: pixels of its input, float32 [batch, height, width, 3] in [0, 1].
        features: length of the vector it gives, float32 [batch, features].
        image_range: which numbers it was trained with, one of `interface.RANGES`.
        signature: which of its signatures is called; empty for the module itself.
        licence: of its weights, where it is known.
        frozen: path of its graph for the bottleneck stage; empty where there is none.
        frozen_digest: SHA-256 of that file.
    """

    handle: str
    directory: str
    digest: str
    height: int
    width: int
    features: int
    image_range: str = signatures.UNIT
    signature: str = signatures.CALL
    licence: str = ""
    frozen: str = ""
    frozen_digest: str = ""


class _UnreadableError(UserError):
    """TensorFlow cannot load a module: it may be damaged."""


def write(module: Module, path: Path) -> None:
    """Write what is known of a module as JSON."""
    with atomic.write(path) as temporary:
        temporary.write_text(json.dumps(asdict(module), indent=2) + "\n")


def read(path: Path) -> Module:
    """Read what `write` wrote."""
    return Module(**json.loads(path.read_text()))


@functools.lru_cache(maxsize=1)
def load(module: Module) -> tuple[Callable[[Any], Any], Any]:
    """Load a module, once a process.

    Returns:
        The module as a function from images, float32 [batch, height, width, 3] in [0, 1], for any
        batch, to features, float32 [batch, features]; and the object that holds its variables, to
        be kept with it and exported with it.

    Raises:
        UserError: where it is no longer there.
    """
    import tensorflow as tf

    loaded = _load(module.directory, module.digest)
    called = signatures.function(loaded, module.signature)
    assert called is not None

    def call(images: Any) -> Any:
        vectors = signatures.apply(called, images, module.image_range)
        return tf.reshape(tf.cast(vectors, tf.float32), [-1, module.features])

    return call, loaded


@functools.lru_cache(maxsize=1)
def _load(directory: str, digest: str) -> Any:  # noqa: ARG001 (other content is loaded anew)
    import tensorflow as tf

    try:
        return signatures.load(Path(directory))
    except Exception as error:  # on damaged files TensorFlow raises whatever it likes
        missing = re.search(r"Op type not registered '(\w+)'", str(error))
        if missing:
            raise UserError(
                f"tfhub_module: {directory} needs the operation {missing[1]}, which TensorFlow "
                f"{tf.__version__} does not have; use another module"
            ) from None
        raise _UnreadableError(
            f"tfhub_module: {directory} does not load as a SavedModel ({_first_line(error)}); "
            "fetch it again, or use another one"
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
