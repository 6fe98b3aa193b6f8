"""Errors that users see, and system errors that say nothing about a file."""

import errno

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class UserError(Exception):
    """A problem that the user can fix: bad input, an invalid option, a missing file.

    The message is shown without a traceback, so it must be self-contained: it names the file or
    option, the problem, and the remedy.
    """


class LostError(UserError):
    """A result is lost, for example as a damaged file was deleted; the next run rebuilds it."""


class OutageError(UserError):
    """An object store does not answer; retrying may help."""


RETRYABLE = (LostError, OutageError)  # not the user's mistake: another attempt may succeed


def lost_quotes(text: str) -> str:
    """Return what to add to the error for an invalid JSON table whose quotes the shell removed.

    Returns:
        The cause and the remedy, such as for `{apple: Apple}`; empty if there are quotes or braces
        are missing.
    """
    if '"' in text or not (text.startswith("{") and ":" in text):
        return ""
    return (
        ". The shell removed the double quotes: put single quotes around the table and, with make, "
        """a backslash before each double quote, as in OPTIONS="--option '{\\"a\\": ...}'\""""
    )


def reraise_exhausted(error: Exception) -> None:
    """Re-raise an error that says nothing about a file: out of memory, or of file descriptors."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) in EXHAUSTED:
        raise error
