"""Inspection: read a photo's header, and decide whether to use it or to set it aside."""

import hashlib
import io
import stat
import struct
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pipeline.errors import reraise_exhausted

OK = "ok"

# Formats that TensorFlow's decode_image reads, in training and serving alike.
READABLE = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
_RECOGNISED = (*READABLE, "TIFF", "AVIF")  # the last ones only to name them
_HEIC = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1", b"ftyphevc")
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "F")  # Pillow's names

MAX_BYTES = 256 * 2**20
MAX_PIXELS = 100_000_000  # 100 megapixels decode to 300 MB; more is a mistake or an attack


class Problem(StrEnum):
    """Why a photo is set aside."""

    NONE = ""
    UNREADABLE = "unreadable"
    NO_IMAGE = "no image"  # something else under the name of a photo
    UNSUPPORTED = "unsupported"  # an image format that TensorFlow does not read
    TRUNCATED = "truncated"
    TOO_LARGE = "too large"
    UNLABELLED = "unlabelled"  # no label, or one that is not allowed
    UNLISTED = "unlisted"  # missing from a predefined split
    EXCLUDED = "excluded"  # a correction says so
    SKIPPED = "skipped"  # neither the name nor the content is that of an image


@dataclass(frozen=True, slots=True)
class Inspection:
    """The result of reading a photo's bytes.

    Attributes:
        digest: SHA-256 of the bytes in hex; empty if they cannot be read.
        width, height: pixels, as stored; 0 if unknown.
        format: JPEG, PNG, GIF, BMP or WEBP if the photo is usable; else another name or empty.
        grey: whether it is stored without colour.
        status: OK, or why the photo is set aside and what to do about it, for people: in
            words that suit photos to train on and photos to classify.
        problem: the same reason as one of `Problem`, for programs.
    """

    digest: str
    width: int
    height: int
    format: str
    grey: bool
    status: str
    problem: Problem = Problem.NONE


def inspect(path: Path, problem: str = "") -> Inspection:
    """Digest a file and read its header. For an unusable file, `status` says why.

    Args:
        path: the file.
        problem: why the file cannot be used, if that is known already; it is not opened then.
    """
    if problem:
        return set_aside(problem)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return set_aside("not a regular file; replace it")  # opening a pipe would block
        if large := too_large(status.st_size):
            return set_aside(large, Problem.TOO_LARGE)
        data = path.read_bytes()
    except OSError as error:
        reraise_exhausted(error)
        return set_aside(f"cannot be read: {error.strerror}")
    return inspect_bytes(data)


def too_large(size: int) -> str:
    """Return why a file of this size in bytes cannot be used; empty if it can."""
    return f"larger than {MAX_BYTES >> 20} MB; make it smaller" if size > MAX_BYTES else ""


def inspect_bytes(data: bytes) -> Inspection:
    """Digest the bytes of a file and read its header, like `inspect`."""
    if not data:
        status = "empty file; copy it again, or download it again if it is on a cloud drive"
        return set_aside(status, Problem.NO_IMAGE, hashlib.sha256().hexdigest())
    return _read_header(data, hashlib.sha256(data).hexdigest())


def _read_header(data: bytes, digest: str) -> Inspection:
    from PIL import Image

    if data.startswith(b"GIF8") and _gif_pixels(data) > MAX_PIXELS:
        # The decoder unpacks all frames, although only the first is used.
        millions = MAX_PIXELS // 10**6
        status = f"GIF frames of more than {millions} million pixels; keep the first"
        return set_aside(status, Problem.TOO_LARGE, digest)
    Image.init()
    formats = [
        kind for kind in _RECOGNISED if kind in Image.OPEN
    ]  # some builds of Pillow lack AVIF
    Image.MAX_IMAGE_PIXELS = None  # our own limit, below, sets the photo aside instead of warning
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            (width, height), kind, mode = image.size, str(image.format), image.mode
            frames = getattr(image, "n_frames", 1)
    except Exception as error:  # Pillow raises all kinds of exceptions for damaged files
        reraise_exhausted(error)
        if data[4:12] in _HEIC:
            return set_aside(_unsupported("HEIC"), Problem.UNSUPPORTED, digest)
        if b"<svg" in data[:1024]:
            return set_aside(_unsupported("SVG"), Problem.UNSUPPORTED, digest)
        return set_aside(_other_content(data), Problem.NO_IMAGE, digest)
    if kind == "MPO":  # a JPEG with several images, as phones write; the first one counts
        kind = "JPEG"
    status, problem = OK, Problem.NONE
    if kind not in READABLE:
        status, problem = _unsupported(kind), Problem.UNSUPPORTED
    elif kind == "BMP" and mode == "P":
        # TensorFlow would decode the palette's indices as grey values.
        status, problem = _unsupported("BMP with a palette"), Problem.UNSUPPORTED
    elif kind == "WEBP" and frames > 1:
        status, problem = _unsupported("animated WebP"), Problem.UNSUPPORTED
    elif width * height > MAX_PIXELS:
        status = f"{width} x {height} pixels, more than {MAX_PIXELS // 10**6} million; shrink it"
        problem = Problem.TOO_LARGE
    elif is_truncated(data, kind):
        status = f"truncated {kind}: the end of the file is missing; copy it again"
        problem = Problem.TRUNCATED
    return Inspection(digest, width, height, kind, mode in _GREY_MODES, status, problem)


def _other_content(data: bytes) -> str:
    """Return what a file contains that is not an image, and what to do about it."""
    start = data[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        return "pointer of Git LFS instead of the photo; run git lfs pull"
    if b"/annex/objects/" in start and len(data) < len(start) + 64:
        return "pointer of git-annex instead of the photo; run git annex get"
    if start.startswith((b"<!doctype html", b"<html")):
        return "web page instead of a photo; save the image itself"
    if start.startswith((b"<?xml", b"{")):
        return "message of a server instead of a photo; download it again"
    if not data.strip(b"\0"):
        return "only zeros instead of a photo, as after an interrupted copy; copy it again"
    return "not a readable image; replace it"


def _unsupported(kind: str) -> str:
    return f"{kind} is not supported; convert it to JPEG or PNG"


def set_aside(status: str, problem: Problem = Problem.UNREADABLE, digest: str = "") -> Inspection:
    """Return the inspection of a photo that is set aside and whose size is unknown."""
    return Inspection(digest, 0, 0, "", grey=False, status=status, problem=problem)


def is_truncated(data: bytes, kind: str) -> bool:
    """Return whether an image file is truncated, judging by its structure without decoding it.

    JPEG (ITU-T T.81): the end marker must follow the first scan; entropy-coded data cannot
    contain it, since every 0xFF there is followed by 0x00 or a restart marker. PNG: the IEND
    chunk must be complete. WebP (RIFF): the file must have the size that its header states. Other
    formats are left to the decoder.
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
    """Return the offset of the first start-of-scan marker, skipping embedded thumbnails."""
    offset = 2
    while offset + 4 <= len(data):
        marker, length = struct.unpack_from(">HH", data, offset)
        if marker == 0xFFDA:
            break
        offset += 1 if marker == 0xFFFF else 2 + length
    return offset


def _gif_pixels(data: bytes) -> int:
    """Return the number of pixels of all frames of a GIF (GIF89a), judging by its structure."""
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
    """Return the size in bytes of the palette that the flags at an offset announce."""
    flags = data[offset] if offset < len(data) else 0
    return int(3 << ((flags & 7) + 1)) if flags & 0x80 else 0
