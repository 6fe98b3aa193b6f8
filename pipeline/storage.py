"""Where results live: names that carry a digest, and publication that is whole or not at all."""

import errno
import fcntl
import functools
import hashlib
import json
import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DIGEST_LENGTH = 12  # hex digits shown in a path: 48 bits, enough for any number of runs
_TEMPORARY = re.compile(
    r"\..*\.(?P<machine>[0-9a-f]{12})\.(?P<pid>\d{1,9})\.[0-9a-f]{8}\.tmp", re.S
)
_ABANDONED_S = 7 * 24 * 60 * 60.0


def digest(*parts: object) -> str:
    """Digest of everything that makes a result, for use in its path.

    Args:
        parts: values that JSON can hold; their order counts.

    Returns:
        The first 12 hex digits of the SHA-256 over their canonical JSON.
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


def slug(text: str) -> str:
    """A readable part of a file name for any text. Not unique: put a digest beside it."""
    return re.sub(r"[^A-Za-z0-9.-]+", "_", text).strip("._-")[:40] or "other"


@contextmanager
def publish(path: Path) -> Iterator[Path]:
    """Give a temporary sibling to write a file or a directory to; rename it to `path` at the end.

    Nothing stands at `path` until the block has succeeded. A finished file is replaced. Where a
    finished directory is already there (another process was quicker), that one is kept: equal
    paths mean equal contents. What killed processes left in the same folder is removed. What stands
    at `path` is on the disk, and a power cut leaves it whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    unfinished = temporary(path)
    try:
        yield unfinished
        _settle(unfinished)
        try:
            unfinished.replace(path)
        except OSError:
            if unfinished.is_symlink() or not (unfinished.is_dir() and path.is_dir()):
                raise
            _remove(unfinished)
        _sync(path.parent)
    except BaseException as error:
        error.add_note(f"while writing {path}")
        _remove(unfinished)
        raise


def temporary(path: Path) -> Path:
    """A sibling of `path` that is removed once this process has ended: see `sweep`."""
    owner = f"{_machine()}.{os.getpid()}"
    return path.with_name(f".{path.name}.{owner}.{uuid.uuid4().hex[:8]}.tmp")


def is_temporary(path: Path) -> bool:
    """Whether a path is one that `temporary` gave, to whatever process."""
    return bool(_TEMPORARY.fullmatch(path.name))


def point(link: Path, target: Path) -> None:
    """Make `link` a relative symbolic link to `target` in one step: it never points nowhere."""
    relative = os.path.relpath(target, link.parent)
    with publish(link) as unfinished:
        unfinished.symlink_to(relative)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process of this machine is inside `alone` with this path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    while True:
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # let go of when the process ends, however it does
            try:
                same = os.path.samestat(os.fstat(file.fileno()), lock.stat())
            except FileNotFoundError:
                same = False
            if not same:  # whoever was inside has removed it
                continue
            try:
                yield
            finally:
                lock.unlink()
            return


@functools.cache
def sweep(directory: Path) -> None:
    """Remove what killed processes left half-written in a folder; looks once a process.

    Other machines, and containers, have processes of their own that nobody can ask for from here:
    what they left is removed when nothing has changed in it for a week.
    """
    for leftover in directory.glob(".*.tmp"):
        named = _TEMPORARY.fullmatch(leftover.name)
        if named and not _in_use(leftover, named["machine"], int(named["pid"])):
            with suppress(OSError):  # another user's, or another process is sweeping as well
                _remove(leftover)


def _in_use(temporary: Path, machine: str, pid: int) -> bool:
    if machine == _machine():
        return _alive(pid)
    try:
        return time.time() - temporary.lstat().st_mtime < _ABANDONED_S
    except FileNotFoundError:
        return False


@functools.cache
def _machine() -> str:
    """This machine, or container, within which process numbers mean something."""
    try:
        numbers = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # no Linux
        numbers = ""
    return digest(platform.node(), numbers)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _settle(path: Path) -> None:
    """Wait until a file, or a folder with all that is in it, is on the disk."""
    if path.is_symlink():  # which is a name, and on the disk with its folder
        return
    if path.is_dir():
        for inside in path.iterdir():
            _settle(inside)
    _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL or not path.is_dir():  # some file systems know files alone
            raise
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
