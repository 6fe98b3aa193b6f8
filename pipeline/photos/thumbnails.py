"""Thumbnails of photos, for comparing them and for the pages."""

import base64
import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from pipeline.files.places import Place
from pipeline.photos import sources
from pipeline.photos.inspection import READABLE

SIDE = 96  # pixels of the longer side on a page
_QUALITY = 60  # about 2 KB per thumbnail


def data_uris(paths: Iterable[Place]) -> list[str]:
    """Return JPEGs of at most 96 x 96 pixels as data URIs; empty for photos that are unreadable.

    Like the module's input, thumbnails ignore the EXIF orientation.

    Raises:
        UserError: if an object store fails.
    """
    with ThreadPoolExecutor() as threads:
        return list(threads.map(_data_uri, paths))


def pixels(paths: Iterable[Place], side: int) -> list[np.ndarray | None]:
    """Return photos resized to uint8 [side, side, 3]; None for photos that cannot be decoded.

    Raises:
        UserError: if an object store fails.
    """
    with ThreadPoolExecutor() as threads:
        return list(threads.map(lambda path: _pixels(path, side), paths))


def _data_uri(path: Place) -> str:
    image = _open(path, SIDE)
    if image is None:
        return ""
    image.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _pixels(path: Place, side: int) -> np.ndarray | None:
    image = _open(path, 4 * side)  # a smaller size would shift the image by fractions of a pixel
    if image is None:
        return None
    from PIL import Image

    return np.asarray(image.resize((side, side), Image.Resampling.BOX))


def _open(path: Place, side: int) -> Any:
    """Return a Pillow image in RGB of at least `side` pixels if possible, or None if damaged."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # the manifest sets larger photos aside
    try:
        content = sources.read(path)
    except OSError:
        return None
    try:
        with Image.open(io.BytesIO(content), formats=READABLE) as image:
            image.draft("RGB", (side, side))
            transparent = "transparency" in image.info
            return (image.convert("RGBA") if transparent else image).convert("RGB")
    except Exception:  # Pillow raises all kinds of exceptions for damaged files
        return None
