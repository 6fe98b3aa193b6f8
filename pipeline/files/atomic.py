"""Where results live: names that carry a digest, and publication that is whole or not at all."""

import errno
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


@contextmanager
def write(path: Path) -> Iterator[Path]:
    """Give a temporary sibling to write a file or a directory to; rename it to `path` at the end.

    Nothing stands at `path` until the block has succeeded. A finished file is replaced. Where a
    finished directory is already there (another process was quicker), that one is kept: equal
    paths mean equal contents. What killed processes left in the same folder is removed. What stands
    at `path` is on the disk, and a power cut leaves it whole.
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
    """A sibling of `path` that is removed once this process has ended: see `sweep`."""
    owner = f"{_machine()}.{os.getpid()}"
    return path.with_name(f".{path.name}.{owner}.{uuid.uuid4().hex[:8]}.tmp")


def is_temporary(path: Path) -> bool:
    """Whether a path is one that `temporary` gave, to whatever process."""
    return bool(_TEMPORARY.fullmatch(path.name))


def symlink(link: Path, target: Path) -> None:
    """Make `link` a relative symbolic link to `target` in one step: it never points nowhere."""
    relative = os.path.relpath(target, link.parent)
    with write(link) as unfinished:
        unfinished.symlink_to(relative)


@functools.cache
def remove_stale(directory: Path) -> None:
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
    return naming.digest(platform.node(), numbers)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _fsync_tree(path: Path) -> None:
    """Wait until a file, or a folder with all that is in it, is on the disk."""
    if path.is_symlink():  # which is a name, and on the disk with its folder
        return
    if path.is_dir():
        for inside in path.iterdir():
            _fsync_tree(inside)
    _fsync(path)


def _fsync(path: Path) -> None:
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
