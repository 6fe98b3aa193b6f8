"""Disk usage of files and folders."""

import os
from contextlib import suppress
from pathlib import Path


def total_bytes(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder that others may be changing."""
    if not path.is_dir():
        return path.lstat().st_size
    sizes = {}  # by inode: a hard link takes no space of its own
    for folder, _, files in os.walk(path):  # skips folders that disappear in the meantime
        for name in files:
            with suppress(FileNotFoundError):
                status = Path(folder, name).lstat()
                sizes[status.st_dev, status.st_ino] = status.st_size
    return sum(sizes.values())
