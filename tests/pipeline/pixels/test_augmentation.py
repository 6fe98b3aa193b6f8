"""Distorted copies: each does what its option says, and the same each time."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.pixels import augmentation, decoding
from pipeline.pixels.augmentation import Augmentation
from pipeline.pixels.decoding import InputSpec
from tests.support.photos import PhotoMaker

SIZE = (32, 40)  # pixels of the copies: height, width
DIGESTS = [hashlib.sha256(bytes([number])).hexdigest() for number in range(40)]
SEEDS = [augmentation.seed(digest, 1) for digest in DIGESTS]


@pytest.fixture
def encoded(tmp_path: Path, make_photo: PhotoMaker) -> bytes:
    return make_photo(tmp_path / "photo.png", size=(40, 32)).read_bytes()


def copies(encoded: bytes, **options: int) -> np.ndarray:
    how = Augmentation(augmentations=1, **options)  # type: ignore[arg-type]
    return np.stack(
        [augmentation.decode(encoded, InputSpec(*SIZE), how, seed).numpy() for seed in SEEDS]
    )


def photo(encoded: bytes) -> np.ndarray:
    pixels: np.ndarray = decoding.decode(encoded, InputSpec(*SIZE)).numpy()
    return pixels


def test_a_flip_mirrors_about_half_of_the_copies_and_leaves_the_others(encoded: bytes) -> None:
    original = photo(encoded)
    kept = [np.array_equal(copy, original) for copy in copies(encoded, flip_left_right=True)]
    mirrored = [
        np.array_equal(copy, original[:, ::-1]) for copy in copies(encoded, flip_left_right=True)
    ]
    assert sum(kept) + sum(mirrored) == len(SEEDS)
    assert 10 <= sum(mirrored) <= 30


def test_brightness_multiplies_within_its_percentage(encoded: bytes) -> None:
    original = photo(encoded)
    inside = (original > 0) & (original < 0.7)  # what is brighter may be cut off at 1
    factors = [
        (copy[inside] / original[inside]).mean() for copy in copies(encoded, random_brightness=30)
    ]
    assert 0.7 <= min(factors) < 0.8
    assert 1.2 < max(factors) <= 1.3


def test_copies_stay_between_0_and_1(encoded: bytes) -> None:
    several = copies(encoded, random_brightness=100, random_rotation=180, random_scale=100)
    assert several.min() >= 0
    assert several.max() == 1
    assert several.shape[1:] == (*SIZE, 3)
    assert several.dtype == np.float32


def test_a_crop_shows_a_part_of_the_photo_scaled_up() -> None:
    import tensorflow as tf

    ramp = np.repeat(np.arange(40, dtype=np.uint8)[None, :, None] * 6, 32, axis=0)
    encoded = tf.io.encode_png(np.repeat(ramp, 3, axis=2)).numpy()
    original = photo(encoded)[0, :, 0]
    whole_range = original[-1] - original[0]
    ranges = []
    for copy in copies(encoded, random_crop=100):
        row = copy[0, :, 0]
        assert (np.diff(row) >= 0).all()
        ranges.append((row[-1] - row[0]) / whole_range)
    assert 0.45 < min(ranges) <= max(ranges) < 0.55  # twice as large: half of it is seen


def test_scaling_varies_from_nothing_to_its_percentage() -> None:
    import tensorflow as tf

    ramp = np.repeat(np.arange(40, dtype=np.uint8)[None, :, None] * 6, 32, axis=0)
    encoded = tf.io.encode_png(np.repeat(ramp, 3, axis=2)).numpy()
    original = photo(encoded)[0, :, 0]
    seen = [np.ptp(c[0, :, 0]) / np.ptp(original) for c in copies(encoded, random_scale=100)]
    assert 0.45 < min(seen) < 0.6
    assert 0.85 < max(seen) <= 1


def test_a_rotation_turns_around_the_middle_to_both_sides() -> None:
    import tensorflow as tf

    pixels = np.zeros((33, 33, 3), np.uint8)
    pixels[15:18, 15:18] = 255
    pixels[15:18, 28:31] = 255  # a mark to the right of the middle
    encoded = tf.io.encode_png(pixels).numpy()
    how = Augmentation(augmentations=1, random_rotation=90)
    heights = []
    for seed in SEEDS:
        copy = augmentation.decode(encoded, InputSpec(33, 33), how, seed).numpy()[..., 0]
        assert copy[16, 16] > 0.99
        copy[12:21, 12:21] = 0
        heights.append(np.argmax(copy.max(1)) - 16)
        assert abs(np.argmax(copy.max(0)) - 16) <= 14
    assert min(heights) < -8
    assert max(heights) > 8


def test_the_seed_alone_decides(encoded: bytes) -> None:
    how = Augmentation(1, True, 20, 20, 20, 20)

    def decode(seed: np.ndarray) -> np.ndarray:
        pixels: np.ndarray = augmentation.decode(encoded, InputSpec(*SIZE), how, seed).numpy()
        return pixels

    assert np.array_equal(decode(SEEDS[0]), decode(SEEDS[0]))
    assert not np.array_equal(decode(SEEDS[0]), decode(SEEDS[1]))
    assert not np.array_equal(decode(SEEDS[0]), decode(augmentation.seed(DIGESTS[0], 2)))


def test_inside_tf_data_the_pixels_are_the_same(encoded: bytes) -> None:
    import tensorflow as tf

    how = Augmentation(1, True, 20, 20, 20, 20)
    files = tf.data.Dataset.from_tensor_slices(([encoded] * 3, np.stack(SEEDS[:3])))
    mapped = files.map(lambda e, seed: augmentation.decode(e, InputSpec(*SIZE), how, seed))
    for pixels, seed in zip(mapped, SEEDS, strict=False):
        expected = augmentation.decode(encoded, InputSpec(*SIZE), how, seed)
        np.testing.assert_allclose(pixels.numpy(), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"augmentations": -1}, "augmentations is -1; it must be from 0 to 100"),
        ({"augmentations": 1, "random_crop": 101}, "random_crop is 101; it must be from 0 to 100"),
        ({"augmentations": 1, "random_rotation": 181}, "must be from 0 to 180"),
        ({"flip_left_right": True}, "augmentations is 0; set it to the number"),
        ({"augmentations": 4}, "no distortion is set"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Augmentation(**options)  # type: ignore[arg-type]


def test_the_key_is_of_how_copies_are_made_not_of_how_many() -> None:
    assert Augmentation(1, True).key == Augmentation(4, True).key
    assert Augmentation(1, True).key != Augmentation(1, random_crop=10).key
