"""The errors that are shown to people."""


class UserError(Exception):
    """Something the user can put right: bad input, a bad option, a missing file.

    The message is shown without a traceback, so it must stand alone: name the file or the
    option, say what is wrong with it, and say what to do.
    """


class OutageError(UserError):
    """A store that does not answer: it may pass, so that trying again is worth while."""
