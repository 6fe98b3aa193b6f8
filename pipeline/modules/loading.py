"""A prepared module: what is known about it, and how it is loaded."""

import functools
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.files import atomic
from pipeline.modules import failures, signatures
from pipeline.pixels.decoding import WHITE, InputSpec


@dataclass(frozen=True)
class Module:
    """A prepared module.

    Attributes:
        handle: the handle that the user passed; for a fine-tuned module, what it was made from, and
            its digest.
        directory: folder of its SavedModel.
        digest: SHA-256 of its content, independent of its path.
        height, width: pixels of its input, float32 [batch, height, width, 3] in [0, 1].
        features: length of its vectors, float32 [batch, features].
        image_range: pixel range that it expects, one of `signatures.RANGES`.
        image_range_known: whether the module itself determines its range.
        exif_orientation, background: how its input is decoded; see `InputSpec`.
        signature: name of the signature that is called; empty for the module itself.
        output: name of the output that is used; empty for the only one or `default`.
        licence: licence of its weights, if known.
        frozen: path of its frozen graph; empty if there is none.
        frozen_digest: SHA-256 of that file.
        engine: inference engine that runs it, `tensorflow` or `openvino`; see `engines`.
        tuned_from, tuned_epochs, tuned_photos: see `Provenance`; unset if it was not fine-tuned.
    """

    handle: str
    directory: str
    digest: str
    height: int
    width: int
    features: int
    image_range: str = signatures.UNIT
    image_range_known: bool = False
    exif_orientation: bool = True
    background: int = WHITE
    signature: str = signatures.CALL
    output: str = ""
    licence: str = ""
    frozen: str = ""
    frozen_digest: str = ""
    engine: str = "tensorflow"
    tuned_from: str = ""
    tuned_epochs: int = 0
    tuned_photos: int = 0

    @property
    def input(self) -> InputSpec:
        """The pixels that it takes."""
        return InputSpec(self.height, self.width, self.exif_orientation, self.background)


class _UnreadableError(UserError):
    """TensorFlow cannot load a module, which may be damaged."""


def write(module: Module, path: Path) -> None:
    """Write the description of a module as JSON."""
    with atomic.write(path) as temporary:
        temporary.write_text(json.dumps(asdict(module), indent=2) + "\n")


def read(path: Path) -> Module:
    """Read the description of a module."""
    return Module(**json.loads(path.read_text()))


@functools.lru_cache(maxsize=1)
def load(module: Module) -> tuple[Callable[[Any], Any], Any]:
    """Load a module, once per process.

    Returns:
        The module as a function from images, float32 [batch, height, width, 3] in [0, 1], to
        features, float32 [batch, features], for any batch size; and the loaded object, which holds
        its variables and must be kept and exported with the function.

    Raises:
        UserError: if the module does not exist any more.
    """
    loaded = _load(module.directory, module.digest)
    return bind(module, loaded), loaded


def bind(module: Module, loaded: Any) -> Callable[[Any], Any]:
    """Return a loaded module as the function that `load` describes."""
    import tensorflow as tf

    function = signatures.function(loaded, module.signature)
    assert function is not None

    def call(images: Any) -> Any:
        vectors = signatures.apply(function, images, module.image_range, module.output)
        return tf.reshape(tf.cast(vectors, tf.float32), [-1, module.features])

    return call


@functools.lru_cache(maxsize=1)
def _load(directory: str, digest: str) -> Any:  # noqa: ARG001 (part of the cache key: changed content is loaded again)
    import tensorflow as tf

    try:
        return signatures.load(Path(directory))
    except UserError:
        raise
    except Exception as error:  # TensorFlow raises all kinds of exceptions for damaged files
        unknown = re.search(r"Op type not registered '(\w+)'", str(error))
        if unknown:
            raise UserError(
                f"tfhub_module: {directory} needs the operation {unknown[1]}, which TensorFlow "
                f"{tf.__version__} does not have; use another module"
            ) from None
        raise _UnreadableError(
            f"tfhub_module: {directory} does not load as a SavedModel ({failures.reason(error)}); "
            "download it again, or use another one"
        ) from None
