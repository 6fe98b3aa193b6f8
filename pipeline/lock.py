"""Locks on the output folder. The kernel gives them back when a process ends, however it ends."""

import fcntl
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

NIGHTLY = "nightly.lock"  # held by the one nightly run
IN_USE = "in-use.lock"  # shared by steps that are at work, so that nothing is deleted below them
PROMOTION = "promotion.lock"  # held by whoever moves `current`, until that is written down


@contextmanager
def exclusive(path: Path) -> Iterator[IO[str] | None]:
    """Hold a lock alone; gives its open file, or None where somebody else holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield file


def shared(path: Path) -> AbstractContextManager[None]:
    """Hold a lock together with others; waits while somebody holds it alone."""
    return _waiting(path, fcntl.LOCK_SH)


def turn(path: Path) -> AbstractContextManager[None]:
    """Hold a lock alone; waits while somebody else holds it."""
    return _waiting(path, fcntl.LOCK_EX)


@contextmanager
def _waiting(path: Path, how: int) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        fcntl.flock(file, how)
        yield
