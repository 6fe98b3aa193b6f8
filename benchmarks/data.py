"""Photos for the benchmarks, generated from files of installed packages."""

from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.photos.listing import list_photos
from tests.support.digits import write_digits


def crops(directory: Path, count: int = 400) -> Path:
    """Write photographs of 500 x 375 pixels: crops of two photographs of scikit-image."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    sources = [Image.open(folder / f"{name}.png").convert("RGB") for name in ("chelsea", "coffee")]
    generator = np.random.default_rng(0)
    for number in range(count):
        source = sources[number % len(sources)]
        width = int(generator.integers(150, source.width))
        height = min(width * 3 // 4, source.height)
        left = int(generator.integers(0, source.width - width + 1))
        top = int(generator.integers(0, source.height - height + 1))
        crop = source.crop((left, top, left + width, top + height)).resize((500, 375))
        path = directory / str(number % len(sources)) / f"{number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        crop.save(path, quality=90)
    return directory


def tiny(directory: Path) -> Path:
    """Write scanned digits, 64 x 64 pixels."""
    write_digits(directory)
    return directory


def enlarged(image_dir: Path, directory: Path, count: int = 200, pixels: float = 12e6) -> Path:
    """Write an even sample of the photos of `image_dir`, scaled up to 12 megapixels."""
    paths = list(list_photos(image_dir).photos["path"])
    for path in paths[:: max(1, len(paths) // count)][:count]:
        with Image.open(image_dir / path) as photo:
            scale = (pixels / (photo.width * photo.height)) ** 0.5
            size = (round(photo.width * scale), round(photo.height * scale))
            target = (directory / path).with_suffix(".jpg")
            target.parent.mkdir(parents=True, exist_ok=True)
            photo.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(target, quality=90)
    return directory


def variations(image_dir: Path, directory: Path, count: int) -> Path:
    """Write `count` different photos, made by cropping those of `image_dir` by a few pixels."""
    listing = list_photos(image_dir).photos
    for number in range(count):
        row = listing.iloc[number % len(listing)]
        margin = number // len(listing)
        target = directory / row["label"] / f"{number:06}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(image_dir / row["path"]) as photo:
            box = (margin, margin // 2, photo.width - margin // 3, photo.height - margin)
            photo.convert("RGB").crop(box).save(target, quality=90)
    return directory
