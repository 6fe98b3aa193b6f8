"""The sample photos: handwritten digits."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from pipeline.photos import samples


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("samples") / "digits"
    samples.write_digits(directory)
    return directory


def test_each_digit_has_a_folder(digits: Path) -> None:
    assert sorted(path.name for path in digits.iterdir()) == list("0123456789")


def test_all_scans_are_written(digits: Path) -> None:
    names = sorted(path.name for path in digits.glob("*/*"))
    assert names == [f"{number:04}.png" for number in range(1797)]
    assert samples.COUNT == 1797


def test_each_scan_is_a_small_grey_png(digits: Path) -> None:
    for path in digits.glob("*/*"):
        with Image.open(path) as image:
            assert (image.format, image.size, image.mode) == ("PNG", (64, 64), "L")


@pytest.mark.parametrize("number", [0, 1, 900, 1796])
def test_a_photo_shows_its_scan(digits: Path, number: int) -> None:
    scans = load_digits()
    with Image.open(digits / str(scans.target[number]) / f"{number:04}.png") as image:
        blocks = np.asarray(image).reshape(8, 8, 8, 8).transpose(0, 2, 1, 3).reshape(8, 8, 64)
    assert (blocks.min(axis=2) == blocks.max(axis=2)).all()
    assert np.abs(blocks[..., 0] - scans.images[number] / 16 * 255).max() <= 0.5


def test_digits_that_are_there_already_are_kept(tmp_path: Path) -> None:
    (tmp_path / "digits" / "0").mkdir(parents=True)
    samples.write_digits(tmp_path / "digits")
    assert [path.name for path in (tmp_path / "digits").iterdir()] == ["0"]
