"""Keras Applications by name: ImageNet networks without their classifier, pooled.

A handle is `keras:EfficientNetV2B0`, or `keras:EfficientNetV2B0@/path/weights.h5` on a machine
without a network connection. The module takes pixels from 0 to 1: the network's own preprocessing
is part of it. See https://keras.io/api/applications.
"""

import importlib
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.files import download, locks, naming
from pipeline.modules import failures, keras_export, names, signatures
from pipeline.modules.keras_export import Facts
from pipeline.progress import Progress

PREFIX = "keras:"

_CLASSIFIER = 3  # layers that it has at most, in VGG16
_SIZE = 224  # pixels; the sizes below are those that the other networks were trained with
_SIZES = {
    "EfficientNetB1": 240,
    "EfficientNetB2": 260,
    "EfficientNetB3": 300,
    "EfficientNetB4": 380,
    "EfficientNetB5": 456,
    "EfficientNetB6": 528,
    "EfficientNetB7": 600,
    "EfficientNetV2B1": 240,
    "EfficientNetV2B2": 260,
    "EfficientNetV2B3": 300,
    "EfficientNetV2S": 384,
    "EfficientNetV2M": 480,
    "EfficientNetV2L": 480,
    "InceptionResNetV2": 299,
    "InceptionV3": 299,
    "NASNetLarge": 331,
    "Xception": 299,
}


def is_handle(handle: str) -> bool:
    """Return whether a handle names a Keras application."""
    return handle.startswith(PREFIX)


def files(handle: str) -> list[Path]:
    """Return the local files of a handle: its weights file, if it names one.

    Raises:
        UserError: if that file does not exist, or the handle has no name.
    """
    _, weights = _parse(handle)
    return [weights] if weights else []


def resolve(
    handle: str, module_dir: Path, image_size: int, progress: Progress, again: bool
) -> Path:
    """Return the SavedModel folder of a Keras application, building it if need be.

    Args:
        handle: see above.
        module_dir: folder for built modules.
        image_size: height and width of the input in pixels; 0: as the network was trained.
        progress: counts MB of the weights.
        again: replace what was built before.

    Raises:
        UserError: if there is no such application, or its weights cannot be downloaded, are not
            its own, or need a larger image.
    """
    name, weights = _parse(handle)
    size = image_size or _SIZES.get(name, _SIZE)
    content = keras_export.file_digest(weights) if weights else ""
    key = keras_export.digest(name, str(size), content)[: naming.DIGEST_LENGTH]

    def build() -> tuple[Any, Facts]:
        return _build(name, size, weights, progress)

    return keras_export.resolve(module_dir / f"{naming.slug(name)}-{size}-{key}", build, again)


def _parse(handle: str) -> tuple[str, Path | None]:
    """Split a handle into the application's name and the weights file, if there is one."""
    name, at, path = handle.removeprefix(PREFIX).partition("@")
    if not name:
        raise UserError(
            f"tfhub_module: {handle} names no application; pass a name as well, such as "
            f"{PREFIX}EfficientNetV2B0"
        )
    if not at:
        return name, None
    weights = Path(path).expanduser()
    if path and weights.is_file():
        return name, weights
    if not path:
        problem = "no file follows the @"
    else:
        problem = f"{path} is a folder" if weights.is_dir() else f"there is no file {path}"
    raise UserError(
        f"tfhub_module: {handle}: {problem}; pass {PREFIX}{name}@/path/weights.h5, or only "
        f"{PREFIX}{name} to download the weights"
    )


def refuse_unknown(handle: str) -> None:
    """Check the name in a handle.

    Raises:
        UserError: if Keras has no such application, with the nearest name.
    """
    name, _ = _parse(handle)
    if name not in (known := names.applications()):
        meant = names.nearest(f"{PREFIX}{name}")
        nearest = f"did you mean {meant}? Keras's" if meant else "its"
        raise UserError(
            f"tfhub_module: Keras has no application {name!r}; {nearest} applications are "
            f"{', '.join(known)}"
        )


def _build(name: str, size: int, weights: Path | None, progress: Progress) -> tuple[Any, Facts]:
    """Build a network from pixels in [0, 1] to pooled features."""
    keras = keras_export.import_keras()
    refuse_unknown(f"{PREFIX}{name}")
    application = getattr(keras.applications, name)
    fetched: list[Path] = []

    def get_file(fname: str, origin: str, file_hash: str = "", **_: Any) -> str:
        fetched.append(_fetch(name, fname, origin, file_hash, progress))
        return str(fetched[-1])

    try:
        with _weights_from(get_file):
            network = _network(application, size, None if weights else "imagenet")
    except (OSError, ValueError) as error:
        reason = failures.reason(error)
        if isinstance(error, OSError) and not fetched:  # such as a folder that is not writable
            raise
        if fetched:  # not all files have a checksum
            problem = f"{fetched[0]} cannot be read ({reason}); delete it, and run again"
            raise UserError(f"tfhub_module: {problem}") from None
        raise UserError(
            f"image_size is {size}, which {PREFIX}{name} does not take: {reason}"
        ) from None
    if weights:
        try:
            with warnings.catch_warnings(action="ignore"):  # one for each layer that is missing
                network.load_weights(weights)
        except Exception as error:  # h5py and Keras raise all kinds for other files
            reason = failures.reason(error)
            counts = re.search(r"expected (\d+) layers, found (\d+)", reason)
            more = int(counts[2]) - int(counts[1]) if counts else 0
            reason, separator = reason.split(". ")[0].rstrip(".:"), "; "
            if 0 < more <= _CLASSIFIER:
                reason = "it probably has the classifier as well; save it with include_top=False"
                separator = ", or "
            raise UserError(
                f"tfhub_module: {weights} does not contain the weights of {name} without its "
                f"classifier: {reason}{separator}use {_origin(application, size)} instead"
            ) from None
    photos = keras.Input((size, size, 3))
    preprocess = importlib.import_module(application.__module__).preprocess_input
    model = keras.Model(photos, network(preprocess(photos * 255.0)))
    content = keras_export.file_digest(weights or fetched[0])
    return model, Facts(keras_export.digest(name, content), signatures.UNIT)


def _network(application: Callable[..., Any], size: int, weights: str | None) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about weights that were trained at another size
        return application(
            include_top=False, weights=weights, input_shape=(size, size, 3), pooling="avg"
        )


@contextmanager
def _weights_from(get_file: Callable[..., str]) -> Iterator[None]:
    """Let Keras get weights by a function with the arguments of `keras.utils.get_file`.

    Keras's own neither resumes a download nor ever gives up on a server that does not answer. Only
    Keras knows the addresses and checksums.
    """
    from keras.src.utils import file_utils

    original = file_utils.get_file
    file_utils.get_file = get_file
    try:
        yield
    finally:
        file_utils.get_file = original


def _fetch(name: str, file_name: str, origin: str, file_hash: str, progress: Progress) -> Path:
    """Return a weights file from Keras's cache, downloading it if need be."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    path = home / "models" / file_name
    if _is_right(path, file_hash):  # without a lock: the folder may be read-only
        return path
    with locks.beside(path):
        if _is_right(path, file_hash):  # another process was faster
            return path
        downloaded = origin.rpartition("/")[2]
        elsewhere = (
            f"or download the file on another machine and pass {PREFIX}{name}@/path/{downloaded}"
        )
        if path.is_file():  # damaged, or others on purpose: kept until there are the right ones
            elsewhere += (
                f"; {path} does not have the checksum that Keras expects; to use it anyway, pass "
                f"{PREFIX}{name}@{path}"
            )
        new = path.with_name(f".{path.name}.new")
        try:
            download.download(origin, new, progress)
        except UserError as error:
            raise UserError(f"tfhub_module: {error}, {elsewhere}") from None
        if not _is_right(new, file_hash):
            new.unlink()
            raise UserError(
                f"tfhub_module: {origin} does not have the checksum that Keras expects; try later, "
                f"{elsewhere}"
            )
        new.replace(path)
    return path


def _is_right(path: Path, file_hash: str) -> bool:
    """Return whether there is a file with an MD5 or SHA-256, or any if that is empty."""
    algorithm = "md5" if len(file_hash) == 32 else "sha256"
    return path.is_file() and file_hash in ("", keras_export.file_digest(path, algorithm))


def _origin(application: Callable[..., Any], size: int) -> str:
    """Return the address of an application's weights."""

    class _Found(Exception):  # noqa: N818 (it is no error)
        pass

    def get_file(_: str, origin: str, **__: Any) -> str:
        raise _Found(origin)

    try:
        with _weights_from(get_file):
            _network(application, size, "imagenet")
    except _Found as found:
        return str(found)
    return "the file that Keras downloads"
