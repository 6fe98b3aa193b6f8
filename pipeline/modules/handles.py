"""Module handles: from a handle to the local folder of a SavedModel.

A handle is a folder, an archive, or the URL of either: TensorFlow Hub's protocol, any web server,
or an object store. Remote modules share the cache of the tensorflow_hub library: a folder below
TFHUB_CACHE_DIR, named by the SHA-1 of the handle.
"""

import datetime
import hashlib
import json
import os
import shutil
import urllib.parse
from pathlib import Path, PurePosixPath

from pipeline.errors import UserError
from pipeline.files import archive, atomic, download, locks, naming, object_store, places
from pipeline.modules import kaggle
from pipeline.progress import Progress, silent

DEFAULT_CACHE = Path("data/modules")
FINE_TUNING = "fine_tuning.json"  # the record of a fine-tuning, beside its module, if there is one
RECIPE = "recipe.json"  # of the vectors of an exported model, beside its SavedModel

_WEB = ("http://", "https://")
_COMPRESSED = "tf-hub-format=compressed"
_MIRROR = "https://hub.tensorflow.google.cn/"  # serves its archives from another address
_MIRRORED = "https://gcs.tensorflow.google.cn/tfhub-modules/{}.tar.gz"
_MB = 2**20

_MANUALLY = "or download the module manually and pass its folder"
_FOREIGN = {
    (".pt", ".pth", ".bin", ".safetensors"): "PyTorch weights, which TensorFlow cannot run; use a "
    "TensorFlow module, or a built-in one such as efficientnet-lite0",
    (".keras", ".h5", ".hdf5"): "a Keras file; pass the path of the file itself, on this machine",
    (".tflite", ".onnx", ".pb"): "a single file; pass the folder of a SavedModel, which "
    "contains saved_model.pb",
    (".zip", ".7z", ".rar"): "an archive, but not .tar.gz; unpack it and pass the folder",
}


def is_remote(handle: str) -> bool:
    """Return whether a handle is a URL."""
    return "://" in handle


def files(handle: str) -> list[Path]:
    """Return the local files of a handle; an empty list if a remote one is not downloaded yet.

    Raises:
        UserError: if there is nothing at the handle.
    """
    if is_remote(handle):
        return files_in(cached(handle))
    path = places.local(handle)
    return [path] if _is_archive(path) else files_in(_saved_model(handle))


def files_in(directory: Path) -> list[Path]:
    """Return all files of a module, sorted."""
    return sorted(path for path in directory.rglob("*") if path.is_file())


def cached(handle: str) -> Path:
    """Return the cache folder of a remote module, whether or not it is downloaded.

    Raises:
        UserError: if TFHUB_CACHE_DIR is not a local folder.
    """
    return cache() / hashlib.sha1(handle.encode(), usedforsecurity=False).hexdigest()


def cache() -> Path:
    """Return the folder for modules that all output folders share: TFHUB_CACHE_DIR or data/modules.

    Raises:
        UserError: if TFHUB_CACHE_DIR is not a local folder.
    """
    configured = os.environ.get("TFHUB_CACHE_DIR", "")
    if is_remote(configured):
        raise UserError(f"TFHUB_CACHE_DIR is {configured}; it must be a local folder")
    return (Path(configured).expanduser() if configured else DEFAULT_CACHE).absolute()


def resolve(
    handle: str, module_dir: Path, progress: Progress = silent, again: bool = False
) -> Path:
    """Return the SavedModel folder of a handle, downloading and unpacking it if need be.

    Args:
        handle: a folder, an archive, or the URL of either.
        module_dir: folder for unpacking local archives.
        progress: counts MB.
        again: replace what was downloaded or unpacked before.

    Raises:
        UserError: if there is no SavedModel at the handle.
    """
    path = places.local(handle)
    if is_remote(handle):
        _refuse_foreign(handle, PurePosixPath(urllib.parse.urlsplit(handle).path))
        directory = cached(handle)
    elif _is_archive(path):
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()[: naming.DIGEST_LENGTH]
        directory = module_dir.absolute() / f"{naming.slug(path.name.split('.')[0])}-{digest}"
    else:
        return _saved_model(handle)
    before = _identity(directory)
    saved_model = _find_saved_model(directory)
    if saved_model is None or again:  # otherwise without a lock: a cache may be read-only
        with locks.beside(directory):
            # Unless another process was faster, it is missing, incomplete or to be replaced.
            if _find_saved_model(directory) is None or _identity(directory) == before:
                with atomic.write(directory) as temporary:
                    try:
                        _fill(handle, directory, temporary, progress)
                    except UserError as error:
                        raise UserError(f"tfhub_module: {error}, {_MANUALLY}") from None
                    if _find_saved_model(temporary) is None:
                        raise UserError(f"tfhub_module: {handle} {_lack(temporary, handle)}")
                    shutil.rmtree(directory, ignore_errors=True)
            saved_model = _find_saved_model(directory)
    assert saved_model is not None
    _refuse_exported(handle, saved_model.parent)
    return saved_model


def _identity(directory: Path) -> int:
    return directory.stat().st_ino if directory.is_dir() else 0


def _fill(handle: str, directory: Path, temporary: Path, progress: Progress) -> None:
    """Fill the folder `temporary`, which will become `directory`."""
    if not is_remote(handle):
        archive.unpack(places.local(handle), temporary, progress)
        return
    archive_file = directory.with_name(f".{directory.name}.fetched")
    if handle.startswith(_WEB):
        _fetch(handle, archive_file, temporary, progress)
    elif handle.endswith(archive.SUFFIXES):
        _copy(handle, archive_file, progress)
        _unpack(archive_file, temporary, progress, handle)
    else:
        _copy(handle, temporary, progress)
    # tensorflow_hub writes this note as well: nothing else tells people what the folder contains.
    now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
    note = directory.with_name(f"{directory.name}.descriptor.txt")
    note.write_text(f"Module: {handle}\nDownload Time: {now}\n")


def _fetch(handle: str, archive_file: Path, directory: Path, progress: Progress) -> None:
    """Download and unpack a module from its address; or from Kaggle, if it is there."""
    try:
        download.download(_archive_url(handle), archive_file, progress)
        return _unpack(archive_file, directory, progress, handle)
    except UserError as error:
        tried = [str(error)]
    if not (model := kaggle.model(handle)):
        raise UserError(tried[0])
    if url := kaggle.archive_url(model):
        try:
            download.download(url, archive_file, progress)
            return _unpack(archive_file, directory, progress, url)
        except UserError as error:
            tried.append(str(error))
    try:
        kaggle.download(model, directory)
    except UserError as error:
        tried.append(str(error))
        ways = "; ".join(f"({number}) {reason}" for number, reason in enumerate(tried, 1))
        raise UserError(f"{handle} was tried in {len(tried)} ways: {ways}") from None


def _unpack(archive_file: Path, directory: Path, progress: Progress, name: str) -> None:
    try:
        archive.unpack(archive_file, directory, progress, name=name)
    except UserError:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    finally:
        archive_file.unlink()


def _archive_url(handle: str) -> str:
    """Return the URL of a handle's archive: without a query, a hub shows a page for people."""
    if handle.startswith(_MIRROR):
        return _MIRRORED.format(handle.removeprefix(_MIRROR))
    parts = urllib.parse.urlsplit(handle)
    if parts.path.endswith(archive.SUFFIXES) or _COMPRESSED in parts.query:
        return handle
    query = f"{parts.query}&{_COMPRESSED}" if parts.query else _COMPRESSED
    return urllib.parse.urlunsplit(parts._replace(query=query))


def _copy(handle: str, target: Path, progress: Progress) -> None:
    """Copy a file, or a folder with its content, from an object store."""
    system, root = object_store.file_system(handle)
    try:
        sizes = {path: int(facts["size"]) for path, facts in system.find(root, detail=True).items()}
        done, total = 0, sum(sizes.values())
        for source in sizes:
            file = target if source == root else target / _relative(source, root)
            file.parent.mkdir(parents=True, exist_ok=True)
            with system.open(source, "rb") as content, file.open("wb") as copy:
                while block := content.read(_MB):
                    copy.write(block)
                    done += len(block)
                    progress(done // _MB, total // _MB, f"MB of {handle} downloaded")
    except UserError:
        raise
    except Exception as error:  # every library raises exceptions of its own
        raise UserError(
            f"{handle} cannot be downloaded: {object_store.error_reason(error)}; check your access "
            "to it"
        ) from None
    if not sizes:
        raise UserError(f"{handle} cannot be downloaded: there is nothing there; check the address")


def _relative(source: str, root: str) -> str:
    relative = PurePosixPath(source).relative_to(root)
    if ".." in relative.parts:
        raise UserError(f"{source!r} is outside its folder; it may be malicious: do not use it")
    return str(relative)


def _is_archive(path: Path) -> bool:
    return path.name.endswith(archive.SUFFIXES) and path.is_file()


def _saved_model(handle: str) -> Path:
    path = places.local(handle)
    saved_model = _find_saved_model(path)
    if saved_model is None:
        _refuse_foreign(handle, path)
        raise UserError(f"tfhub_module: {handle} {_lack(path)}")
    _refuse_exported(handle, saved_model.parent)
    return saved_model


def _find_saved_model(directory: Path) -> Path | None:
    """Return the SavedModel's folder: this one, or its only subfolder (TensorFlow Serving)."""
    for folders in ([directory], sorted(directory.glob("*/"))):
        saved_models = [f for f in folders if (f / "saved_model.pb").is_file()]
        if len(saved_models) == 1:
            return saved_models[0]
    return None


def _refuse_foreign(handle: str, path: PurePosixPath | Path) -> None:
    for suffixes, remedy in _FOREIGN.items():
        if path.suffix.lower() in suffixes:
            raise UserError(f"tfhub_module: {handle} is {remedy}")


def _refuse_exported(handle: str, model: Path) -> None:
    """Refuse an exported model: its probabilities would be taken for features."""
    try:
        module = json.loads((model / RECIPE).read_bytes())["module"]
        tuned = model.resolve().parent.parent / module["directory"]  # relative to the output folder
        name = tuned if module.get("tuned_from") and tuned.is_dir() else module["handle"]
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or one of another program
        return
    raise UserError(
        f"tfhub_module: {handle} is an exported model, which returns probabilities instead of "
        f"features; pass its module: {name}"
    )


def _lack(path: Path, handle: str = "") -> str:
    """Describe the problem of a path without a SavedModel, and the remedy.

    Args:
        path: what the user passed, or the content of a remote or packed module.
        handle: what the user passed in that case.
    """
    if path.is_file():
        return "is a file, but neither a Keras file nor an archive; " + _CHOICE
    if not path.is_dir():
        return "is neither a built-in module nor a file or folder; " + _CHOICE
    versions = [folder.parent.name for folder in sorted(path.glob("*/saved_model.pb"))]
    if versions:
        is_packed = handle.startswith(_WEB) or handle.endswith(archive.SUFFIXES)
        remedy = "unpack it, and pass" if is_packed else "pass"
        return f"contains several modules; {remedy} one of its folders {', '.join(versions)}"
    tuned = [
        file.parent
        for file in sorted(path.glob("*/*/saved_model.pb"), key=lambda file: -file.stat().st_mtime)
        if (file.parents[1] / FINE_TUNING).is_file()
    ]
    if tuned:
        folders = ", ".join(map(str, tuned))
        return f"contains fine-tuned modules; pass the folder of one, newest first: {folders}"
    if (path / FINE_TUNING).is_file():
        return "is a fine-tuning that was not better, so it contains no module; " + _CHOICE
    for suffixes, remedy in _FOREIGN.items():
        names = [file.name for file in sorted(path.iterdir()) if file.suffix.lower() in suffixes]
        if names:
            return f"contains {names[0]}, {remedy}"
    return "contains no saved_model.pb; " + _CHOICE


_CHOICE = (
    "pass a built-in name such as efficientnet-lite0, a Keras application such as "
    "keras:EfficientNetV2B0, a Keras file, the folder or .tar.gz of a SavedModel, or a TensorFlow "
    "Hub handle that starts with https://"
)
