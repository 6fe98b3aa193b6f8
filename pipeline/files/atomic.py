"""Atomic writes: a file, folder or link appears complete, or not at all."""

import errno
import fcntl
import functools
import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.files import naming

_TEMPORARY = re.compile(
    r"\..*\.(?P<machine>[0-9a-f]{12})\.(?P<pid>\d{1,9})\.[0-9a-f]{8}\.tmp", re.S
)
_ABANDONED_S = 7 * 24 * 60 * 60.0
# On macOS, fsync leaves the data in the drive's cache; this makes the drive write it.
_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)


@contextmanager
def write(path: Path) -> Iterator[Path]:
    """Yield a temporary path for a file or folder, and rename it to `path` at the end.

    Nothing appears at `path` until the block has succeeded; then it is on the disk and survives a
    power cut. An existing file is replaced. An existing folder, written by a faster process, is
    kept: equal paths mean equal contents. Temporary files that killed processes left in the same
    folder are removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_stale(path.parent)
    unfinished = temporary(path)
    try:
        yield unfinished
        _fsync_tree(unfinished)
        try:
            unfinished.replace(path)
        except OSError:
            if unfinished.is_symlink() or not (unfinished.is_dir() and path.is_dir()):
                raise
            _remove(unfinished)
        _fsync(path.parent)
    except BaseException as error:
        error.add_note(f"while writing {path}")
        _remove(unfinished)
        raise


def temporary(path: Path) -> Path:
    """Return a hidden sibling of `path`, which `remove_stale` deletes after this process ends."""
    owner = f"{_machine()}.{os.getpid()}"
    return path.with_name(f".{path.name}.{owner}.{uuid.uuid4().hex[:8]}.tmp")


def is_temporary(path: Path) -> bool:
    """Return whether `temporary` returned this path, in any process."""
    return bool(_TEMPORARY.fullmatch(path.name))


def symlink(link: Path, target: Path) -> None:
    """Point a symbolic link at a target, by a relative path and in one step."""
    relative = os.path.relpath(target, link.parent)
    with write(link) as unfinished:
        unfinished.symlink_to(relative)


@functools.cache
def remove_stale(directory: Path) -> None:
    """Remove the temporary files of killed processes from a folder, once per process.

    The processes of other machines and containers are not visible from here: their temporary files
    are removed once they are a week old.
    """
    for leftover in directory.glob(".*.tmp"):
        match = _TEMPORARY.fullmatch(leftover.name)
        if match and not _in_use(leftover, match["machine"], int(match["pid"])):
            with suppress(OSError):  # another user's file, or another process removes it too
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
    """Identify this machine or container: the scope of process IDs."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # not Linux
        namespace = ""
    return naming.digest(platform.node(), namespace)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _fsync_tree(path: Path) -> None:
    """Flush a file, or a folder and everything in it, to the disk."""
    if path.is_symlink():  # stored in its folder, which is flushed
        return
    if path.is_dir():
        for child in path.iterdir():
            _fsync_tree(child)
    _fsync(path)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if _FULL_SYNC is not None:
            with suppress(OSError):  # not all file systems support it
                fcntl.fcntl(descriptor, _FULL_SYNC)
                return
        os.fsync(descriptor)
    except OSError as error:
        if (
            error.errno != errno.EINVAL or not path.is_dir()
        ):  # not all file systems can flush folders
            raise
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
