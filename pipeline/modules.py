"""Feature-extraction modules: from a handle to something that turns photos into vectors."""

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline import efficientnet_lite, storage
from pipeline.errors import UserError


@dataclass(frozen=True)
class Module:
    """A module that is ready to use.

    Attributes:
        handle: what the user called it by.
        digest: SHA-256 over its content, whatever its path.
        height, width: pixels of its input, float32 [batch, height, width, 3] in [0, 1].
        features: length of the vector it gives, float32 [batch, features].
    """

    handle: str
    digest: str
    height: int
    width: int
    features: int

    @property
    def name(self) -> str:
        """A short name for paths and people."""
        return storage.slug(self.handle.rstrip("/").rsplit("/", 1)[-1])


def content_digest(handle: str) -> str:
    """Digest of what the handle stands for now: the weights, not the path. Loads no TensorFlow.

    Raises:
        UserError: where the handle stands for nothing.
    """
    if handle in efficientnet_lite.VARIANTS:
        return efficientnet_lite.digest(handle)
    directory = _saved_model(handle)
    hasher = hashlib.sha256()
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        hasher.update(f"{path.relative_to(directory).as_posix()}\0{content}\n".encode())
    return hasher.hexdigest()


def locate(handle: str, module_dir: Path) -> Path:
    """Where the module's SavedModel is, or will be once it is prepared."""
    if handle in efficientnet_lite.VARIANTS:
        return module_dir / f"{handle}-{content_digest(handle)[: storage.DIGEST_LENGTH]}"
    return _saved_model(handle)


def prepare(handle: str, module_dir: Path, image_size: int = 0) -> Module:
    """Build a built-in module if need be, and find out what the module takes and gives.

    Args:
        handle: a built-in name or a SavedModel's directory.
        module_dir: where built-in modules are kept.
        image_size: pixels of the input's sides, for modules that leave it open; 0 asks the module.

    Raises:
        UserError: where it is not an image feature-vector module.
    """
    directory = locate(handle, module_dir)
    if handle in efficientnet_lite.VARIANTS and not directory.is_dir():
        with storage.publish(directory) as temporary:
            efficientnet_lite.save(handle, temporary)
    height, width = _input_size(handle, directory, image_size)
    features = _width_of_output(handle, directory, height, width)
    return Module(handle, content_digest(handle), height, width, features)


def write(module: Module, path: Path) -> None:
    """Write what is known of a module as JSON."""
    with storage.publish(path) as temporary:
        temporary.write_text(json.dumps(asdict(module), indent=2) + "\n")


def read(path: Path) -> Module:
    """Read what `write` wrote."""
    return Module(**json.loads(path.read_text()))


@functools.lru_cache(maxsize=1)
def load(directory: Path) -> Callable[[Any], Any]:
    """The module as a function from images to features; loaded once a process.

    Returns:
        A function from float32 [batch, height, width, 3] to float32 [batch, features]. Its
        attribute `trackable` is the loaded object, to be kept alive and exported with it.

    Raises:
        UserError: where the directory holds no such module.
    """
    import tensorflow as tf
    import tensorflow_hub as hub

    try:
        loaded = hub.load(str(directory))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise UserError(
            f"tfhub_module: {directory} does not load as a SavedModel: {_first_line(error)}"
        ) from None
    call = loaded if callable(loaded) else _signature(loaded, directory)

    def features(images: Any) -> Any:
        output = call(images)
        if isinstance(output, dict):
            output = next(iter(output.values()))
        return output

    features.trackable = loaded  # type: ignore[attr-defined]
    return features
