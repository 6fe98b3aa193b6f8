"""The output store: where results are kept, and how they reach other machines.

Every step reads and writes files in a local output folder. `OutputStore` is the case in which that
folder is all there is: results are where they were written, so there is nothing to move.
`RemoteOutputStore` mirrors an object store: results are uploaded when they are complete and
downloaded when they are needed. The object store holds

    manifests/<digest>.parquet   a file, which is one object and appears all at once
    heads/<digest>/...           the files of a folder, and after them
    heads/<digest>.complete      the marker that the folder is complete: names and sizes as JSON

A result's name is a digest of everything that made it, and results never change. A local copy is
therefore valid however old it is, and a mirror can be deleted at any time.
"""

import errno
import json
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar

from pipeline.errors import EXHAUSTED, OutageError, UserError
from pipeline.files import atomic, disk_usage, naming, object_store, places
from pipeline.files.object_store import RemotePath
from pipeline.files.places import Place

T = TypeVar("T")

WORK_DIR = Path("data/mirror")
_URL_FILE = ".mirror-of"  # file in a mirror that holds the URL
_COMPLETE = ".complete"  # suffix of markers
_THREADS = 8  # results transferred at a time
_RECHECK_S = 2.0  # seconds for which a result that a listing lacks counts as missing
_RECHECK_AGAIN_S = 0.2  # the same, once that result has been asked for before
_MODIFIED_KEYS = ("LastModified", "updated", "mtime", "created")  # one per object store library
# Errors of this machine rather than of the object store: retrying does not help.
_LOCAL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, *EXHAUSTED)


def local_folder(place: str | Place, work_dir: Path = WORK_DIR) -> Path:
    """Return the local folder for an output folder: the folder itself, or the mirror of a URL.

    Args:
        place: a path or `file://` URL, or the URL of a folder on an object store.
        work_dir: folder that holds the mirrors.

    Raises:
        UserError: if the URL contains a password.
    """
    parsed = place if isinstance(place, RemotePath) else places.parse(str(place))
    if isinstance(parsed, Path):
        return parsed
    url = str(parsed)
    name = naming.slug(url.partition("://")[2])
    mirror = work_dir.expanduser() / f"{name}-{naming.digest(url)}"
    url_file = mirror / _URL_FILE
    if not url_file.exists():
        with atomic.write(url_file) as temporary:
            temporary.write_text(f"{url}\n", encoding="utf-8")
    return mirror


@cache
def open_store(folder: Path) -> "OutputStore":
    """Open the output store behind a local output folder, once per process."""
    url_file = folder / _URL_FILE
    if url_file.is_file():
        return RemoteOutputStore(folder, url_file.read_text(encoding="utf-8").strip())
    return OutputStore(folder, str(folder))


@dataclass(frozen=True)
class Entry:
    """A complete result in an object store.

    Attributes:
        is_folder: a folder rather than a file.
        size: bytes of the file, or of the folder's marker.
        modified: seconds since 1970.
    """

    is_folder: bool
    size: int
    modified: float


@dataclass
class OutputStore:
    """A local output folder that nothing else holds. All paths are paths below it.

    Attributes:
        folder: the local folder.
        url: its path, or the URL of the object store that it mirrors.
        is_remote: whether an object store, and therefore other machines, hold the results too.
    """

    folder: Path
    url: str
    is_remote = False

    def address(self, path: Path) -> str:
        """Return the path or URL under which users know a result."""
        return str(path)

    def check_writable(self) -> None:
        """Fail early, before any work, if results cannot be stored."""

    def has(self, path: Path) -> bool:
        """Return whether a result is complete in the store."""
        return path.exists()

    def entries(self, folder: Path) -> dict[str, Entry]:  # noqa: ARG002
        """Return the complete results in a folder of the object store, by name."""
        return {}

    def incomplete(self, folder: Path) -> set[str]:  # noqa: ARG002
        """Return the names of folders in a folder of the object store that have no marker."""
        return set()

    def modified(self, path: Path) -> float:
        """Return when a file of an incomplete folder was last written, in seconds since 1970."""
        return path.lstat().st_mtime

    def fetch(self, paths: Iterable[Path]) -> None:
        """Download results that are missing locally, where the object store has them."""

    def fetch_newest(self, folder: Path) -> None:
        """Download the most recent result in a folder of the object store."""

    def upload(self, paths: Iterable[Path]) -> None:
        """Upload complete results. Other machines see a result once all of it is there."""

    def remove(self, path: Path) -> None:
        """Delete a result from the object store."""

    def read(self, path: Path) -> bytes | None:
        """Return the content of a file that may change, or None if it does not exist."""
        return path.read_bytes() if path.exists() else None

    def size(self, path: Path) -> int:
        """Return the bytes of a file, or of all files in a folder."""
        return disk_usage.total_bytes(path)


@dataclass
class _Listing:
    entries: dict[str, Entry]
    folders: set[str]  # without a marker
    made: float = field(default_factory=time.monotonic)
    denied: set[str] = field(default_factory=set)


class RemoteOutputStore(OutputStore):
    """An object store with its local mirror.

    Every method retries transient failures and then raises an OutageError.
    """

    is_remote = True

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, url)
        self._listings: dict[Path, _Listing] = {}
        self._checked = False

    def address(self, path: Path) -> str:
        return f"{self.url}/{path.relative_to(self.folder).as_posix()}"

    def check_writable(self) -> None:
        if not self._checked:  # once per process
            self.write(self.folder / ".probe", b"")
            self._checked = True

    def has(self, path: Path) -> bool:
        """Return whether a result is complete in the object store.

        One listing of a folder answers for all results in it. A result that the listing lacks is
        looked up again when it is asked for again, or later: another machine may have added it.
        """
        listing = self._listings.get(path.parent)
        if listing and path.name in listing.entries:
            return True
        valid_s = _RECHECK_AGAIN_S if listing and path.name in listing.denied else _RECHECK_S
        if listing is None or time.monotonic() - listing.made > valid_s:
            listing = self._list(path.parent)
        listing.denied.add(path.name)
        return path.name in listing.entries

    def entries(self, folder: Path) -> dict[str, Entry]:
        return self._list(folder).entries

    def incomplete(self, folder: Path) -> set[str]:
        return self._list(folder).folders

    def modified(self, path: Path) -> float:
        return max(map(_modified, self._find(path)), default=0.0)

    def fetch(self, paths: Iterable[Path]) -> None:
        """Download results that are missing locally, where the object store has them.

        Raises:
            UserError: if a result differs from what was uploaded; it is deleted.
        """
        wanted = [path for path in paths if not path.exists()]
        for folder in {path.parent for path in wanted}:
            listing = self._listings.get(folder)
            names = {path.name for path in wanted if path.parent == folder}
            if listing is None or not names <= listing.entries.keys():
                self._list(folder)
        _in_parallel(self._fetch, [p for p in wanted if p.name in self._listings[p.parent].entries])

    def fetch_newest(self, folder: Path) -> None:
        entries = self.entries(folder)
        if entries:
            self.fetch([folder / max(entries, key=lambda name: entries[name].modified)])

    def upload(self, paths: Iterable[Path]) -> None:
        _in_parallel(self._upload, list(paths))

    def remove(self, path: Path) -> None:
        self._listings.pop(path.parent, None)
        for removed in (_marker(path), path):  # the marker first: no reader sees half a result
            try:
                self._call(removed, lambda system, key: system.rm(key, recursive=True))
            except FileNotFoundError:
                continue

    def read(self, path: Path) -> bytes | None:
        try:
            # With a start, s3fs does not ask for the size first.
            return bytes(self._call(path, lambda system, key: system.cat_file(key, start=0)))
        except FileNotFoundError:
            return None

    def write(self, path: Path, content: bytes) -> None:
        """Write an object that may change."""
        self._put(path, lambda system, key: system.pipe_file(key, content))

    def file_sizes(self, path: Path) -> dict[str, int]:
        """Return the files of a complete folder and their sizes in bytes; else an empty dict."""
        sizes: dict[str, int] = json.loads(self.read(_marker(path)) or b"{}")
        return sizes

    def size(self, path: Path) -> int:
        if path.exists():
            return super().size(path)
        return sum(int(facts["size"]) for facts in self._find(path))

    def read_with(self, path: Path, reader: Callable[[IO[bytes]], T]) -> T:
        """Open an object for a function that reads parts of it, and return its result.

        Raises:
            FileNotFoundError: if there is no such object.
        """

        def read(system: Any, key: str) -> T:
            with system.open(key, "rb", cache_type="none") as file:
                return reader(file)

        return self._call(path, read)

    def _fetch(self, path: Path) -> None:
        entry = self._listings[path.parent].entries[path.name]
        sizes: dict[str, int | None] = {".": None}  # a single object is complete by itself
        if entry.is_folder:
            marker = self.read(_marker(path))
            if marker is None:
                self._listings.pop(path.parent, None)
                raise UserError(f"{self.address(path)} was deleted in the meantime; run again")
            sizes = json.loads(marker)
        with atomic.write(path) as temporary:
            if entry.is_folder:
                temporary.mkdir()
            for name, size in sizes.items():
                if ".." in PurePosixPath(name).parts or name.startswith("/"):
                    raise UserError(
                        f"{self.address(_marker(path))}: {name!r} is outside its folder; "
                        "delete this object"
                    )
                if not self._download(path / name, temporary / name, size):
                    self.remove(path)
                    raise UserError(
                        f"{self.address(path / name)} does not match its marker; deleted "
                        f"{path.name}. Run again to rebuild it"
                    )
        os.utime(path, (entry.modified, entry.modified))

    def _download(self, path: Path, file: Path, size: int | None) -> bool:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._call(path, lambda system, key: system.get_file(key, str(file)))
        except FileNotFoundError:
            return False
        return size is None or file.stat().st_size == size

    def _upload(self, path: Path) -> None:
        sizes = {}
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                self._put(file, partial(_put_file, str(file)))
                sizes[file.relative_to(path).as_posix()] = file.stat().st_size
        if path.is_dir():
            self.write(_marker(path), json.dumps(sizes, indent=2).encode())
        listing = self._listings.get(path.parent)
        if listing:
            size = 0 if path.is_dir() else sizes["."]
            listing.entries[path.name] = Entry(path.is_dir(), size, time.time())

    def _find(self, path: Path) -> list[dict[str, Any]]:
        files = self._call(path, lambda system, key: system.find(key, detail=True))
        return list(files.values())

    def _list(self, folder: Path) -> _Listing:
        try:
            objects = self._call(folder, lambda system, key: system.ls(key, detail=True))
        except FileNotFoundError:  # the folder is still empty
            objects = []
        entries, folders = dict[str, Entry](), set[str]()
        for facts in objects:
            name = PurePosixPath(facts["name"]).name
            if facts["type"] == "directory":
                folders.add(name)
            else:
                is_folder = name.endswith(_COMPLETE)
                entry = Entry(is_folder, int(facts["size"]), _modified(facts))
                entries[name.removesuffix(_COMPLETE)] = entry
        self._listings[folder] = _Listing(entries, folders - entries.keys())
        return self._listings[folder]

    def _put(self, path: Path, call: Callable[[Any, str], None]) -> None:
        try:
            self._call(path, call)
        except FileNotFoundError as error:  # for example, the bucket does not exist
            raise UserError(
                f"output_dir: cannot write {self.address(path)}: "
                f"{object_store.error_reason(error)}; create the bucket or correct the address"
            ) from None

    def _call(self, path: Path, call: Callable[[Any, str], T]) -> T:
        """Call a function with the fsspec file system and an object's key, with retries.

        Raises:
            FileNotFoundError: if there is no such object.
            OSError: if this machine is the cause.
            OutageError: if the object store is.
        """
        system, root = object_store.file_system(self.url, attempts=1)
        system.invalidate_cache()  # of listings: another machine may have added results
        key = f"{root}/{path.relative_to(self.folder).as_posix()}"
        for _ in object_store.retries():
            try:
                return call(system, key)
            except FileNotFoundError:
                raise
            except PermissionError as error:
                reason = object_store.error_reason(error)
                break
            except Exception as error:  # every library raises exceptions of its own
                if isinstance(error, OSError) and error.errno in _LOCAL_ERRORS:
                    raise
                reason = object_store.error_reason(error)
        raise OutageError(
            f"output_dir: {self.address(path)}: {reason}; check the address, your access to it and "
            "the network, and run again: finished work is kept"
        )


def _put_file(file: str, system: Any, key: str) -> None:
    system.put_file(file, key)


def _modified(facts: dict[str, Any]) -> float:
    when = next((facts[key] for key in _MODIFIED_KEYS if facts.get(key)), None)
    if isinstance(when, str):  # Google Cloud Storage
        when = datetime.fromisoformat(when)
    return float(when.timestamp()) if when is not None else time.time()


def _marker(path: Path) -> Path:
    return path.with_name(path.name + _COMPLETE)


def _in_parallel(transfer: Callable[[Path], None], paths: list[Path]) -> None:
    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(transfer, paths))  # an error cancels those that are waiting
