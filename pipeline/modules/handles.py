"""From a handle to a SavedModel's folder: TensorFlow Hub's protocol, archives, object stores.

Remote modules are kept where the tensorflow_hub library keeps them, so that each finds what the
other has fetched: below TFHUB_CACHE_DIR, in a folder named by the SHA-1 of the handle.
"""

import datetime
import hashlib
import os
import shutil
import urllib.parse
from pathlib import Path, PurePosixPath

from pipeline.errors import UserError
from pipeline.files import archive, atomic, download, locks, naming, object_store
from pipeline.progress import Progress, silent

DEFAULT_CACHE = Path("data/modules")

_WEB = ("http://", "https://")
_COMPRESSED = "tf-hub-format=compressed"
_MIRROR = "https://hub.tensorflow.google.cn/"  # has its archives at another address
_MIRRORED = "https://gcs.tensorflow.google.cn/tfhub-modules/{}.tar.gz"
_MB = 2**20

_BY_HAND = "or get the module by hand and give its folder"
_FOREIGN = {
    (".pt", ".pth", ".bin", ".safetensors"): "PyTorch weights, which TensorFlow cannot run; use a "
    "TensorFlow module, or a built-in one such as efficientnet-lite0",
    (".keras", ".h5", ".hdf5"): "a Keras file; make a SavedModel of it with "
    "keras.models.load_model(file).export(folder), and give that folder",
    (".tflite", ".onnx", ".pb"): "a single file; give the folder of a SavedModel, which is the one "
    "that holds saved_model.pb",
    (".zip", ".7z", ".rar"): "an archive of another kind than .tar.gz; unpack it and give the "
    "folder",
}


def is_remote(handle: str) -> bool:
    """Whether a handle names something that is not on this machine."""
    return "://" in handle


def files(handle: str) -> list[Path]:
    """The files that hold what a handle stands for; none for a remote one not fetched yet.

    Raises:
        UserError: where the handle stands for nothing.
    """
    if is_remote(handle):
        return files_in(cached(handle))
    path = Path(handle).expanduser()
    return [path] if _is_archive(path) else files_in(_saved_model(handle))


def files_in(directory: Path) -> list[Path]:
    """All files of a module, in a fixed order."""
    return sorted(path for path in directory.rglob("*") if path.is_file())


def cached(handle: str) -> Path:
    """Where a remote module is kept, once it is fetched.

    Raises:
        UserError: where TFHUB_CACHE_DIR is no folder of this machine.
    """
    given = os.environ.get("TFHUB_CACHE_DIR", "")
    if is_remote(given):
        raise UserError(f"TFHUB_CACHE_DIR is {given}; it must be a folder of this machine")
    cache = Path(given).expanduser() if given else DEFAULT_CACHE
    return cache.absolute() / hashlib.sha1(handle.encode(), usedforsecurity=False).hexdigest()


def resolve(
    handle: str, module_dir: Path, progress: Progress = silent, again: bool = False
) -> Path:
    """The folder of the SavedModel that a handle stands for, fetched and unpacked if need be.

    Args:
        handle: a folder, an archive, or the address of either.
        module_dir: where archives of this machine are unpacked.
        progress: counts MB.
        again: do not trust what was fetched or unpacked before.

    Raises:
        UserError: where there is no such thing.
    """
    path = Path(handle).expanduser()
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
    found = _inside(directory)
    if found is not None and not again:  # a cache may be read-only
        return found
    with locks.beside(directory):
        # Another process may have been quicker; else nothing is there, or something half-unpacked.
        if _inside(directory) is None or _identity(directory) == before:
            with atomic.write(directory) as temporary:
                try:
                    _bring(handle, directory, temporary, progress)
                except UserError as error:
                    raise UserError(f"tfhub_module: {error}, {_BY_HAND}") from None
                if _inside(temporary) is None:
                    raise UserError(f"tfhub_module: {handle} {_lack(temporary)}")
                shutil.rmtree(directory, ignore_errors=True)
        found = _inside(directory)
    assert found is not None
    return found


def _identity(directory: Path) -> int:
    return directory.stat().st_ino if directory.is_dir() else 0


def _bring(handle: str, directory: Path, temporary: Path, progress: Progress) -> None:
    """Fill the folder `temporary`, on its way to `directory`."""
    if not is_remote(handle):
        archive.unpack(Path(handle).expanduser(), temporary, progress)
        return
    fetched = directory.with_name(f".{directory.name}.fetched")
    if handle.startswith(_WEB):
        download.download(_address(handle), fetched, progress)
    else:
        _copy(handle, fetched if handle.endswith(archive.SUFFIXES) else temporary, progress)
    if not temporary.exists():
        try:
            archive.unpack(fetched, temporary, progress)
        except UserError as error:
            raise UserError(str(error).replace(str(fetched), handle)) from None
        finally:
            fetched.unlink()
    # tensorflow_hub writes such a note, too: nothing else tells people what the folder is.
    now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
    note = directory.with_name(f"{directory.name}.descriptor.txt")
    note.write_text(f"Module: {handle}\nDownload Time: {now}\n")


def _address(handle: str) -> str:
    """Where the archive is: a hub shows people a page, and gives programs the module if asked."""
    if handle.startswith(_MIRROR):
        return _MIRRORED.format(handle.removeprefix(_MIRROR))
    parts = urllib.parse.urlsplit(handle)
    if parts.path.endswith(archive.SUFFIXES) or _COMPRESSED in parts.query:
        return handle
    query = f"{parts.query}&{_COMPRESSED}" if parts.query else _COMPRESSED
    return urllib.parse.urlunsplit(parts._replace(query=query))


def _copy(handle: str, target: Path, progress: Progress) -> None:
    """Copy a file, or a folder with all that is in it, out of an object store."""
    store, root = object_store.file_system(handle)
    try:
        sizes = {path: int(facts["size"]) for path, facts in store.find(root, detail=True).items()}
        done, total = 0, sum(sizes.values())
        for source in sizes:
            file = target if source == root else target / _relative(source, root)
            file.parent.mkdir(parents=True, exist_ok=True)
            with store.open(source, "rb") as content, file.open("wb") as copy:
                while block := content.read(_MB):
                    copy.write(block)
                    done += len(block)
                    progress(done // _MB, total // _MB, f"MB of {handle} fetched")
    except UserError:
        raise
    except Exception as error:  # each store's library raises errors of its own
        raise UserError(
            f"{handle} cannot be fetched: {object_store.error_reason(error)}; check your access "
            "to it"
        ) from None
    if not sizes:
        raise UserError(f"{handle} cannot be fetched: nothing is there; check the address")


def _relative(source: str, root: str) -> str:
    relative = PurePosixPath(source).relative_to(root)
    if ".." in relative.parts:
        raise UserError(f"{source!r} would leave its folder; it may be made to do harm")
    return str(relative)


def _is_archive(path: Path) -> bool:
    return path.name.endswith(archive.SUFFIXES) and path.is_file()


def _saved_model(handle: str) -> Path:
    path = Path(handle).expanduser()
    found = _inside(path)
    if found is None:
        _refuse_foreign(handle, path)
        raise UserError(f"tfhub_module: {handle} {_lack(path)}")
    return found


def _inside(directory: Path) -> Path | None:
    """The SavedModel's folder: this one, or the only one in it, as TensorFlow Serving has them."""
    for folders in ([directory], sorted(directory.glob("*/"))):
        found = [f for f in folders if (f / "saved_model.pb").is_file()]
        if len(found) == 1:
            return found[0]
    return None


def _refuse_foreign(handle: str, path: PurePosixPath | Path) -> None:
    for suffixes, remedy in _FOREIGN.items():
        if path.suffix.lower() in suffixes:
            raise UserError(f"tfhub_module: {handle} is {remedy}")


def _lack(path: Path) -> str:
    """What is wrong with a folder that holds no SavedModel, and what to do."""
    if not path.is_dir():
        return "is no built-in module and no file or folder; " + _CHOICE
    versions = [folder.parent.name for folder in sorted(path.glob("*/saved_model.pb"))]
    if versions:
        return f"holds several modules; name one of its folders {', '.join(versions)}"
    for suffixes, remedy in _FOREIGN.items():
        held = [file.name for file in sorted(path.iterdir()) if file.suffix.lower() in suffixes]
        if held:
            return f"holds {held[0]}, {remedy}"
    return "holds no saved_model.pb; " + _CHOICE


_CHOICE = (
    "give a built-in name such as efficientnet-lite0, the folder or .tar.gz of a SavedModel, or a "
    "TensorFlow Hub handle that starts with https://"
)
