"""Sources of photos: local folders or object stores, single files or tar files."""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from pipeline.errors import UserError
from pipeline.files import object_store
from pipeline.files.object_store import BLOCK, READERS, ListedFile, RemotePath
from pipeline.files.places import Place
from pipeline.photos import discovery, inspection, tars
from pipeline.photos.discovery import Found
from pipeline.photos.inspection import Inspection, Problem
from pipeline.photos.tars import Member

_GAP = 2**19  # unneeded bytes of a tar file that are read to save a request


@dataclass(frozen=True)
class Contents:
    """The contents of an image folder, before any file is opened.

    Attributes:
        labels: the class folders, sorted.
        found: the photos below them, sorted, and the tar files (see `discovery.is_tar`).
        stray: number of photos beside the class folders, which belong to no class.
    """

    labels: tuple[str, ...]
    found: Iterable[Found]
    stray: int


def contents(image_dir: Place) -> Contents:
    """Return the contents of an image folder, from the file system or one listing of S3 or GCS.

    For photos on an object store, `mtime_ns` is a number that changes with the content, and
    `ctime_ns` is 0.

    Raises:
        UserError: if there is no such folder, or it contains neither class folders nor tar files.
    """
    if isinstance(image_dir, Path):
        labels = discovery.class_labels(image_dir)
        return Contents(labels, discovery.find(image_dir), discovery.count_stray(image_dir))
    try:
        files = _listed(image_dir)
    except UserError as error:
        raise UserError(f"image_dir: {error}") from None
    photos = [file for file in files if _may_be_photo(file)]
    stray = sum("/" not in file.path for file in photos)
    labels = tuple(dict.fromkeys(f.path.split("/")[0] for f in files if "/" in f.path))
    tar_files = [file for file in files if discovery.is_tar(file.path)]
    if not labels and not tar_files:
        raise discovery.no_class_error(image_dir, stray)
    labelled = [file for file in photos if "/" in file.path]
    return Contents(labels, [_found(file) for file in (*labelled, *tar_files)], stray)


def _found(file: ListedFile) -> Found:
    label = file.path.split("/")[0] if "/" in file.path else ""
    problem = discovery.label_problem(label) if label else ""
    return Found(label, file.path, file.size, file.version, 0, problem)


def list_folder(folder: RemotePath) -> Iterator[Found]:
    """Yield the photos in a folder of an object store, like `discovery.list_folder`.

    Raises:
        UserError: if there is no such folder.
    """
    for file in _listed(folder):
        if _may_be_photo(file):
            yield Found("", str(folder / file.path), file.size, file.version, 0)


def _listed(folder: RemotePath) -> list[ListedFile]:
    """Return all files that are not hidden."""
    files = [file for file in object_store.list_files(folder) if "/." not in f"/{file.path}"]
    if not files:
        raise UserError(f"there are no files at {folder}; check the address")
    return files


def _may_be_photo(file: ListedFile) -> bool:
    return discovery.may_be_photo(file.path.rpartition("/")[2])


def inspect(place: Place, size: int, problem: str = "") -> Inspection:
    """Inspect a photo from any source.

    Args:
        place: path or URL of the photo.
        size: bytes, as listed.
        problem: why it cannot be used, if that is known already; it is not read then.

    Raises:
        UserError: if an object store fails; the photo may be fine.
    """
    if isinstance(place, Path):
        return inspection.inspect(place, problem)
    if problem:
        return inspection.set_aside(problem)
    if large := inspection.too_large(size):
        return inspection.set_aside(large, Problem.TOO_LARGE)
    try:
        return inspection.inspect_bytes(read(place) if size else b"")
    except FileNotFoundError as error:
        return inspection.set_aside(f"cannot be read: {error.strerror}")


def reader_threads(place: Place) -> int | None:
    """Return how many threads should read photos at the same time; None is Python's default."""
    return None if isinstance(place, Path) else READERS


def members(image_dir: Place, tar_file: Found) -> list[Member]:
    """Return the photos in a tar file, as `tars.members` does.

    Raises:
        OSError: if the file is missing or cannot be read.
        UserError: if an object store fails.
    """
    place = image_dir / tar_file.path
    file = (
        place.open("rb")
        if isinstance(place, Path)
        else object_store.open_file(place, tar_file.size)
    )
    with file:
        return list(tars.members(file, tar_file.path, tar_file.label))


def is_file(place: Place) -> TypeGuard[Path]:
    """Return whether a photo is a local file of its own, which TensorFlow can read."""
    return isinstance(place, Path) and tars.place(str(place)) is None


def read(place: Place) -> bytes:
    """Return the bytes of a photo.

    Raises:
        OSError: if the file is missing or cannot be read.
        UserError: if an object store fails.
    """
    return _read(*_span(place))


def _span(place: Place) -> tuple[Place, int, int | None]:
    """Return the file that contains a photo, and its first and last byte (None: to the end)."""
    location = tars.place(str(place))
    if location is None:
        return place, 0, None
    name, start, end = location
    if isinstance(place, Path):
        return Path(name), start, end
    # A URL that was passed on as text has all of it as the root.
    within = place.path and name.removeprefix(f"{place.root}/")
    return (RemotePath(place.root, within) if within else RemotePath(name)), start, end


def _read(file: Place, start: int, end: int | None) -> bytes:
    if isinstance(file, RemotePath):
        return object_store.read(file, start, end)
    with file.open("rb") as content:
        content.seek(start)
        return content.read(-1 if end is None else end - start)


def stream(
    photo_paths: Sequence[Place], digests: Sequence[str] | None = None
) -> Iterator[bytes | UserError]:
    """Yield the bytes of photos in order, reading READERS of them ahead, or why one is unreadable.

    Args:
        photo_paths: paths or URLs. Repeated photos are read once, and neighbours in a tar file are
            read together.
        digests: expected SHA-256 of the bytes in hex. An object store would need one request per
            photo to tell whether it has changed.
    """
    threads = ThreadPoolExecutor(READERS)
    reading: deque[Future[list[bytes | UserError]]] = deque()
    try:
        for block in _blocks(photo_paths):
            expected = digests[block.first : block.first + len(block.parts)] if digests else ()
            reading.append(threads.submit(_read_block, block, expected))
            if len(reading) > READERS:
                yield from reading.popleft().result()
        while reading:
            yield from reading.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)


@dataclass
class _Block:
    """Consecutive photos that are read at once.

    Attributes:
        first: index of the first photo.
        file: the file that contains them.
        start, end: bytes to read; None is the file's end.
        parts: place, first and last byte of each photo.
    """

    first: int
    file: Place
    start: int
    end: int | None
    parts: list[tuple[Place, int, int | None]]

    def add(self, place: Place, file: Place, start: int, end: int | None) -> bool:
        """Add the next photo if it is close enough, and return whether it was added."""
        if file != self.file:
            return False
        if self.end is not None and end is not None:
            near = self.start <= start <= self.end + _GAP
            if not near or max(end, self.end) - self.start > BLOCK:
                return False
            self.end = max(end, self.end)
        self.parts.append((place, start, end))
        return True


def _blocks(photo_paths: Sequence[Place]) -> Iterator[_Block]:
    block: _Block | None = None
    for i, place in enumerate(photo_paths):
        span = _span(place)
        if block and block.add(place, *span):
            continue
        if block:
            yield block
        block = _Block(i, *span, [(place, *span[1:])])
    if block:
        yield block


def _read_block(block: _Block, digests: Sequence[str]) -> list[bytes | UserError]:
    try:
        content = _read(block.file, block.start, block.end)
    except OSError as error:
        reason = f"cannot be read any more ({error.strerror}); run again"
        return [UserError(f"{block.file} {reason}")] * len(block.parts)
    except UserError as error:
        return [error] * len(block.parts)
    contents: list[bytes | UserError] = []
    for i, (place, start, end) in enumerate(block.parts):
        part = content if end is None else content[start - block.start : end - block.start]
        if digests and digests[i] and hashlib.sha256(part).hexdigest() != digests[i]:
            contents.append(UserError(f"{place} changed during the run; run again"))
        else:
            contents.append(part)
    return contents
