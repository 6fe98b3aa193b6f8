"""Small pictures of photos: to compare them with, and to show on a page."""

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
_QUALITY = 60  # some 2 KB each


def data_uris(paths: Iterable[Place]) -> list[str]:
    """JPEGs of at most 96 x 96 pixels, as they stand in a page; empty where there is no picture.

    As the module sees the photos: EXIF orientation is not honoured.

    Raises:
        UserError: where a store fails.
    """
    with ThreadPoolExecutor() as threads:
        return list(threads.map(_data_uri, paths))


def pixels(paths: Iterable[Place], side: int) -> list[np.ndarray | None]:
    """Photos squeezed to uint8 [side, side, 3]; None where one cannot be decoded.

    Raises:
        UserError: where a store fails.
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
    image = _open(path, 4 * side)  # less would move the picture by parts of a pixel
    if image is None:
        return None
    from PIL import Image

    return np.asarray(image.resize((side, side), Image.Resampling.BOX))


def _open(path: Place, side: int) -> Any:
    """A Pillow image in RGB of at least `side` pixels, if the photo has them; None if damaged."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # the manifest has set aside what is too large
    try:
        content = sources.read(path)
    except OSError:
        return None
    try:
        with Image.open(io.BytesIO(content), formats=READABLE) as image:
            image.draft("RGB", (side, side))
            transparent = "transparency" in image.info
            return (image.convert("RGBA") if transparent else image).convert("RGB")
    except Exception:  # Pillow's readers raise anything at all on damaged files
        return None
