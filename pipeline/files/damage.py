"""Damaged files: the errors that mean damage, and those that do not."""

import errno

import pyarrow as pa

# Exceptions that reading a damaged file raises, from Arrow or from the code that parses metadata.
UNREADABLE = (OSError, pa.ArrowException, ValueError, LookupError, AttributeError)


def reraise_system_errors(error: Exception) -> None:
    """Re-raise an error in UNREADABLE that does not mean that the file is damaged.

    Errors about memory, permissions, open files and disks have an errno; damage has none.
    """
    number = getattr(error, "errno", None)
    if isinstance(error, MemoryError) or number not in (None, errno.ENOENT):
        raise error
