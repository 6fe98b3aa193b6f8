"""Feature-extraction modules: from a handle to something that turns photos into vectors."""

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline import efficientnet_lite, quiet, storage
from pipeline.errors import UserError

_REMOTE = ("https://", "http://", "gs://")


@dataclass(frozen=True)
class Module:
    """A module that is ready to use.

    Attributes:
        handle: what the user called it by.
        directory: of its SavedModel.
        digest: SHA-256 over its content, whatever its path.
        height, width: pixels of its input, float32 [batch, height, width, 3] in [0, 1].
        features: length of the vector it gives, float32 [batch, features].
    """

    handle: str
    directory: str
    digest: str
    height: int
    width: int
    features: int


def short_name(handle: str) -> str:
    """The last part of a handle that says something: a version number alone does not.

    For paths and people; not unique.
    """
    parts = [part for part in handle.split("/") if part and not part.isdigit()]
    return storage.slug(parts[-1] if parts else handle)


def stamp(handle: str) -> str:
    """Changes whenever the handle may have come to stand for other content; reads no content.

    Raises:
        UserError: where the handle stands for nothing.
    """
    if handle.startswith(_REMOTE):
        return storage.digest(handle)  # a hub's handles carry a version and never change
    if handle in efficientnet_lite.VARIANTS:
        files = [efficientnet_lite.weights_path(handle)]
    else:
        files = _files(_saved_model(handle))
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return storage.digest(handle, efficientnet_lite.BUILDER, stats)


def prepare(handle: str, module_dir: Path, image_size: int = 0) -> Module:
    """Build or fetch a module if need be, and find out what it takes and gives.

    Args:
        handle: a built-in name, a SavedModel's directory, or a TensorFlow Hub handle.
        module_dir: where built-in modules are kept.
        image_size: pixels of the input's sides, for modules that leave it open; 0 asks the module.

    Raises:
        UserError: where it is not an image feature-vector module.
    """
    quiet.import_tensorflow()
    if handle in efficientnet_lite.VARIANTS:
        digest = efficientnet_lite.digest(handle)
        directory = module_dir / f"{handle}-{digest[: storage.DIGEST_LENGTH]}"
        if not directory.is_dir():
            with storage.publish(directory) as temporary:
                efficientnet_lite.save(handle, temporary)
    else:
        directory = _fetch(handle) if handle.startswith(_REMOTE) else _saved_model(handle)
        digest = _content_digest(directory)
    height, width = _input_size(directory, image_size)
    features = _features(directory, height, width)
    return Module(handle, str(directory.absolute()), digest, height, width, features)


def write(module: Module, path: Path) -> None:
    """Write what is known of a module as JSON."""
    with storage.publish(path) as temporary:
        temporary.write_text(json.dumps(asdict(module), indent=2) + "\n")


def read(path: Path) -> Module:
    """Read what `write` wrote."""
    return Module(**json.loads(path.read_text()))


@functools.lru_cache(maxsize=1)
def load(directory: Path) -> tuple[Callable[[Any], Any], Any]:
    """Load a module, once a process.

    Returns:
        The module as a function from images, float32 [batch, height, width, 3] in [0, 1], to
        features, float32 [batch, features]; and the object that holds its variables, to be kept
        with it and exported with it.

    Raises:
        UserError: where the directory holds no such module.
    """
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(directory))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise UserError(
            f"tfhub_module: {directory} does not load as a TensorFlow 2 SavedModel "
            f"({_first_line(error)}); fetch it again, or use another one"
        ) from None
    if callable(loaded):
        return loaded, loaded
    signature = loaded.signatures.get("serving_default")
    inputs = signature.structured_input_signature[1] if signature else {}
    if len(inputs) != 1 or len(signature.structured_outputs) != 1:
        raise _not_a_module(
            directory,
            "it cannot be called, nor has it a serving signature with one input and output",
        )
    (name,), (output,) = inputs, signature.structured_outputs
    return lambda images: signature(**{name: images})[output], loaded


def _saved_model(handle: str) -> Path:
    directory = Path(handle).expanduser()
    if (directory / "saved_model.pb").is_file():
        return directory
    built_in = ", ".join(efficientnet_lite.VARIANTS)
    held = "holds no saved_model.pb" if directory.is_dir() else "is no folder"
    raise UserError(
        f"tfhub_module: {handle} is no built-in module and {held}; give one of {built_in}, the "
        "folder of a SavedModel, or a TensorFlow Hub handle that starts with https://"
    )


def _fetch(handle: str) -> Path:
    import tensorflow_hub as hub

    try:
        return Path(hub.resolve(handle))
    except Exception as error:  # urllib, tarfile and TensorFlow's file systems raise all kinds
        raise UserError(
            f"tfhub_module: {handle} cannot be fetched: {_first_line(error)}. Check the handle and "
            "the network, or unpack the module by hand and give its folder"
        ) from None


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def _content_digest(directory: Path) -> str:
    hasher = hashlib.sha256()
    for path in _files(directory):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        hasher.update(f"{path.relative_to(directory).as_posix()}\0{content}\n".encode())
    return hasher.hexdigest()


def _input_size(directory: Path, image_size: int) -> tuple[int, int]:
    """Pixels of the module's input: what the module says, else what the user says."""
    _, loaded = load(directory)
    for signature in loaded.signatures.values():
        for spec in signature.structured_input_signature[1].values():
            shape = spec.shape
            if shape.rank == 4 and shape[3] in (3, None) and shape[1] and shape[2]:
                height, width = int(shape[1]), int(shape[2])
                if image_size not in (0, height) or image_size not in (0, width):
                    raise UserError(
                        f"image_size is {image_size}, but {directory} takes {height} x {width} "
                        "pixels; leave image_size at 0"
                    )
                return height, width
    if not image_size:
        raise UserError(
            f"tfhub_module: {directory} does not say how large its photos should be; "
            "set image_size to the pixels its page names, such as 224"
        )
    return image_size, image_size


def _features(directory: Path, height: int, width: int) -> int:
    """Length of the module's vectors, from trying it on two photos."""
    import tensorflow as tf

    call, _ = load(directory)
    try:
        output = call(tf.zeros((2, height, width, 3)))
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise _not_a_module(directory, _first_line(error)) from None
    shape = getattr(output, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != 2:
        raise _not_a_module(directory, f"for two photos it gives {shape}, not [2, features]")
    return int(shape[1])


def _not_a_module(directory: Path, reason: str) -> UserError:
    return UserError(
        f"tfhub_module: {directory} does not turn photos into feature vectors: {reason}; "
        "use a module of the kind 'image feature vector'"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
