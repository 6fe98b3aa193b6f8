"""Batches of distorted photos."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.fine_tuning.batches import TrainingPhotos, enlarged_size
from pipeline.fine_tuning.photo_cache import PhotoCache
from pipeline.pixels import augmentation
from pipeline.pixels.augmentation import Augmentation
from pipeline.pixels.decoding import InputSpec
from tests.support.photos import PhotoMaker

SPEC = InputSpec(16, 20)


@pytest.fixture
def training(make_photo: PhotoMaker, tmp_path: Path) -> TrainingPhotos:
    photos = [make_photo(tmp_path / "photos" / f"{i}.png", i, i) for i in range(10)]
    distortions = Augmentation(augmentations=1, flip_left_right=True, random_crop=25)
    size = enlarged_size(SPEC, distortions)
    cache = PhotoCache(photos, [""] * 10, SPEC, size, tmp_path, 10**6)
    cache.fill()
    digests = [f"{i:064x}" for i in range(10)]
    return TrainingPhotos(cache, digests, np.arange(10), SPEC, distortions, 4, 0)


def test_each_epoch_has_another_order_and_other_distortions(training: TrainingPhotos) -> None:
    epochs = [list(training.batches(epoch)) for epoch in range(2)]
    for batches in epochs:
        assert [pixels.shape for pixels, _ in batches] == [(4, 16, 20, 3)] * 2
        assert len(np.unique(np.concatenate([classes for _, classes in batches]))) == 8
    orders = [np.concatenate([classes for _, classes in batches]) for batches in epochs]
    assert list(orders[0]) != list(orders[1])
    by_class = [
        {int(c): p for pixels, classes in batches for p, c in zip(pixels, classes, strict=True)}
        for batches in epochs
    ]
    common = by_class[0].keys() & by_class[1].keys()
    assert any(not np.array_equal(by_class[0][c], by_class[1][c]) for c in common)


def test_a_resumed_epoch_continues_with_the_same_batches(training: TrainingPhotos) -> None:
    whole, rest = list(training.batches(3)), list(training.batches(3, first=1))
    assert len(rest) == 1
    np.testing.assert_array_equal(whole[1][0], rest[0][0])
    np.testing.assert_array_equal(whole[1][1], rest[0][1])
    assert list(training.batches(3, first=2)) == []


def test_a_photo_is_distorted_like_its_augmented_copy(training: TrainingPhotos) -> None:
    pixels, classes = next(training.batches(0))
    photo = Path(training.cache._paths[classes[0]]).read_bytes()
    seed = augmentation.seed(training.digests[classes[0]], 1)
    copy = augmentation.decode(photo, SPEC, training.distortions, seed).numpy()
    assert np.abs(pixels[0] - copy).max() <= 0.5 / 255 + 1e-6
