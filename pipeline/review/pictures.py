"""Pictures for the review page: photos as small JPEGs, without their metadata."""

import io
import threading

from pipeline.errors import UserError, reraise_exhausted
from pipeline.files.places import Place
from pipeline.photos import inspection, sources

LARGE, SMALL = 1200, 240  # pixels of the longer side
_QUALITY = 85
_decoding = threading.Semaphore(2)  # a photo of 100 megapixels takes 300 MB


def jpeg(place: Place, side: int) -> bytes | None:
    """Return a photo as a JPEG of at most `side` pixels; None if it cannot be decoded.

    Whatever a file contains, a browser gets a JPEG of its pixels: no metadata, no other format.
    """
    from PIL import Image, ImageOps

    try:
        content = io.BytesIO(sources.read(place))
        with _decoding, Image.open(content, formats=inspection.READABLE) as photo:
            photo.draft("RGB", (side, side))
            photo.thumbnail((side, side))
            upright = ImageOps.exif_transpose(photo).convert("RGBA")
            picture = Image.new("RGB", upright.size, "white")
            picture.paste(upright, mask=upright)
            file = io.BytesIO()
            picture.save(file, "JPEG", quality=_QUALITY)
    except UserError:
        return None
    except Exception as error:  # Pillow raises all kinds of exceptions for damaged files
        reraise_exhausted(error)
        return None
    return file.getvalue()
