"""Sample photos for a first run: parts of photographs that scikit-image includes."""

from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import atomic

# Label and function of skimage.data, which documents each photograph. All are in colour or shown as
# such, free of copyright (CC0 or public domain), and need no download.
PHOTOGRAPHS = {
    "astronaut": "astronaut",
    "bricks": "brick",
    "cat": "chelsea",
    "coffee": "coffee",
    "galaxies": "hubble_deep_field",
    "grass": "grass",
    "gravel": "gravel",
    "tissue": "immunohistochemistry",
}
ROWS, COLUMNS = 5, 8


def write_parts(directory: Path) -> None:
    """Cut photographs into 40 parts each, which do not overlap: `cat/cat-00.jpg` and so on.

    Each photograph is a class. Parts of one photograph have much in common, so they are much easier
    to classify than different photographs would be.

    Raises:
        UserError: if scikit-image is not installed.
    """
    try:
        from skimage import data
    except ImportError:
        raise UserError(
            "the sample photos are parts of photographs in scikit-image, which is not installed; "
            "set image_dir to a folder of your own photos, or install scikit-image with: "
            "pip install 'retrain[samples]'"
        ) from None
    from PIL import Image

    with atomic.write(directory) as temporary:
        for label, name in PHOTOGRAPHS.items():
            photograph = Image.fromarray(getattr(data, name)()).convert("RGB")
            width, height = photograph.width // COLUMNS, photograph.height // ROWS
            (temporary / label).mkdir(parents=True)
            for number in range(ROWS * COLUMNS):
                row, column = divmod(number, COLUMNS)
                left, top = column * width, row * height
                part = photograph.crop((left, top, left + width, top + height))
                part.save(temporary / label / f"{label}-{number:02}.jpg", quality=95)
