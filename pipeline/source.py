"""Where photos are: a folder of this machine, or one in a store. What the rest knows of them."""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pipeline import photos, remote
from pipeline.errors import UserError
from pipeline.photos import Found, Inspection
from pipeline.remote import READERS, Listed, Remote

Place = Path | Remote  # of a photo, or of a folder of them; `/` leads from one to the other


@dataclass(frozen=True)
class Contents:
    """What a folder of photos holds, before any of them is opened.

    Attributes:
        labels: the class folders, in order.
        found: the photos below them, in order.
        stray: how many photos lie beside them, and belong to no class.
    """

    labels: tuple[str, ...]
    found: Iterable[Found]
    stray: int


def at(text: str) -> Place:
    """The place that an option names: a path, or a URL; `file://` is a path as well.

    Raises:
        UserError: where a password is in it.
    """
    if text.startswith("file://"):
        return Path(url2pathname(urlsplit(text).path))
    return remote.at(text) if "://" in text else Path(text).expanduser()


def absolute(place: Place) -> str:
    """The same text for the same place, wherever it is asked for."""
    return str(place.absolute()) if isinstance(place, Path) else str(place)


def contents(image_dir: Place) -> Contents:
    """What is in the data set's folder: from a walk, or from one listing of the store.

    Of photos in a store, `mtime_ns` is a number that changes with the content, and `ctime_ns` 0.

    Raises:
        UserError: where there is no such folder, or no class folder in it.
    """
    if isinstance(image_dir, Path):
        labels = photos.labels(image_dir)
        return Contents(labels, photos.find(image_dir), photos.stray(image_dir))
    try:
        files = _listed(image_dir)
    except UserError as error:
        raise UserError(f"image_dir: {error}") from None
    photo = [file for file in files if _may_be_photo(file)]
    stray = sum("/" not in file.path for file in photo)
    labels = tuple(dict.fromkeys(f.path.split("/")[0] for f in files if "/" in f.path))
    if not labels:
        raise photos.no_class(image_dir, stray)
    found = [
        Found(label, file.path, file.size, file.version, 0, photos.problem_of(label))
        for file in photo
        if (label := file.path.rpartition("/")[0].split("/")[0])
    ]
    return Contents(labels, found, stray)


def below(folder: Remote) -> Iterator[Found]:
    """`photos.below`, for a folder in a store.

    Raises:
        UserError: where there is none.
    """
    for file in _listed(folder):
        if _may_be_photo(file):
            yield Found("", str(folder / file.path), file.size, file.version, 0)


def _listed(folder: Remote) -> list[Listed]:
    """All files that are not hidden."""
    files = [file for file in remote.find(folder) if "/." not in f"/{file.path}"]
    if not files:
        raise UserError(f"nothing is at {folder}; check the address")
    return files


def _may_be_photo(file: Listed) -> bool:
    return photos.may_be_photo(file.path.rpartition("/")[2])


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
        return photos.inspect(place, problem)
    problem = problem or photos.too_large(size)
    if problem:
        return Inspection("", 0, 0, "", False, problem)
    try:
        return photos.inspect_bytes(read(place) if size else b"")
    except FileNotFoundError as error:
        return Inspection("", 0, 0, "", False, f"cannot be read: {error.strerror}")


def readers(place: Place) -> int | None:
    """How many threads should read photos at the same time; None leaves it to Python."""
    return None if isinstance(place, Path) else READERS


def is_file(place: Place) -> TypeGuard[Path]:
    """Whether TensorFlow can read a photo by itself."""
    return isinstance(place, Path)


def read(place: Place) -> bytes:
    """The bytes of one photo.

    Raises:
        OSError: where it is not there, or this machine cannot read it.
        UserError: where a store fails.
    """
    return place.read_bytes() if isinstance(place, Path) else remote.read(place)


def stream(
    places: Sequence[Place], digests: Sequence[str] | None = None
) -> Iterator[bytes | UserError]:
    """The bytes of photos, in order, READERS of them read ahead; or why one cannot be read.

    Args:
        places: of the photos. Of the same one several times in a row, it is read once.
        digests: SHA-256 that the bytes must have, in hex: a store cannot be asked for the time of
            a change without a request a photo.
    """
    threads = ThreadPoolExecutor(READERS)
    reading: deque[Future[list[bytes | UserError]]] = deque()
    try:
        for first, count in _runs(places):
            wanted = digests[first] if digests is not None else ""
            reading.append(threads.submit(_read_run, places[first], count, wanted))
            if len(reading) > READERS:
                yield from reading.popleft().result()
        while reading:
            yield from reading.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)


def _runs(places: Sequence[Place]) -> Iterator[tuple[int, int]]:
    """Position and number of equal places that follow each other."""
    first = 0
    for i in range(1, len(places) + 1):
        if i == len(places) or places[i] != places[first]:
            yield first, i - first
            first = i


def _read_run(place: Place, count: int, digest: str) -> list[bytes | UserError]:
    try:
        content = read(place)
    except OSError as error:
        failed = UserError(f"{place} cannot be read any more ({error.strerror}); run again")
        return [failed] * count
    except UserError as error:
        return [error] * count
    if digest and hashlib.sha256(content).hexdigest() != digest:
        return [UserError(f"{place} changed while the run was going on; run again")] * count
    return [content] * count
