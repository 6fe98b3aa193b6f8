"""Why a photo is used or set aside: its digest, its header and the status that follows."""

import hashlib
import io
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import reraise_exhausted

OK = "ok"

# What TensorFlow's decode_image reads, and so training and serving alike.
READABLE = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
_RECOGNISED = (*READABLE, "TIFF", "AVIF")  # the others get named when they are set aside
_HEIC = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypmsf1", b"ftyphevc")
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "F")  # Pillow's names

MAX_BYTES = 256 * 2**20
MAX_PIXELS = 100_000_000  # 100 megapixels decode to 300 MB; more is a mistake or an attack


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
        reraise_exhausted(error)
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
        reraise_exhausted(error)
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
