"""The errors that are shown to people, and those that are no file's fault."""

import errno

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class UserError(Exception):
    """Something the user can put right: bad input, a bad option, a missing file.

    The message is shown without a traceback, so it must stand alone: name the file or the
    option, say what is wrong with it, and say what to do.
    """


class LostError(UserError):
    """A result is lost, as when a file was damaged and deleted: the next run makes it again."""


class OutageError(UserError):
    """A store that does not answer: it may pass, so that trying again is worth while."""


RETRYABLE = (LostError, OutageError)  # worth another try, and nobody's mistake


def reraise_exhausted(error: Exception) -> None:
    """Raise an error again that says nothing of the file: memory or open files are used up."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) in EXHAUSTED:
        raise error
