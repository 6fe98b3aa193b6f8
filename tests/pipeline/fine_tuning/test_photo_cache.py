"""Decoded photos, cached within a budget."""

import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.fine_tuning.photo_cache import PhotoCache
from pipeline.pixels import decoding
from pipeline.pixels.decoding import InputSpec
from tests.support.photos import PhotoMaker

SPEC = InputSpec(8, 8)
BYTES = 10 * 12 * 3


def paths(folder: Path, make_photo: PhotoMaker) -> list[Path]:
    return [make_photo(folder / f"{i}.jpg", i, i) for i in range(5)]


@pytest.mark.parametrize("budget", [0, 3 * BYTES, 100 * BYTES])
def test_photos_are_the_same_with_any_budget(
    budget: int, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    photos = paths(tmp_path / "photos", make_photo)
    cache = PhotoCache(photos, [""] * 5, SPEC, (10, 12), tmp_path, budget)
    cache.fill()
    assert cache.cached == min(5, budget // BYTES)
    indices = np.array([4, 0, 3])
    for index, pixels in zip(indices, cache.read(indices), strict=True):
        expected = decoding.decode(photos[index].read_bytes(), SPEC, np.array([10, 12], np.int32))
        assert pixels.dtype == np.uint8
        assert np.abs(pixels / 255 - expected).max() <= 0.5 / 255 + 1e-6
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]  # the file has no name


def test_photos_are_cached_where_no_space_can_be_reserved(
    make_photo: PhotoMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate")  # as on macOS
    photos = paths(tmp_path / "photos", make_photo)
    cache = PhotoCache(photos, [""] * 5, SPEC, (10, 12), tmp_path, 10**6)
    cache.fill()
    assert [pixels.shape for pixels in cache.read(np.arange(5))] == [(10, 12, 3)] * 5


def test_a_changed_photo_is_named(make_photo: PhotoMaker, tmp_path: Path) -> None:
    photos = paths(tmp_path / "photos", make_photo)
    cache = PhotoCache(photos, ["0" * 64] * 5, SPEC, (8, 8), tmp_path, 10**6)
    with pytest.raises(UserError, match=r"0\.jpg changed during the run"):
        cache.fill()
