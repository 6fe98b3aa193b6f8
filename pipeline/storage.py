"""Where results live: names that carry a digest, and publication that is whole or not at all."""

import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DIGEST_LENGTH = 12  # hex digits shown in a path: 48 bits, enough for any number of runs


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
    paths mean equal contents. What killed processes of this machine left half-written of the same
    path is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        try:
            temporary.replace(path)
        except OSError:
            if temporary.is_symlink() or not (temporary.is_dir() and path.is_dir()):
                raise
            _remove(temporary)
    except BaseException:
        _remove(temporary)
        raise


def point(link: Path, target: Path) -> None:
    """Make `link` a relative symbolic link to `target` in one step: it never points nowhere."""
    relative = os.path.relpath(target, link.parent)
    with publish(link) as temporary:
        temporary.symlink_to(relative)


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


def _sweep(path: Path) -> None:
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        pid = leftover.name.rsplit(".", 3)[-3]
        if re.fullmatch(r"\d{1,9}", pid) and not _alive(int(pid)):
            _remove(leftover)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
