"""Sample photos for a first run: the handwritten digits that scikit-learn includes."""

from pathlib import Path

from pipeline.files import atomic

COUNT = 1797
_SCALE = 8  # 8 x 8 pixels are written as 64 x 64


def write_digits(directory: Path) -> None:
    """Write scanned digits as PNG files, one folder per digit: `0/0000.png` and so on.

    E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
    Repository, 1998; the 1,797 of its test set, 8 x 8 pixels in 17 shades of grey.
    """
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    with atomic.write(directory) as temporary:
        for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
            folder = temporary / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            large = np.kron(pixels * (255 / 16), np.ones((_SCALE, _SCALE)))
            Image.fromarray(large.round().astype(np.uint8)).save(folder / f"{number:04}.png")
