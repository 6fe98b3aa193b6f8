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
from pipeline.photos.file_names import Kind, Skipped, kind, leftover, name_of, names_photo
from pipeline.photos.inspection import Inspection, Problem
from pipeline.photos.layout import PLAIN, Layout
from pipeline.photos.tars import Member

_GAP = 2**19  # unneeded bytes of a tar file that are read to save a request


@dataclass(frozen=True)
class Contents:
    """The contents of an image folder, before any file is opened.

    Attributes:
        parts: the folders of splits, sorted, if the layout has any.
        labels: the class folders, sorted.
        found: the photos below them, sorted, and the tar files (see `discovery.is_tar`).
        stray: number of photos outside class folders, which belong to no class.
        skipped: files that are neither; complete after the last photo.
    """

    parts: tuple[str, ...]
    labels: tuple[str, ...]
    found: Iterable[Found]
    stray: int
    skipped: Skipped


def contents(image_dir: Place, layout: Layout = PLAIN, excluded: Path | None = None) -> Contents:
    """Return the contents of an image folder, from the file system or one listing of S3 or GCS.

    For photos on an object store, `mtime_ns` is a number that changes with the content, and
    `ctime_ns` is 0.

    Args:
        image_dir: the image folder.
        layout: what its folders mean.
        excluded: a local folder that is not part of it wherever it is: the output folder.

    Raises:
        UserError: if there is no such folder, or it contains neither class folders nor tar files.
    """
    skipped = Skipped()
    if isinstance(image_dir, Path):
        classes = discovery.class_folders(image_dir, layout, excluded)
        return Contents(
            discovery.parts(image_dir, layout, excluded),
            _sorted_once(discovery.displayable(folder.label) for folder in classes),
            discovery.find(image_dir, layout, excluded, skipped),
            discovery.count_stray(image_dir, layout),
            skipped,
        )
    try:
        files = _listed(image_dir, skipped)
    except UserError as error:
        raise UserError(f"image_dir: {error}") from None
    depth = layout.depth
    folders_of = [file.path.split("/")[:-1] for file in files]
    parts = _sorted_once(f[0] for f in folders_of if f and layout.split_folders)
    labels = _sorted_once(f[depth - 1] for f in folders_of if len(f) >= depth)
    found: list[Found] = []
    tar_files: list[Found] = []
    stray = 0
    for file, folders in zip(files, folders_of, strict=True):
        name = name_of(file.path)
        label = folders[depth - 1] if len(folders) >= depth else ""
        if discovery.is_tar(name) and not leftover(name):
            tar_files.append(_found(file, label))
        elif not skipped.is_skipped(name) and label:
            found.append(_found(file, label))
        elif not label:
            stray += names_photo(name)
    if not labels and not tar_files:
        raise discovery.no_class_error(image_dir, stray, layout, parts)
    return Contents(parts, labels, [*found, *tar_files], stray, skipped)


def _sorted_once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))


def _found(file: ListedFile, label: str) -> Found:
    problem = discovery.label_problem(label) if label else ""
    if not problem and kind(name_of(file.path)) is Kind.PLACEHOLDER:
        problem = discovery.IN_ICLOUD
    return Found(label, file.path, file.size, file.version, 0, problem)


def list_folder(folder: RemotePath) -> Iterator[Found]:
    """Yield the photos in a folder of an object store, like `discovery.list_folder`.

    Raises:
        UserError: if there is no such folder.
    """
    skipped = Skipped()
    for file in _listed(folder, skipped):
        name = name_of(file.path)
        if not discovery.is_tar(name) and not skipped.is_skipped(name):
            yield Found("", str(folder / file.path), file.size, file.version, 0)


def _listed(folder: RemotePath, skipped: Skipped) -> list[ListedFile]:
    """Return all files that are in no folder of another program."""
    files: list[ListedFile] = []
    left = dict[str, str]()  # the folders of other programs
    for file in object_store.list_files(folder):
        folders = file.path.split("/")[:-1]
        of_others = [i for i, name in enumerate(folders) if leftover(name)]
        if of_others:
            left["/".join(folders[: of_others[0] + 1])] = leftover(folders[of_others[0]])
        elif not file.path.endswith("/"):  # such an object stands for a folder
            files.append(file)
    skipped.leftovers.update(left.values())
    if not files:
        raise UserError(f"there are no files at {folder}; check the address")
    return files


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


def members(image_dir: Place, tar_file: Found, layout: Layout = PLAIN) -> list[Member]:
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
        return list(tars.members(file, tar_file.path, tar_file.label, layout))


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
