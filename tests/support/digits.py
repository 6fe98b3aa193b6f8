"""Digits, for tests and benchmarks that need many small pictures unlike photographs."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def write_digits(directory: Path) -> None:
    """Write scikit-learn's 1,797 scanned digits, 64 x 64 pixels: `0/0000.png` and so on.

    E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
    Repository, 1998; its test set, 8 x 8 pixels in 17 shades of grey.
    """
    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        folder = directory / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        large = np.kron(pixels * (255 / 16), np.ones((8, 8)))
        Image.fromarray(large.round().astype(np.uint8)).save(folder / f"{number:04}.png")
