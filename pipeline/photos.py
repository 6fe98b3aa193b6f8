"""The photos in a folder of class folders: find them, digest them, read their headers."""

import hashlib
import io
import os
import re
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError, refuse_exhausted

OK = "ok"

# What TensorFlow's decode_image reads, and so training and serving alike.
READABLE = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
_RECOGNISED = (*READABLE, "TIFF", "AVIF")  # the others get named when they are set aside
_HEIC = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1", b"ftyphevc")
_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp"),
    *(".tif", ".tiff", ".avif", ".heic", ".heif", ".svg", ".jxl"),
)
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "F")  # Pillow's names
_SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r"})

MAX_BYTES = 256 * 2**20
MAX_PIXELS = 100_000_000  # 100 megapixels decode to 300 MB; more is a mistake or an attack


@dataclass(frozen=True, slots=True)
class Found:
    """One file that may be a photo, as the folder lists it.

    Attributes:
        label: name of the class folder, unchanged.
        path: relative to the data set's folder, with `/`.
        size: bytes.
        mtime_ns, ctime_ns: times of the last change of content and of the file's entry, in
            nanoseconds; together with the size they tell whether to digest the file again.
        problem: why it cannot be used, known from its name alone; usually empty.
    """

    label: str
    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a photo's bytes say.

    Attributes:
        digest: SHA-256 of the bytes, in hex; empty where they could not be read.
        width, height: pixels as stored; 0 where unknown.
        format: JPEG, PNG, GIF, BMP or WEBP where it can be used; another name or empty else.
        grey: whether it is stored without colour.
        status: OK, or the reason why the photo is set aside and what to do.
    """

    digest: str
    width: int
    height: int
    format: str
    grey: bool
    status: str


def labels(image_dir: Path) -> tuple[str, ...]:
    """Names of the class folders in `image_dir`, in a fixed order.

    Raises:
        UserError: where there is no such folder, or neither a class folder nor a shard in it.
    """
    return tuple(displayable(entry.name) for entry in _class_folders(image_dir))


def find(image_dir: Path) -> Iterator[Found]:
    """List the photos below the class folders of `image_dir`, in a fixed order; and shards.

    Shards, which lie below the class folders or beside them, are told by `is_shard`.

    Folders inside a class folder belong to the class. Hidden files and files that are plainly
    something else are passed over. Symbolic links are followed, each folder once.

    Raises:
        UserError: as `labels`.
    """
    for folder in _class_folders(image_dir):
        if problem := problem_of(folder.name):
            yield _unusable(folder.name, folder.name, problem)
            continue
        yield from _walk(folder.path, folder.name, folder.name, set())
    for entry in sorted(os.scandir(image_dir), key=lambda entry: entry.name):
        if _is_shard(entry):
            yield from _walk(entry.path, "", entry.name, set(), entry)


def below(folder: Path) -> Iterator[Found]:
    """List the photos in a folder and the folders in it, whatever these are called.

    Their label is empty, and their path leads to them from where `folder` does.
    """
    yield from (f for f in _walk(str(folder), "", str(folder), set()) if not is_shard(f.path))


def one(path: Path) -> Found:
    """A file that somebody named."""
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
        raise UserError(f"image_dir: there is no folder {image_dir}") from None
    except OSError as error:
        raise UserError(f"image_dir: {image_dir} cannot be read: {error.strerror}") from None
    folders = [e for e in entries if not e.name.startswith(".") and _is_dir(e)]
    if not folders and not any(map(_is_shard, entries)):
        raise no_class(image_dir, stray(image_dir))
    return folders


def no_class(image_dir: object, stray: int) -> UserError:
    """What to say of a data set's folder without class folders, and with so many photos."""
    found = f"{stray} photos but no class folder" if stray else "no class folder"
    return UserError(
        f"image_dir: {image_dir} holds {found}; put the photos of each class into a folder "
        "of its own, named as the class, such as photos/daisy/1.jpg and photos/rose/2.jpg"
    )


def problem_of(label: str) -> str:
    """Why a class folder's name cannot be used; empty where it can: labels stand one a line."""
    return "" if label.splitlines() == [label] else "folder's name has a line break; rename it"


def stray(image_dir: Path) -> int:
    """How many photos lie directly in `image_dir`, where they belong to no class."""
    return sum(may_be_photo(e.name) and not _is_dir(e) for e in os.scandir(image_dir))


def is_shard(name: str) -> bool:
    """Whether a file's name is that of a tar file, which holds photos."""
    return name.lower().endswith(".tar")


def _is_shard(entry: os.DirEntry[str]) -> bool:
    return is_shard(entry.name) and not entry.name.startswith(".") and not _is_dir(entry)


def _walk(
    directory: str,
    label: str,
    prefix: str,
    seen: set[tuple[int, int]],
    entry: os.DirEntry[str] | None = None,
) -> Iterator[Found]:
    waiting: list[tuple[str, str, os.DirEntry[str] | None]] = [(directory, prefix, entry)]
    while waiting:  # no recursion: folders can be nested deeper than Python's stack
        where, path, entry = waiting.pop()
        if entry is None or _is_dir(entry):
            try:
                here = Path(where).stat()
                if (here.st_dev, here.st_ino) in seen:
                    continue
                seen.add((here.st_dev, here.st_ino))
                entries = sorted(os.scandir(where), key=lambda entry: entry.name, reverse=True)
            except OSError as error:
                refuse_exhausted(error)
                yield _unusable(label, path, f"folder cannot be read: {error.strerror}")
                continue
            shown = (e for e in entries if not e.name.startswith("."))
            waiting += [(e.path, f"{path}/{e.name}", e) for e in shown]
        elif may_be_photo(entry.name) or is_shard(entry.name):
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
    except OSError:  # a symbolic link to itself
        return False


def may_be_photo(name: str) -> bool:
    """Whether a file may be a photo, going by its name, without the folders that it is in."""
    suffix = Path(name).suffix.lower()
    return (
        not name.startswith(".")
        and name.lower() not in _SYSTEM_FILES
        and (suffix in _SUFFIXES or not re.fullmatch(r"\.[a-z0-9]{1,5}", suffix))
    )


def _unusable(label: str, path: str, problem: str) -> Found:
    return Found(displayable(label), displayable(path), 0, 0, 0, problem)


def displayable(text: str) -> str:
    """Text that can be written: names need not be UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def inspect(path: Path, problem: str = "") -> Inspection:
    """Digest a file and read its header; never raises for a bad file, but says so in `status`.

    Args:
        path: of the file.
        problem: what the listing found already; then the file is not opened.
    """
    if problem:
        return _aside(problem)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return _aside("not a regular file; delete it")  # opening a pipe would wait for ever
        if large := too_large(status.st_size):
            return _aside(large)
        data = path.read_bytes()
    except OSError as error:
        refuse_exhausted(error)
        return _aside(f"cannot be read: {error.strerror}")
    return inspect_bytes(data)


def too_large(size: int) -> str:
    """Why a photo of so many bytes cannot be used; empty where it can."""
    return f"larger than {MAX_BYTES >> 20} MB; make it smaller" if size > MAX_BYTES else ""


def inspect_bytes(data: bytes) -> Inspection:
    """`inspect`, of a file's bytes."""
    if not data:
        return _aside("empty file; replace or delete it", hashlib.sha256().hexdigest())
    return _read_header(data, hashlib.sha256(data).hexdigest())


def _read_header(data: bytes, digest: str) -> Inspection:
    from PIL import Image

    if data.startswith(b"GIF8") and _gif_pixels(data) > MAX_PIXELS:
        # The decoder unpacks all frames, though only the first is used.
        millions = MAX_PIXELS // 10**6
        return _aside(f"GIF frames of more than {millions} million pixels; keep the first", digest)
    Image.init()
    formats = [kind for kind in _RECOGNISED if kind in Image.OPEN]  # some builds have no AVIF
    Image.MAX_IMAGE_PIXELS = None  # our own limit, below, gives a reason instead of a warning
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            (width, height), kind, mode = image.size, str(image.format), image.mode
            frames = getattr(image, "n_frames", 1)
    except Exception as error:  # Pillow's readers raise anything at all on damaged files
        refuse_exhausted(error)
        if data[4:12] in _HEIC:
            return _aside("HEIC is not supported; convert it to JPEG or PNG", digest)
        if b"<svg" in data[:1024]:
            return _aside("SVG is not supported; convert it to JPEG or PNG", digest)
        return _aside("not an image that can be read; replace or delete it", digest)
    if kind == "MPO":  # the JPEG with several pictures that phones write; the first one counts
        kind = "JPEG"
    status = OK
    if kind not in READABLE:
        status = f"{kind} is not supported; convert it to JPEG or PNG"
    elif kind == "BMP" and mode == "P":
        # TensorFlow takes the palette's indices for grey values.
        status = "BMP with a palette is not supported; convert it to JPEG or PNG"
    elif kind == "WEBP" and frames > 1:
        status = "animated WebP is not supported; convert it to JPEG or PNG"
    elif width * height > MAX_PIXELS:
        status = f"{width} x {height} pixels, more than {MAX_PIXELS // 10**6} million; shrink it"
    elif is_truncated(data, kind):
        status = f"truncated {kind}: the end of the file is missing; copy it again or delete it"
    return Inspection(digest, width, height, kind, mode in _GREY_MODES, status)


def _aside(status: str, digest: str = "") -> Inspection:
    return Inspection(digest, 0, 0, "", False, status)


def is_truncated(data: bytes, kind: str) -> bool:
    """Whether an image file breaks off, told from its structure alone, without decoding it.

    JPEG (ITU-T T.81): the end marker must follow the first scan; entropy-coded data cannot
    contain it, since every 0xFF there is followed by 0x00 or a restart marker. PNG: the IEND
    chunk must be there, checksum and all. WebP (RIFF): the stated size must be there. Other kinds
    are left to the decoder, which reports what it cannot read.
    """
    if kind == "JPEG":
        return data.find(b"\xff\xd9", _first_scan(data)) < 0
    if kind == "PNG":
        end = data.rfind(b"IEND")
        return end < 0 or end + 8 > len(data)
    if kind == "WEBP":
        return bool(struct.unpack_from("<I", data, 4)[0] + 8 > len(data))
    return False


def _first_scan(data: bytes) -> int:
    """Offset of the first start-of-scan marker, past thumbnails that have markers of their own."""
    offset = 2
    while offset + 4 <= len(data):
        marker, length = struct.unpack_from(">HH", data, offset)
        if marker == 0xFFDA:
            break
        offset += 1 if marker == 0xFFFF else 2 + length
    return offset


def _gif_pixels(data: bytes) -> int:
    """Pixels of all frames of a GIF (GIF89a), told from its structure alone."""
    pixels, offset = 0, 13 + _palette(data, 10)
    while offset + 10 <= len(data) and data[offset] in b"!,":
        if data[offset] == ord(","):
            width, height = struct.unpack_from("<HH", data, offset + 5)
            pixels += width * height
            offset += 11 + _palette(data, offset + 9)
        else:
            offset += 2
        while offset < len(data) and data[offset]:
            offset += 1 + data[offset]
        offset += 1
    return pixels


def _palette(data: bytes, offset: int) -> int:
    """Bytes of the palette that the flags at an offset announce."""
    flags = data[offset] if offset < len(data) else 0
    return int(3 << ((flags & 7) + 1)) if flags & 0x80 else 0
