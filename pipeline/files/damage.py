"""Damaged files: the errors that mean damage, and those that do not."""

import errno

import pyarrow as pa

# What a damaged file raises: Arrow, or what reads its metadata.
UNREADABLE = (OSError, pa.ArrowException, ValueError, LookupError, AttributeError)


def reraise_system_errors(error: Exception) -> None:
    """Raise an error in UNREADABLE again that does not speak of the file, which may be whole.

    Memory, permissions, open files and disks have errors with a number; damage has none.
    """
    number = getattr(error, "errno", None)
    if isinstance(error, MemoryError) or number not in (None, errno.ENOENT):
        raise error
