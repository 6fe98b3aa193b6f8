"""Feature-extraction modules: from a handle to something that turns photos into vectors."""

import contextlib
import functools
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline import efficientnet_lite, hub, interface, quiet, storage
from pipeline.errors import UserError
from pipeline.progress import Progress, silent

FORMAT_VERSION = 4  # raise it when what is found out of a module changes


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
    image_range: str = interface.UNIT
    signature: str = interface.CALL
    licence: str = ""
    frozen: str = ""
    frozen_digest: str = ""


class _UnreadableError(UserError):
    """TensorFlow cannot load a module: it may be damaged."""


def short_name(handle: str) -> str:
    """The last part of a handle that says something: a version number alone does not.

    For paths and people; not unique.
    """
    parts = [part for part in handle.split("?")[0].split("/") if part and not part.isdigit()]
    return storage.slug(parts[-1] if parts else handle)


def stamp(handle: str) -> str:
    """Changes whenever the handle may have come to stand for other content; reads no content.

    Raises:
        UserError: where the handle stands for nothing.
    """
    stats: list[tuple[str | int, ...]]
    if handle in efficientnet_lite.VARIANTS:  # whose file has a digest in its name: on any machine
        weights = efficientnet_lite.weights_path(handle)
        stats = [(weights.name, weights.stat().st_size)]
    else:
        files = hub.files(handle)
        stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return storage.digest(handle, efficientnet_lite.BUILDER, FORMAT_VERSION, stats)


def prepare(
    handle: str,
    module_dir: Path,
    image_size: int = 0,
    image_range: str = interface.UNIT,
    sha256: str = "",
    progress: Progress = silent,
) -> Module:
    """Build or fetch a module if need be, and find out what it takes and gives.

    A copy fetched or built earlier that does not load is replaced by a new one.

    Args:
        handle: a built-in name; a SavedModel's folder or archive, or the address of one; or a
            TensorFlow Hub handle.
        module_dir: where built-in modules and archives' contents are kept.
        image_size: pixels of the input's sides, for modules that leave it open; 0 asks the module.
        image_range: which numbers the module was trained with, one of `interface.RANGES`.
        sha256: what `Module.digest` must be; empty takes what comes.
        progress: counts MB.

    Raises:
        UserError: where it is not an image feature-vector module.
    """
    quiet.import_tensorflow()
    directory = _resolve(handle, module_dir, progress)
    try:
        module = _inspect(handle, directory, image_size, image_range, sha256)
    except _UnreadableError:
        try:
            directory = _resolve(handle, module_dir, progress, again=True)
        except UserError as error:
            raise UserError(f"{error}; the copy in {directory} is damaged") from None
        module = _inspect(handle, directory, image_size, image_range, sha256)
    if hub.is_remote(handle):
        record = hub.cached(handle)
        with contextlib.suppress(OSError):  # a cache may be read-only
            write(module, record.with_name(f"{record.name}.json"))
    return module


def write(module: Module, path: Path) -> None:
    """Write what is known of a module as JSON."""
    with storage.publish(path) as temporary:
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
    called = interface.function(loaded, module.signature)
    assert called is not None

    def call(images: Any) -> Any:
        vectors = interface.apply(called, images, module.image_range)
        return tf.reshape(tf.cast(vectors, tf.float32), [-1, module.features])

    return call, loaded


def _resolve(handle: str, module_dir: Path, progress: Progress, again: bool = False) -> Path:
    if handle not in efficientnet_lite.VARIANTS:
        return hub.resolve(handle, module_dir, progress, again)
    digest = efficientnet_lite.digest(handle)[: storage.DIGEST_LENGTH]
    directory = module_dir / f"{handle}-{digest}"
    if again or not directory.is_dir():
        with storage.publish(directory) as temporary:
            efficientnet_lite.save(handle, temporary)
            if again:  # else what is there now is another process's, which may be reading it
                shutil.rmtree(directory, ignore_errors=True)
    return directory


def _inspect(
    handle: str, directory: Path, image_size: int, image_range: str, sha256: str
) -> Module:
    """Find out all about a module by trying it on two photos."""
    import tensorflow as tf

    built_in = handle in efficientnet_lite.VARIANTS
    digest = efficientnet_lite.digest(handle) if built_in else _content_digest(directory)
    if sha256 and digest != sha256.strip().lower():
        raise UserError(
            f"tfhub_module: the content of {handle} has the SHA-256 {digest}, but module_sha256 is "
            f"{sha256}; if you mean this one, change module_sha256"
        )
    loaded = _load(str(directory), digest)
    found = {name: interface.function(loaded, name) for name in interface.names(loaded)}
    usable = {name: called for name, called in found.items() if called}
    sizes = [(called.height, called.width) for called in usable.values()]
    suggested = next(filter(all, sizes), None) or interface.stated_size(directory)
    reasons = []
    for name, called in usable.items():
        height, width = _input_size(handle, called, image_size, suggested)
        if called.dtype.is_integer and image_range != interface.BYTE:
            raise UserError(
                f"tfhub_module: {handle} takes whole numbers up to 255; set image_range to "
                f"{interface.BYTE}"
            )
        try:
            output = interface.apply(called, tf.zeros((2, height, width, 3)), image_range)
        except (TypeError, ValueError, tf.errors.OpError) as error:
            reasons.append(_first_line(error))
            continue
        shape = tuple(getattr(output, "shape", ()))
        if shape[:-1] in ((2,), (2, 1, 1)) and output.dtype.is_floating:
            licence = efficientnet_lite.LICENCE if built_in else ""
            facts = (height, width, shape[-1], image_range, name, licence)
            return Module(handle, str(directory.absolute()), digest, *facts)
        reasons.append(f"for two photos it gives {shape}, not (2, features)")
    reason = reasons[0] if reasons else "none of its functions takes photos alone"
    raise UserError(
        f"tfhub_module: {handle} does not turn photos into feature vectors: {reason}; "
        "use a module of the kind 'image feature vector'"
    )


def _input_size(
    handle: str, called: interface.Function, image_size: int, suggested: tuple[int, int]
) -> tuple[int, int]:
    """Pixels of the input: what the module insists on, what the user says, what it suggests."""
    for fixed in (called.height, called.width):
        if image_size and fixed not in (0, image_size):
            raise UserError(
                f"image_size is {image_size}, but {handle} takes {called.height} x {called.width} "
                "pixels; leave image_size at 0"
            )
    height = called.height or image_size or suggested[0]
    width = called.width or image_size or suggested[1]
    if not height or not width:
        raise UserError(
            f"tfhub_module: {handle} does not say how large its photos should be; "
            "set image_size to the pixels its page names, such as 224"
        )
    return height, width


@functools.lru_cache(maxsize=1)
def _load(directory: str, digest: str) -> Any:  # noqa: ARG001 (other content is loaded anew)
    import tensorflow as tf

    try:
        return interface.load(Path(directory))
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


def _content_digest(directory: Path) -> str:
    hasher = hashlib.sha256()
    for path in hub.files_in(directory):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        hasher.update(f"{path.relative_to(directory).as_posix()}\0{content}\n".encode())
    return hasher.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
