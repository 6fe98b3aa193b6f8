"""Prepare a module: build or fetch it, and find out what it takes and returns."""

import contextlib
import hashlib
import shutil
from pathlib import Path

from pipeline import tensorflow_import
from pipeline.errors import UserError
from pipeline.files import atomic, naming
from pipeline.modules import efficientnet_lite, handles, loading, signatures
from pipeline.modules.loading import Module, _UnreadableError
from pipeline.progress import Progress, silent

FORMAT_VERSION = 4  # raise it when what is found out of a module changes


def short_name(handle: str) -> str:
    """The last part of a handle that says something: a version number alone does not.

    For paths and people; not unique.
    """
    parts = [part for part in handle.split("?")[0].split("/") if part and not part.isdigit()]
    return naming.slug(parts[-1] if parts else handle)


def fingerprint(handle: str) -> str:
    """Changes whenever the handle may have come to stand for other content; reads no content.

    Raises:
        UserError: where the handle stands for nothing.
    """
    stats: list[tuple[str | int, ...]]
    if handle in efficientnet_lite.VARIANTS:  # whose file has a digest in its name: on any machine
        weights = efficientnet_lite.weights_path(handle)
        stats = [(weights.name, weights.stat().st_size)]
    else:
        files = handles.files(handle)
        stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return naming.digest(handle, efficientnet_lite.BUILDER, FORMAT_VERSION, stats)


def prepare(
    handle: str,
    module_dir: Path,
    image_size: int = 0,
    image_range: str = signatures.UNIT,
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
    tensorflow_import.import_tensorflow()
    directory = _resolve(handle, module_dir, progress)
    try:
        module = _inspect(handle, directory, image_size, image_range, sha256)
    except _UnreadableError:
        try:
            directory = _resolve(handle, module_dir, progress, again=True)
        except UserError as error:
            raise UserError(f"{error}; the copy in {directory} is damaged") from None
        module = _inspect(handle, directory, image_size, image_range, sha256)
    if handles.is_remote(handle):
        record = handles.cached(handle)
        with contextlib.suppress(OSError):  # a cache may be read-only
            loading.write(module, record.with_name(f"{record.name}.json"))
    return module


def _resolve(handle: str, module_dir: Path, progress: Progress, again: bool = False) -> Path:
    if handle not in efficientnet_lite.VARIANTS:
        return handles.resolve(handle, module_dir, progress, again)
    digest = efficientnet_lite.digest(handle)[: naming.DIGEST_LENGTH]
    directory = module_dir / f"{handle}-{digest}"
    if again or not directory.is_dir():
        with atomic.write(directory) as temporary:
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
    loaded = loading._load(str(directory), digest)
    found = {name: signatures.function(loaded, name) for name in signatures.usable_names(loaded)}
    usable = {name: called for name, called in found.items() if called}
    sizes = [(called.height, called.width) for called in usable.values()]
    suggested = next(filter(all, sizes), None) or signatures.stated_size(directory)
    reasons = []
    for name, called in usable.items():
        height, width = _input_size(handle, called, image_size, suggested)
        if called.dtype.is_integer and image_range != signatures.BYTE:
            raise UserError(
                f"tfhub_module: {handle} takes whole numbers up to 255; set image_range to "
                f"{signatures.BYTE}"
            )
        try:
            output = signatures.apply(called, tf.zeros((2, height, width, 3)), image_range)
        except (TypeError, ValueError, tf.errors.OpError) as error:
            reasons.append(loading._first_line(error))
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
    handle: str, called: signatures.Function, image_size: int, suggested: tuple[int, int]
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


def _content_digest(directory: Path) -> str:
    hasher = hashlib.sha256()
    for path in handles.files_in(directory):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        hasher.update(f"{path.relative_to(directory).as_posix()}\0{content}\n".encode())
    return hasher.hexdigest()
