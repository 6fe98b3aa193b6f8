"""Where photos are: in a folder of this machine or of a store, each a file, or packed in shards."""

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
from pipeline.photos.inspection import Inspection
from pipeline.photos.tars import Member

_GAP = 2**19  # bytes of a shard that are read for nothing, rather than with a request more


@dataclass(frozen=True)
class Contents:
    """What a folder of photos holds, before any of them is opened.

    Attributes:
        labels: the class folders, in order.
        found: the photos below them, in order; and the shards, which `photos.is_shard` tells.
        stray: how many photos lie beside them, and belong to no class.
    """

    labels: tuple[str, ...]
    found: Iterable[Found]
    stray: int


def contents(image_dir: Place) -> Contents:
    """What is in the data set's folder: from a walk, or from one listing of the store.

    Of photos in a store, `mtime_ns` is a number that changes with the content, and `ctime_ns` 0.

    Raises:
        UserError: where there is no such folder, or neither a class folder nor a shard in it.
    """
    if isinstance(image_dir, Path):
        labels = discovery.class_labels(image_dir)
        return Contents(labels, discovery.find(image_dir), discovery.count_stray(image_dir))
    try:
        files = _listed(image_dir)
    except UserError as error:
        raise UserError(f"image_dir: {error}") from None
    photo = [file for file in files if _may_be_photo(file)]
    stray = sum("/" not in file.path for file in photo)
    labels = tuple(dict.fromkeys(f.path.split("/")[0] for f in files if "/" in f.path))
    packed = [file for file in files if discovery.is_tar(file.path)]
    if not labels and not packed:
        raise discovery.no_class_error(image_dir, stray)
    below = [file for file in photo if "/" in file.path]
    return Contents(labels, [_found(file) for file in (*below, *packed)], stray)


def _found(file: ListedFile) -> Found:
    label = file.path.split("/")[0] if "/" in file.path else ""
    problem = discovery.label_problem(label) if label else ""
    return Found(label, file.path, file.size, file.version, 0, problem)


def list_folder(folder: RemotePath) -> Iterator[Found]:
    """`photos.below`, for a folder in a store.

    Raises:
        UserError: where there is none.
    """
    for file in _listed(folder):
        if _may_be_photo(file):
            yield Found("", str(folder / file.path), file.size, file.version, 0)


def _listed(folder: RemotePath) -> list[ListedFile]:
    """All files that are not hidden."""
    files = [file for file in object_store.list_files(folder) if "/." not in f"/{file.path}"]
    if not files:
        raise UserError(f"nothing is at {folder}; check the address")
    return files


def _may_be_photo(file: ListedFile) -> bool:
    return discovery.may_be_photo(file.path.rpartition("/")[2])


def inspect(place: Place, size: int, problem: str = "") -> Inspection:
    """`photos.inspect`, wherever the photo is.

    Args:
        place: of the photo.
        size: bytes, as listed.
        problem: what the listing found already; then the photo is not read.

    Raises:
        UserError: where a store fails: the photo may be sound.
    """
    if isinstance(place, Path):
        return inspection.inspect(place, problem)
    problem = problem or inspection.too_large(size)
    if problem:
        return Inspection("", 0, 0, "", False, problem)
    try:
        return inspection.inspect_bytes(read(place) if size else b"")
    except FileNotFoundError as error:
        return Inspection("", 0, 0, "", False, f"cannot be read: {error.strerror}")


def reader_threads(place: Place) -> int | None:
    """How many threads should read photos at the same time; None leaves it to Python."""
    return None if isinstance(place, Path) else READERS


def members(image_dir: Place, shard: Found) -> list[Member]:
    """The photos in a shard, as `tars.members`.

    Raises:
        OSError: where it is not there, or this machine cannot read it.
        UserError: where a store fails.
    """
    place = image_dir / shard.path
    file = (
        place.open("rb") if isinstance(place, Path) else object_store.open_file(place, shard.size)
    )
    with file:
        return list(tars.members(file, shard.path, shard.label))


def is_file(place: Place) -> TypeGuard[Path]:
    """Whether TensorFlow can read a photo by itself."""
    return isinstance(place, Path) and tars.place(str(place)) is None


def read(place: Place) -> bytes:
    """The bytes of one photo.

    Raises:
        OSError: where it is not there, or this machine cannot read it.
        UserError: where a store fails.
    """
    return _read(*_span(place))


def _span(place: Place) -> tuple[Place, int, int | None]:
    """The file that holds a photo, and from where to where; None is the file's end."""
    packed = tars.place(str(place))
    if packed is None:
        return place, 0, None
    name, start, end = packed
    if isinstance(place, Path):
        return Path(name), start, end
    # Who was handed the URL as a text may have all of it as the root.
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
    """The bytes of photos, in order, READERS of them read ahead; or why one cannot be read.

    Args:
        places: of the photos. The same one several times in a row is read once, and photos that
            lie near each other in a shard are read together.
        digests: SHA-256 that the bytes must have, in hex: a store cannot be asked for the time of
            a change without a request a photo.
    """
    threads = ThreadPoolExecutor(READERS)
    reading: deque[Future[list[bytes | UserError]]] = deque()
    try:
        for block in _blocks(photo_paths):
            wanted = digests[block.first : block.first + len(block.parts)] if digests else ()
            reading.append(threads.submit(_read_block, block, wanted))
            if len(reading) > READERS:
                yield from reading.popleft().result()
        while reading:
            yield from reading.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)


@dataclass
class _Block:
    """Photos that follow each other and are read at once.

    Attributes:
        first: position of the first one.
        file: that holds them.
        start, end: bytes to read; None is the file's end.
        parts: place and bytes of each of them.
    """

    first: int
    file: Place
    start: int
    end: int | None
    parts: list[tuple[Place, int, int | None]]

    def take(self, place: Place, file: Place, start: int, end: int | None) -> bool:
        """Add the next photo, if it belongs here."""
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
        if block and block.take(place, *span):
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
    found: list[bytes | UserError] = []
    for i, (place, start, end) in enumerate(block.parts):
        part = content if end is None else content[start - block.start : end - block.start]
        if digests and digests[i] and hashlib.sha256(part).hexdigest() != digests[i]:
            found.append(UserError(f"{place} changed while the run was going on; run again"))
        else:
            found.append(part)
    return found
