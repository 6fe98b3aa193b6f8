"""Prepare a module: build or fetch it, and find out what it takes and returns."""

import contextlib
import functools
import hashlib
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path

from pipeline import tensorflow_import
from pipeline.errors import UserError
from pipeline.files import atomic, naming, places
from pipeline.modules import (
    efficientnet_lite,
    failures,
    handles,
    keras_applications,
    keras_export,
    keras_files,
    loading,
    names,
    provenance,
    signatures,
)
from pipeline.modules.loading import Module, _UnreadableError
from pipeline.modules.provenance import Provenance
from pipeline.progress import Progress, silent

FORMAT_VERSION = 6  # raise it when the inspection of modules changes


def short_name(handle: str) -> str:
    """Return the last meaningful part of a handle, which a version number alone is not.

    It is meant for paths and people, and not unique.
    """
    handle = handle.split("@")[0] if keras_applications.is_handle(handle) else handle
    parts = [part for part in handle.split("?")[0].split("/") if part and not part.isdigit()]
    return naming.slug(parts[-1] if parts else handle)


def folder(handle: str, output_dir: Path) -> Path:
    """Return the folder to prepare a module in: the cache for one built here, if it is writable.

    Built-in modules and Keras applications are the same for all output folders, and building one
    takes seconds.
    """
    cache = handles.cache()
    existing = next(path for path in (cache, *cache.parents) if path.exists())
    built = handle in efficientnet_lite.VARIANTS or keras_applications.is_handle(handle)
    shared = built and os.access(existing, os.W_OK)
    return cache if shared else output_dir / "modules"


def fingerprint(handle: str) -> str:
    """Return a digest that changes when the content of a handle may have changed.

    It is computed from names, sizes and times, without reading the content.

    Raises:
        UserError: if there is nothing at the handle.
    """
    stats: list[tuple[str | int, ...]]
    if handle in efficientnet_lite.VARIANTS:
        weights = efficientnet_lite.weights_path(handle)
        # The name contains a digest, so this is the same everywhere.
        stats = [(weights.name, weights.stat().st_size)]
    else:
        stats = [
            (str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in _files(handle)
        ]
    if _is_keras(handle):
        stats.append(("keras", keras_export.BUILDER, keras_export.version()))
    return naming.digest(handle, efficientnet_lite.BUILDER, FORMAT_VERSION, stats)


def _files(handle: str) -> list[Path]:
    if keras_applications.is_handle(handle):
        return keras_applications.files(handle)
    if keras_files.is_handle(handle):
        return keras_files.files(handle)
    return handles.files(handle)


def _is_keras(handle: str) -> bool:
    return keras_applications.is_handle(handle) or keras_files.is_handle(handle)


def refuse_mistyped(handle: str) -> None:
    """Check a handle that is a name, or resembles one.

    Raises:
        UserError: if there is no such module, with the nearest name.
    """
    if keras_applications.is_handle(handle):
        keras_applications.refuse_unknown(handle)
    elif _is_unknown(handle) and (meant := names.nearest(handle)):
        raise UserError(
            f"tfhub_module: {handle} is neither a built-in module nor a file or folder; did you "
            f"mean {meant}?"
        )


def _is_unknown(handle: str) -> bool:
    """Return whether a handle is neither a known name nor a path of something that exists."""
    is_name = handle in efficientnet_lite.VARIANTS or keras_applications.is_handle(handle)
    return not is_name and not places.local(handle).exists()


def prepare(
    handle: str,
    module_dir: Path,
    image_size: int = 0,
    image_range: str = signatures.UNIT,
    sha256: str = "",
    module_output: str = "",
    progress: Progress = silent,
) -> Module:
    """Build or download a module if need be, and inspect it.

    A copy from an earlier run that does not load is replaced.

    Args:
        handle: a built-in name; `keras:` and the name of a Keras application; a Keras file; the
            folder, archive or URL of a SavedModel; or a TensorFlow Hub handle.
        module_dir: folder for built-in modules, exported Keras models and unpacked archives; see
            `folder`.
        image_size: height and width of the input in pixels, for modules that accept any; 0 uses
            what the module suggests.
        image_range: pixel range that the module expects, one of `signatures.RANGES`.
        sha256: expected `Module.digest`; empty accepts any.
        module_output: name of the output to use, of several; of a Keras file, a layer.
        progress: counts MB.

    Raises:
        UserError: if it is not an image feature-vector module.
    """
    tensorflow_import.import_tensorflow()
    resolve = functools.partial(
        _resolve, handle, module_dir, progress, image_size=image_size, module_output=module_output
    )
    directory = resolve()
    try:
        module = _inspect(handle, directory, image_size, image_range, sha256, module_output)
    except _UnreadableError:
        try:
            directory = resolve(again=True)
        except UserError as error:
            raise UserError(f"{error}; the copy in {directory} is damaged") from None
        module = _inspect(handle, directory, image_size, image_range, sha256, module_output)
    if handles.is_remote(handle):
        record = handles.cached(handle)
        with contextlib.suppress(OSError):  # a cache may be read-only
            loading.write(module, record.with_name(f"{record.name}.json"))
    return module


def _resolve(
    handle: str,
    module_dir: Path,
    progress: Progress,
    again: bool = False,
    image_size: int = 0,
    module_output: str = "",
) -> Path:
    if keras_applications.is_handle(handle):  # which checks the name only if it is not built yet
        return keras_applications.resolve(handle, module_dir, image_size, progress, again)
    refuse_mistyped(handle)
    if keras_files.is_handle(handle):
        return keras_files.resolve(handle, module_dir, module_output, again)
    if handle not in efficientnet_lite.VARIANTS:
        return handles.resolve(handle, module_dir, progress, again)
    digest = efficientnet_lite.digest(handle)[: naming.DIGEST_LENGTH]
    size = image_size or efficientnet_lite.VARIANTS[handle].size
    directory = module_dir / f"{handle}-{size}-{digest}"
    if again or not directory.is_dir():
        with atomic.write(directory) as temporary:
            efficientnet_lite.save(handle, temporary, size)
            if again:  # otherwise, another process wrote what is there now and may be reading it
                shutil.rmtree(directory, ignore_errors=True)
    return directory


def _inspect(
    handle: str,
    directory: Path,
    image_size: int,
    image_range: str,
    sha256: str,
    module_output: str,
) -> Module:
    """Inspect a module by calling it on two photos."""
    import tensorflow as tf

    built_in = handle in efficientnet_lite.VARIANTS
    takes = signatures.UNIT if built_in else ""
    if _is_keras(handle):
        facts = keras_export.read(directory)
        digest, takes = facts.digest, facts.image_range
    else:
        digest = efficientnet_lite.digest(handle) if built_in else _content_digest(directory)
    if sha256 and digest != sha256.strip().lower():
        raise UserError(
            f"tfhub_module: the content of {handle} has the SHA-256 {digest}, but module_sha256 is "
            f"{sha256}; if you trust the content, change module_sha256"
        )
    loaded = loading._load(str(directory), digest)
    if {signatures.PIXELS, signatures.KNOWN} <= set(loaded.signatures):
        raise UserError(
            f"tfhub_module: {handle} is an exported model, which returns probabilities instead of "
            "features; pass its module, which model.json in the model's folder names"
        )
    functions = {n: signatures.function(loaded, n) for n in signatures.usable_names(loaded)}
    usable = {name: function for name, function in functions.items() if function}
    if usable and takes and image_range != takes:
        raise UserError(
            f"image_range is {image_range}, but {handle} takes pixels in "
            f"{signatures.RANGES[takes]}; set image_range to {takes}"
        )
    origin = provenance.read(directory)
    if origin:
        handle = _tuned_handle(origin, digest)
        if image_size and (image_size, image_size) != (origin.height, origin.width):
            raise UserError(
                f"image_size is {image_size}, but {handle} was fine-tuned at {origin.height} x "
                f"{origin.width} pixels; leave image_size at 0, or fine-tune "
                f"{origin.tuned_from} at that size"
            )
    sizes = [(function.height, function.width) for function in usable.values()]
    suggested = next(filter(all, sizes), None) or signatures.stated_size(directory)
    reasons = []
    for name, function in usable.items():
        height, width = (
            (origin.height, origin.width)
            if origin
            else _input_size(handle, function, image_size, suggested)
        )
        if function.dtype.is_integer and image_range != signatures.BYTE:
            raise UserError(
                f"tfhub_module: {handle} takes integers up to 255; set image_range to "
                f"{signatures.BYTE}"
            )
        try:
            output = signatures.apply(
                function, tf.zeros((2, height, width, 3)), image_range, module_output
            )
        except (TypeError, ValueError, tf.errors.OpError) as error:
            reasons.append(failures.reason(error))
            if isinstance(error, tf.errors.OpError):
                reasons[-1] += f"; {failures.REMEDY}"
            continue
        shape = tuple(getattr(output, "shape", ()))
        if shape[:-1] in ((2,), (2, 1, 1)) and output.dtype.is_floating:
            module = Module(
                handle=handle,
                directory=str(directory.absolute()),
                digest=digest,
                height=height,
                width=width,
                features=shape[-1],
                image_range=image_range,
                image_range_known=bool(takes),
                signature=name,
                output=module_output,
                licence=efficientnet_lite.LICENCE if built_in else "",
            )
            return replace(module, **asdict(origin)) if origin else module
        reasons.append(
            f"for two photos it returns the shape {shape}, not (2, features); use an 'image "
            "feature vector' module, or export it with global pooling as its last layer"
        )
    reasons += [
        signatures.unusable_reason(loaded, name) for name in functions if name not in usable
    ]
    reasons.append("it has no signature; export it as a SavedModel again")
    raise UserError(
        f"tfhub_module: {handle} does not turn photos into feature vectors: {reasons[0]}"
    )


def _tuned_handle(origin: Provenance, digest: str) -> str:
    """Return what a fine-tuned module is called, wherever its folder is."""
    return f"{short_name(origin.tuned_from)}, fine-tuned ({digest[: naming.DIGEST_LENGTH]})"


def _input_size(
    handle: str, function: signatures.Function, image_size: int, suggested: tuple[int, int]
) -> tuple[int, int]:
    """Return the input size that the module requires, the user sets, or the module suggests."""
    for fixed in (function.height, function.width):
        if image_size and fixed not in (0, image_size):
            raise UserError(
                f"image_size is {image_size}, but {handle} takes {function.height} x "
                f"{function.width} pixels; leave image_size at 0"
            )
    height = function.height or image_size or suggested[0]
    width = function.width or image_size or suggested[1]
    if not height or not width:
        raise UserError(
            f"tfhub_module: {handle} does not state its input size; set image_size to the pixels "
            "in its documentation, such as 224"
        )
    return height, width


def _content_digest(directory: Path) -> str:
    hasher = hashlib.sha256()
    for path in handles.files_in(directory):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        hasher.update(f"{path.relative_to(directory).as_posix()}\0{content}\n".encode())
    return hasher.hexdigest()
