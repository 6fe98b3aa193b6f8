"""Photos that tests write."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

PhotoMaker = Callable[..., Path]


def write_photo(
    path: Path,
    hue: int = 0,
    seed: int = 0,
    size: tuple[int, int] = (48, 40),
    kind: str | None = None,
) -> Path:
    """Write a photo of noise around one colour; the same arguments give the same bytes.

    Args:
        path: file to write.
        hue: 0 for red, 1 for green, 2 for blue.
        seed: of the noise.
        size: width and height in pixels.
        kind: Pillow's name of the format; None uses the file name.
    """
    generator = np.random.default_rng([hue, seed])
    pixels = generator.integers(0, 60, (size[1], size[0], 3))
    pixels[..., hue % 3] += 150
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path, format=kind)
    return path


def spoil(photo: Path) -> None:
    """Damage a PNG so that only a decoder notices."""
    data = bytearray(photo.read_bytes())
    data[data.index(b"IDAT") + 20] ^= 0xFF
    photo.write_bytes(data)
