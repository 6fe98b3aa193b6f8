"""Discovery: the photos and tar files in a folder of class folders."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError, reraise_exhausted

_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp"),
    *(".tif", ".tiff", ".avif", ".heic", ".heif", ".svg", ".jxl"),
)
_SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r"})


@dataclass(frozen=True, slots=True)
class Found:
    """A file that may be a photo, or a tar file, in the listing of a folder.

    Attributes:
        label: name of the class folder, unchanged.
        path: relative to the image folder, with `/`.
        size: bytes.
        mtime_ns, ctime_ns: modification times of the content and of the file's metadata, in
            nanoseconds; if they and the size are unchanged, the file is not read again.
        unusable: why it cannot be used, as far as the listing shows; usually empty.
    """

    label: str
    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    unusable: str = ""


def class_labels(image_dir: Path) -> tuple[str, ...]:
    """Return the names of the class folders in `image_dir`, sorted.

    Raises:
        UserError: if there is no such folder, or it contains neither class folders nor tar files.
    """
    return tuple(displayable(entry.name) for entry in _class_folders(image_dir))


def find(image_dir: Path) -> Iterator[Found]:
    """Yield the photos below the class folders of `image_dir`, sorted, and the tar files.

    Tar files (see `is_tar`) may be below the class folders or beside them. Folders inside a class
    folder belong to the class. Hidden files and files that are clearly not photos are skipped.
    Symbolic links are followed, each folder once.

    Raises:
        UserError: as `class_labels`.
    """
    for folder in _class_folders(image_dir):
        if problem := label_problem(folder.name):
            yield _unusable(folder.name, folder.name, problem)
            continue
        yield from _walk(folder.path, folder.name, folder.name, set())
    for entry in sorted(os.scandir(image_dir), key=lambda entry: entry.name):
        if _is_tar(entry):
            yield from _walk(entry.path, "", entry.name, set(), entry)


def list_folder(folder: Path) -> Iterator[Found]:
    """Yield the photos in a folder and its subfolders, without labels.

    Their paths begin with `folder`.
    """
    yield from (f for f in _walk(str(folder), "", str(folder), set()) if not is_tar(f.path))


def describe(path: Path) -> Found:
    """Describe a file that the user named."""
    if displayable(str(path)) != str(path):
        return _unusable("", str(path), "file name is not UTF-8; rename the file")
    try:
        status = path.stat()
    except OSError as error:
        return _unusable("", str(path), f"cannot be read: {error.strerror}")
    return Found("", str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _class_folders(image_dir: Path) -> list[os.DirEntry[str]]:
    try:
        entries = sorted(os.scandir(image_dir), key=lambda entry: entry.name)
    except FileNotFoundError:
        raise UserError(
            f"image_dir: there is no folder {image_dir.absolute()}; set it to the folder that "
            "contains one folder of photos per class"
        ) from None
    except OSError as error:
        raise UserError(f"image_dir: {image_dir} cannot be read: {error.strerror}") from None
    folders = [e for e in entries if not e.name.startswith(".") and _is_dir(e)]
    if not folders and not any(map(_is_tar, entries)):
        raise no_class_error(image_dir, count_stray(image_dir))
    return folders


def no_class_error(image_dir: object, stray: int) -> UserError:
    """Return the error for an image folder without class folders, but with `stray` photos."""
    content = f"{stray} photos but no class folder" if stray else "no class folder"
    return UserError(
        f"image_dir: {image_dir} contains {content}; put the photos of each class into a folder "
        "of its own, named after the class, such as photos/daisy/1.jpg and photos/rose/2.jpg"
    )


def label_problem(label: str) -> str:
    """Return why a name cannot be a label; empty if it can. Label files have one label per line."""
    return "" if label.splitlines() == [label] else "folder's name has a line break; rename it"


def count_stray(image_dir: Path) -> int:
    """Count the photos directly in `image_dir`, which belong to no class."""
    return sum(may_be_photo(e.name) and not _is_dir(e) for e in os.scandir(image_dir))


def is_tar(name: str) -> bool:
    """Return whether a file name is that of a tar file."""
    return name.lower().endswith(".tar")


def _is_tar(entry: os.DirEntry[str]) -> bool:
    return is_tar(entry.name) and not entry.name.startswith(".") and not _is_dir(entry)


def _walk(
    directory: str,
    label: str,
    prefix: str,
    seen: set[tuple[int, int]],
    entry: os.DirEntry[str] | None = None,
) -> Iterator[Found]:
    waiting: list[tuple[str, str, os.DirEntry[str] | None]] = [(directory, prefix, entry)]
    while waiting:  # not recursive: folders can be nested deeper than Python's stack
        folder, path, entry = waiting.pop()
        if entry is None or _is_dir(entry):
            try:
                status = Path(folder).stat()
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name, reverse=True)
            except OSError as error:
                reraise_exhausted(error)
                yield _unusable(label, path, f"folder cannot be read: {error.strerror}")
                continue
            shown = (e for e in entries if not e.name.startswith("."))
            waiting += [(e.path, f"{path}/{e.name}", e) for e in shown]
        elif may_be_photo(entry.name) or is_tar(entry.name):
            try:
                status = entry.stat()
            except OSError as error:
                yield _unusable(label, path, f"cannot be read: {error.strerror}")
                continue
            if displayable(path) != path:
                yield _unusable(label, path, "file name is not UTF-8; rename the file")
                continue
            yield Found(label, path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # for example, a symbolic link to itself
        return False


def may_be_photo(name: str) -> bool:
    """Return whether a file may be a photo, judging by its name without folders."""
    suffix = Path(name).suffix.lower()
    return (
        not name.startswith(".")
        and name.lower() not in _SYSTEM_FILES
        and (suffix in _SUFFIXES or not re.fullmatch(r"\.[a-z0-9]{1,5}", suffix))
    )


def _unusable(label: str, path: str, problem: str) -> Found:
    return Found(displayable(label), displayable(path), 0, 0, 0, problem)


def displayable(text: str) -> str:
    """Return a text that can be encoded as UTF-8, which file names need not be."""
    return text.encode("utf-8", "backslashreplace").decode()
