"""Unusual and damaged photo files, by what is special about them."""

import base64
import io
import struct
import zlib

import numpy as np
from PIL import Image

SIZE = (48, 40)

# A JPEG of two colours, recoded by `jpegtran -arithmetic`.
_ARITHMETIC = """
/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAYEBQYFBAYGBQYHBwYIChAKCgkJChQODwwQFxQYGBcUFhYaHSUfGhsjHBYWICwg
IyYnKSopGR8tMC0oMCUoKSj/2wBDAQcHBwoIChMKChMoGhYaKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgo
KCgoKCgoKCgoKCgoKCj/yQARCAAQABgDASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/AJ9IOjARUGQHTFP9
IbKAOxZVJrEF1NKp7F8R2lbjT+g9uc2069xIDFoxvJ7/2Q==
"""


def encoded(kind: str, mode: str = "RGB", size: tuple[int, int] = SIZE, **how: object) -> bytes:
    """Encode a picture whose upper left quarter has another colour."""
    file, picture = io.BytesIO(), Image.new("RGB", size, "teal")
    picture.paste("orange", (0, 0, size[0] // 2, size[1] // 2))
    picture.convert(mode).save(file, kind, **how)
    return file.getvalue()


def flipped(data: bytes, offset: int) -> bytes:
    """Flip one bit."""
    changed = bytearray(data)
    changed[offset] ^= 0x10
    return bytes(changed)


def sideways(kind: str) -> bytes:
    """Return the picture stored sideways, with Exif metadata that turns it upright."""
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    with Image.open(io.BytesIO(PNG)) as picture:
        picture.transpose(Image.Transpose.ROTATE_90).save(file, kind, exif=exif)
    return file.getvalue()


def transparent(kind: str) -> bytes:
    """Return the picture with a hidden colour in a transparent corner."""
    file = io.BytesIO()
    with Image.open(io.BytesIO(PNG)) as picture:
        picture = picture.convert("RGBA")
        picture.paste((255, 0, 0, 0), (0, 0, SIZE[0] // 2, SIZE[1] // 2))
        picture.save(file, kind, lossless=True, exact=True)
    return file.getvalue()


def ycck() -> bytes:
    """Return a JPEG with four channels and an Adobe marker for YCCK."""
    data = bytearray(encoded("JPEG", "CMYK"))
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


def deep() -> bytes:
    """Return a PNG with 16 bits per pixel."""
    file = io.BytesIO()
    grey = np.full(SIZE[::-1], 40_000, np.uint16)
    Image.fromarray(grey).save(file, "PNG")
    return file.getvalue()


def animated(kind: str) -> bytes:
    """Return a picture with a second, black frame."""
    return encoded(kind, save_all=True, append_images=[Image.new("RGB", SIZE)])


def png_header(width: int, height: int) -> bytes:
    """Return a PNG whose header states this size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def gif_bomb() -> bytes:
    """Return a GIF with a small first frame, and others of 8,000 x 8,000 pixels."""
    file = io.BytesIO()
    Image.new("P", (8000, 8000)).save(file, "GIF")
    large = file.getvalue()
    frame = large[large.index(b",\0\0\0\0") : -1]
    return encoded("GIF", "P")[:-1] + frame * 2 + b";"


JPEG, PNG = encoded("JPEG"), encoded("PNG")
FILES = {
    "empty": b"",
    "text named .jpg": b"not a photo",
    "web page named .jpg": b"<html>not a photo</html>",
    "message of a server named .jpg": b"<?xml version='1.0'?><Error>NoSuchKey</Error>",
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "git-annex pointer": b"/annex/objects/SHA256E-s9--0.jpg\n",
    "zeros named .jpg": bytes(4096),
    "truncated JPEG": JPEG[:-40],
    "truncated PNG": PNG[:-20],
    "JPEG with a bit flipped in its first bytes": flipped(JPEG, 0),
    "JPEG with a bit flipped in its tables": flipped(JPEG, JPEG.index(b"\xff\xc4") + 5),
    "JPEG with a bit flipped in its pixels": flipped(JPEG, len(JPEG) - 20),
    "PNG with a bit flipped in its pixels": flipped(PNG, PNG.index(b"IDAT") + 10),
    "PNG named .jpg": PNG,
    "JPEG named .png": JPEG,
    "progressive JPEG": encoded("JPEG", progressive=True),
    "arithmetic-coded JPEG": base64.b64decode(_ARITHMETIC),
    "JPEG with an EXIF rotation": sideways("JPEG"),
    "PNG with an EXIF rotation": sideways("PNG"),
    "WebP with an EXIF rotation": sideways("WEBP"),
    "JPEG without its end marker": JPEG[:-2],
    "CMYK JPEG": encoded("JPEG", "CMYK"),
    "YCCK JPEG": ycck(),
    "grey JPEG": encoded("JPEG", "L"),
    "1-bit PNG": encoded("PNG", "1"),
    "16-bit PNG": deep(),
    "PNG with a palette": encoded("PNG", "P"),
    "PNG with alpha": transparent("PNG"),
    "WebP with alpha": transparent("WEBP"),
    "PNG of 1 x 1 pixel": encoded("PNG", size=(1, 1)),
    "PNG of 20,000 x 20,000 pixels": png_header(20_000, 20_000),
    "BMP with a palette": encoded("BMP", "P"),
    "1-bit BMP": encoded("BMP", "1"),
    "WebP": encoded("WEBP"),
    "animated WebP": animated("WEBP"),
    "animated GIF": animated("GIF"),
    "GIF with large later frames": gif_bomb(),
    "TIFF": encoded("TIFF"),
    "AVIF": encoded("AVIF"),
    "HEIC": b"\0\0\0\x18ftypheic" + b"\0" * 64,
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
}
