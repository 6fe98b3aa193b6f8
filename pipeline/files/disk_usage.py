"""Disk usage of files and folders."""

import os
from contextlib import suppress
from pathlib import Path


def total_bytes(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder that others may be changing."""
    if not path.is_dir():
        return path.lstat().st_size
    total = 0
    for folder, _, files in os.walk(path):  # skips folders that disappear in the meantime
        for name in files:
            with suppress(FileNotFoundError):
                total += Path(folder, name).lstat().st_size
    return total
