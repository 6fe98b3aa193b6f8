"""File locks between processes. The kernel releases them when a process ends, however it ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

NIGHTLY = "nightly.lock"  # held by the one nightly run
IN_USE = "in-use.lock"  # shared by running steps, so that nothing they use is deleted
PROMOTION = "promotion.lock"  # held while `current` moves, until the history records the move


@contextmanager
def try_exclusive(path: Path) -> Iterator[IO[str] | None]:
    """Hold a lock alone; yields its open file, or None if another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield file


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Hold a lock together with others; waits while another process holds it alone."""
    with _acquire(path, fcntl.LOCK_SH):
        yield


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock alone; waits while another process holds it."""
    with _acquire(path, fcntl.LOCK_EX):
        yield


@contextmanager
def beside(path: Path) -> Iterator[None]:
    """Hold a lock on a file or folder alone: a hidden lock file beside it, removed at the end."""
    lock = path.with_name(f".{path.name}.lock")
    with _acquire(lock, fcntl.LOCK_EX):
        try:
            yield
        finally:
            lock.unlink()


@contextmanager
def _acquire(path: Path, operation: int) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("a+") as file:
            fcntl.flock(file, operation)
            if _is_at(file, path):  # otherwise the previous holder has removed it
                yield
                return


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
