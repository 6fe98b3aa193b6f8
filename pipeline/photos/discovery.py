"""Discovery: the photos and tar files in a folder of class folders."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError, reraise_exhausted
from pipeline.photos import split
from pipeline.photos.file_names import Kind, Skipped, kind, leftover, names_photo
from pipeline.photos.layout import PLAIN, Layout

IN_ICLOUD = "in iCloud, but not on this machine; download it in the Finder or on icloud.com"
IN_GIT_ANNEX = "in git-annex, but not on this machine; run git annex get"

_Identity = tuple[int, int]  # device and inode


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


@dataclass(frozen=True, slots=True)
class ClassFolder:
    """A class folder, or a folder for one: its label, its path in the image folder and on disk."""

    label: str
    path: str
    place: str


def parts(image_dir: Path, layout: Layout, excluded: Path | None = None) -> tuple[str, ...]:
    """Return the names of the folders of splits in `image_dir`, if the layout has any."""
    folders = _subfolders(image_dir, "", _identities(excluded)) if layout.split_folders else []
    return tuple(displayable(folder.label) for folder in folders)


def class_folders(
    image_dir: Path, layout: Layout = PLAIN, excluded: Path | None = None
) -> list[ClassFolder]:
    """Return the class folders in `image_dir`, sorted by path.

    Args:
        image_dir: the image folder.
        layout: what its folders mean.
        excluded: a folder that is not a class wherever it is: the output folder.

    Raises:
        UserError: if there is no such folder, or it contains neither class folders nor tar files.
    """
    above, *_ = levels = _levels(image_dir, layout, _identities(excluded))
    if not levels[-1] and not any(_is_tar(e) for f in above for e in _entries(f.place)):
        folders = parts(image_dir, layout, excluded)
        raise no_class_error(image_dir, count_stray(image_dir, layout), layout, folders)
    return levels[-1]


def find(
    image_dir: Path,
    layout: Layout = PLAIN,
    excluded: Path | None = None,
    skipped: Skipped | None = None,
) -> Iterator[Found]:
    """Yield the photos below the class folders of `image_dir`, sorted, and the tar files.

    Tar files (see `is_tar`) may be below the class folders or beside them. Folders inside a class
    folder belong to the class. Hidden files and files that are clearly not photos are skipped.
    Symbolic links are followed, each folder once.

    Args:
        image_dir, layout, excluded: as in `class_folders`.
        skipped: counts the files that are skipped.

    Raises:
        UserError: as `class_folders`.
    """
    skipped = Skipped() if skipped is None else skipped
    excluded_ids = _identities(excluded)
    for folder in class_folders(image_dir, layout, excluded):
        if problem := label_problem(folder.label):
            yield _unusable(folder.label, folder.path, problem)
            continue
        walk = _walk(folder.place, folder.label, folder.path, set(excluded_ids), skipped)
        yield from walk
    for outer in _levels(image_dir, layout, excluded_ids)[0]:
        for entry in _entries(outer.place):
            path = f"{outer.path}/{entry.name}" if outer.path else entry.name
            if _is_tar(entry):
                yield from _walk(entry.path, "", path, set(), skipped, entry)
            elif not _is_dir(entry):
                skipped.is_skipped(entry.name)
            elif name := leftover(entry.name):
                skipped.leftovers[name] += 1


def _levels(
    image_dir: Path, layout: Layout, excluded: Collection[_Identity]
) -> tuple[list[ClassFolder], list[ClassFolder]]:
    """Return the folders that contain class folders, and the class folders."""
    above = [ClassFolder("", "", str(image_dir))]
    folders = _subfolders(image_dir, "", excluded)
    if layout.split_folders:
        above += folders
        below = (_subfolders(Path(f.place), f.path, excluded) for f in folders)
        folders = [folder for some in below for folder in some]
    return above, folders


def _subfolders(folder: Path, path: str, excluded: Collection[_Identity]) -> list[ClassFolder]:
    return [
        ClassFolder(entry.name, f"{path}/{entry.name}" if path else entry.name, entry.path)
        for entry in _entries(folder)
        if not leftover(entry.name) and _is_dir(entry) and _identity(entry.path) not in excluded
    ]


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    """Return the files and folders in the image folder, or in that of a split, sorted."""
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        raise UserError(
            f"image_dir: there is no folder {Path(folder).absolute()}; set it to the folder that "
            "contains one folder of photos per class"
        ) from None
    except OSError as error:
        raise UserError(f"image_dir: {folder} cannot be read: {error.strerror}") from None


def _identity(path: Path | str) -> _Identity | None:
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _identities(folder: Path | None) -> set[_Identity]:
    identity = _identity(folder) if folder else None
    return {identity} if identity else set()


def list_folder(folder: Path) -> Iterator[Found]:
    """Yield the photos in a folder and its subfolders, without labels.

    Their paths begin with `folder`.
    """
    found = _walk(str(folder), "", str(folder), set(), Skipped())
    yield from (photo for photo in found if not is_tar(photo.path))


def describe(path: Path) -> Found:
    """Describe a file that the user named."""
    return _describe(path, "", str(path))


def no_class_error(
    image_dir: object, stray: int, layout: Layout, parts: Collection[str]
) -> UserError:
    """Return the error for an image folder without class folders, but with `stray` photos.

    `parts` are the names of its folders if the layout has folders of splits.
    """
    if layout.split_folders and not any(split.part_of(folder) for folder in parts):
        return UserError(
            f"split_folders: {image_dir} has no folders train and test; leave out split_folders if "
            "its folders are the classes"
        )
    content = f"{stray} photos but no class folder" if stray else "no class folder"
    examples = ("train/daisy", "test/daisy") if layout.split_folders else ("daisy", "rose")
    return UserError(
        f"image_dir: {image_dir} contains {content}; put the photos of each class into a folder "
        f"of its own, named after the class, such as photos/{examples[0]}/1.jpg and "
        f"photos/{examples[1]}/2.jpg"
    )


def label_problem(label: str) -> str:
    """Return why a name cannot be a label; empty if it can. Label files have one label per line."""
    return "" if label.splitlines() == [label] else "folder's name has a line break; rename it"


def count_stray(image_dir: Path, layout: Layout = PLAIN) -> int:
    """Count the photos outside class folders, which belong to no class."""
    above, _ = _levels(image_dir, layout, ())
    entries = (entry for folder in above for entry in _entries(folder.place))
    return sum(names_photo(entry.name) and not _is_dir(entry) for entry in entries)


def is_tar(name: str) -> bool:
    """Return whether a file name is that of a tar file."""
    return name.lower().endswith(".tar")


def _is_tar(entry: os.DirEntry[str]) -> bool:
    return is_tar(entry.name) and not leftover(entry.name) and not _is_dir(entry)


def _walk(
    directory: str,
    label: str,
    prefix: str,
    seen: set[_Identity],
    skipped: Skipped,
    entry: os.DirEntry[str] | None = None,
) -> Iterator[Found]:
    waiting: list[tuple[str, str, os.DirEntry[str] | None]] = [(directory, prefix, entry)]
    while waiting:  # not recursive: folders can be nested deeper than Python's stack
        folder, path, entry = waiting.pop()
        if entry is None or _is_dir(entry):
            if entry and (name := leftover(entry.name)):
                skipped.leftovers[name] += 1
                continue
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
            waiting += [(e.path, f"{path}/{e.name}", e) for e in entries]
        elif _is_tar(entry) or not skipped.is_skipped(entry.name):
            yield _describe(entry, label, path)


def _describe(entry: os.DirEntry[str] | Path, label: str, path: str) -> Found:
    if kind(entry.name) is Kind.PLACEHOLDER:
        return _unusable(label, path, IN_ICLOUD)
    if displayable(path) != path:
        return _unusable(label, path, "file name is not UTF-8; rename the file")
    try:
        status = entry.stat()
    except OSError as error:
        in_annex = entry.is_symlink() and "annex/objects/" in str(Path(entry).readlink())
        return _unusable(
            label, path, IN_GIT_ANNEX if in_annex else f"cannot be read: {error.strerror}"
        )
    return Found(label, path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # for example, a symbolic link to itself
        return False


def _unusable(label: str, path: str, problem: str) -> Found:
    return Found(displayable(label), displayable(path), 0, 0, 0, problem)


def displayable(text: str) -> str:
    """Return a text that can be encoded as UTF-8, which file names need not be."""
    return text.encode("utf-8", "backslashreplace").decode()
