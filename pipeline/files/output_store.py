"""An output folder on an object store, and the folder of this machine that mirrors it.

All files are made and read in the mirror. What is finished is uploaded, what is needed is fetched:

    manifests/<digest>.parquet   a file is one object, which a store takes whole or not at all
    heads/<digest>/...           a folder is its files, and then
    heads/<digest>.complete      the object that says that all are there: their names and sizes

Results are named by all that made them and never change, so that a copy is right however old it
is, and a mirror can be deleted at any time.
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
from pipeline.files import atomic, naming, object_store, places
from pipeline.files.places import Place

T = TypeVar("T")

WORK_DIR = Path("data/mirror")
_NOTE = ".mirror-of"  # file in a mirror that holds the URL
_COMPLETE = ".complete"
_THREADS = 8  # results on their way at a time
_FRESH_S = 2.0  # as long as what a listing lacks is taken for missing
_AGAIN_S = 0.2  # the same, when it is asked for again
_MODIFIED = ("LastModified", "updated", "mtime", "created")  # as the stores' libraries call it
# What this machine refuses, not the store: trying again is of no use.
_OURS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, *EXHAUSTED)


def folder(place: str | Place, work_dir: Path = WORK_DIR) -> Path:
    """The folder of this machine that an output folder is, or that mirrors it.

    Args:
        place: a path or `file://` URL, which stand for themselves; or the URL of a folder on an
            object store.
        work_dir: that holds the mirrors.

    Raises:
        UserError: where a password is in the URL.
    """
    at = place if isinstance(place, object_store.RemotePath) else places.parse(str(place))
    if isinstance(at, Path):
        return at
    url = str(at)
    name = naming.slug(url.partition("://")[2])
    mirror = work_dir.expanduser() / f"{name}-{naming.digest(url)}"
    note = mirror / _NOTE
    if not note.exists():
        with atomic.write(note) as temporary:
            temporary.write_text(f"{url}\n", encoding="utf-8")
    return mirror


@cache
def of(folder: Path) -> "Mirror | None":
    """What a folder mirrors; None for an output folder that is on this machine alone."""
    note = folder / _NOTE
    return Mirror(folder, note.read_text(encoding="utf-8").strip()) if note.is_file() else None


@dataclass(frozen=True)
class Entry:
    """A result in the store.

    Attributes:
        is_folder: or a file.
        size: bytes, of a file; of a folder, of the object that says that it is complete.
        modified: seconds since 1970.
    """

    is_folder: bool
    size: int
    modified: float


@dataclass
class _Listing:
    entries: dict[str, Entry]
    folders: set[str]  # that nothing says are whole
    made: float = field(default_factory=time.monotonic)
    denied: set[str] = field(default_factory=set)


class Mirror:
    """A mirror, and the store behind it. Paths are those of the mirror's files and folders.

    Where the store does not answer, each method tries `remote.ATTEMPTS` times, and then raises an
    OutageError.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self._listings: dict[Path, _Listing] = {}
        self._probed = False

    def address(self, path: Path) -> str:
        """Where the store has what the mirror has at a path."""
        return f"{self.url}/{path.relative_to(self.folder).as_posix()}"

    def probe(self) -> None:
        """Find out, once a process, whether the store takes anything, before work is done."""
        if not self._probed:
            self.write(self.folder / ".probe", b"")
            self._probed = True

    def has(self, path: Path) -> bool:
        """Whether a result is whole in the store.

        One listing of a folder answers for all results in it. One that it lacks is looked for anew
        when it is asked for again, or later: another machine may have finished it.
        """
        listing = self._listings.get(path.parent)
        if listing and path.name in listing.entries:
            return True
        known = _AGAIN_S if listing and path.name in listing.denied else _FRESH_S
        if listing is None or time.monotonic() - listing.made > known:
            listing = self._list(path.parent)
        listing.denied.add(path.name)
        return path.name in listing.entries

    def entries(self, folder: Path) -> dict[str, Entry]:
        """The results that are whole in a folder of the store, now, by their names."""
        return self._list(folder).entries

    def folders(self, folder: Path) -> set[str]:
        """Of the folders in a folder of the store, now, those that nothing says are whole."""
        return self._list(folder).folders

    def age(self, path: Path) -> float:
        """When the last file of a folder that is not whole was written, in seconds since 1970."""
        return max(map(_modified, self._find(path)), default=0.0)

    def fetch(self, paths: Iterable[Path]) -> None:
        """Bring results into the mirror, where it lacks them and the store has them.

        Raises:
            UserError: also where a result is not what was uploaded; it is deleted.
        """
        wanted = [path for path in paths if not path.exists()]
        for folder in {path.parent for path in wanted}:
            known = self._listings.get(folder)
            names = {path.name for path in wanted if path.parent == folder}
            if known is None or not names <= known.entries.keys():
                self._list(folder)
        found = (p for p in wanted if p.name in self._listings[p.parent].entries)
        _all(self._fetch, list(found))

    def fetch_newest(self, folder: Path) -> None:
        """Bring the last result that the store got in a folder into the mirror."""
        entries = self.entries(folder)
        if entries:
            self.fetch([folder / max(entries, key=lambda name: entries[name].modified)])

    def push(self, paths: Iterable[Path]) -> None:
        """Upload results, whole in the mirror. Nobody sees one before all of it is there."""
        _all(self._push, list(paths))

    def remove(self, path: Path) -> None:
        """Delete a result from the store: first what says that it is whole."""
        self._listings.pop(path.parent, None)
        for gone in (_mark(path), path):
            try:
                self._ask(gone, lambda store, key: store.rm(key, recursive=True))
            except FileNotFoundError:
                continue

    def read(self, path: Path) -> bytes | None:
        """The content of an object that may change; None where there is none."""
        try:
            # With a start, s3fs does not ask for the size first.
            return bytes(self._ask(path, lambda store, key: store.cat_file(key, start=0)))
        except FileNotFoundError:
            return None

    def write(self, path: Path, content: bytes) -> None:
        """Write an object that may change."""
        self._put(path, lambda store, key: store.pipe_file(key, content))

    def parts(self, path: Path) -> dict[str, int]:
        """The files of a folder that is whole in the store, and their sizes; else none."""
        sizes: dict[str, int] = json.loads(self.read(_mark(path)) or b"{}")
        return sizes

    def size(self, path: Path) -> int:
        """Bytes of a file in the store, or of all files in a folder."""
        return sum(int(facts["size"]) for facts in self._find(path))

    def look(self, path: Path, work: Callable[[IO[bytes]], T]) -> T:
        """What a function makes of a file in the store that it reads parts of.

        Raises:
            FileNotFoundError: where there is no such file.
        """

        def read(store: Any, key: str) -> T:
            with store.open(key, "rb", cache_type="none") as file:
                return work(file)

        return self._ask(path, read)

    def _fetch(self, path: Path) -> None:
        entry = self._listings[path.parent].entries[path.name]
        sizes: dict[str, int | None] = {".": None}  # one object comes whole or not at all
        if entry.is_folder:
            mark = self.read(_mark(path))
            if mark is None:
                self._listings.pop(path.parent, None)
                raise UserError(f"{self.address(path)} was deleted meanwhile; run again")
            sizes = json.loads(mark)
        with atomic.write(path) as temporary:
            if entry.is_folder:
                temporary.mkdir()
            for name, size in sizes.items():
                if ".." in PurePosixPath(name).parts or name.startswith("/"):
                    raise UserError(f"{self.address(_mark(path))}: {name!r} leaves its folder")
                if not self._get(path / name, temporary / name, size):
                    self.remove(path)
                    raise UserError(
                        f"{self.address(path / name)} is not what was uploaded, and {path.name} "
                        "was deleted; run again, and it is made again"
                    )
        os.utime(path, (entry.modified, entry.modified))  # it is as old as it is there

    def _get(self, path: Path, file: Path, size: int | None) -> bool:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._ask(path, lambda store, key: store.get_file(key, str(file)))
        except FileNotFoundError:
            return False
        return size is None or file.stat().st_size == size

    def _push(self, path: Path) -> None:
        sizes = {}
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                self._put(file, partial(_upload, str(file)))
                sizes[file.relative_to(path).as_posix()] = file.stat().st_size
        if path.is_dir():
            self.write(_mark(path), json.dumps(sizes, indent=2).encode())
        listing = self._listings.get(path.parent)
        if listing:
            size = 0 if path.is_dir() else sizes["."]
            listing.entries[path.name] = Entry(path.is_dir(), size, time.time())

    def _find(self, path: Path) -> list[dict[str, Any]]:
        found = self._ask(path, lambda store, key: store.find(key, detail=True))
        return list(found.values())

    def _list(self, folder: Path) -> _Listing:
        try:
            found = self._ask(folder, lambda store, key: store.ls(key, detail=True))
        except FileNotFoundError:  # nothing is in it yet
            found = []
        entries, folders = dict[str, Entry](), set[str]()
        for facts in found:
            name = PurePosixPath(facts["name"]).name
            if facts["type"] == "directory":
                folders.add(name)
            else:
                is_folder = name.endswith(_COMPLETE)
                entry = Entry(is_folder, int(facts["size"]), _modified(facts))
                entries[name.removesuffix(_COMPLETE)] = entry
        self._listings[folder] = _Listing(entries, folders - entries.keys())
        return self._listings[folder]

    def _put(self, path: Path, work: Callable[[Any, str], None]) -> None:
        try:
            self._ask(path, work)
        except FileNotFoundError as error:  # such as the bucket
            raise UserError(
                f"output_dir: {self.address(path)} cannot be written: "
                f"{object_store.error_reason(error)}"
            ) from None

    def _ask(self, path: Path, work: Callable[[Any, str], T]) -> T:
        """Call a function with the file system and a path in it, again where that fails.

        Raises:
            FileNotFoundError: where there is no such thing.
            OSError: where this machine is the cause.
            OutageError: where the store is.
        """
        store, root = object_store.file_system(self.url, attempts=1)
        store.invalidate_cache()  # of listings: another machine may be at work
        key = f"{root}/{path.relative_to(self.folder).as_posix()}"
        for _ in object_store.retries():
            try:
                return work(store, key)
            except FileNotFoundError:
                raise
            except PermissionError as error:
                last = object_store.error_reason(error)
                break
            except Exception as error:  # each store's library raises errors of its own
                if isinstance(error, OSError) and error.errno in _OURS:
                    raise
                last = object_store.error_reason(error)
        raise OutageError(
            f"output_dir: {self.address(path)}: {last}; check the address, your access to it and "
            "the network, and run again: what is done is kept"
        )


def _upload(file: str, store: Any, key: str) -> None:
    store.put_file(file, key)


def _modified(facts: dict[str, Any]) -> float:
    when = next((facts[key] for key in _MODIFIED if facts.get(key)), None)
    if isinstance(when, str):  # as Google Cloud Storage has it
        when = datetime.fromisoformat(when)
    return float(when.timestamp()) if when is not None else time.time()


def _mark(path: Path) -> Path:
    return path.with_name(path.name + _COMPLETE)


def _all(work: Callable[[Path], None], paths: list[Path]) -> None:
    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(work, paths))  # an error calls off those that wait
