"""The protocol of progress callbacks."""

from typing import Protocol


class Progress(Protocol):
    """A callback that receives the work done so far, the total, and a line of text."""

    def __call__(self, done: int, total: int, message: str) -> None: ...


def silent(done: int, total: int, message: str) -> None:
    """Ignore progress."""
