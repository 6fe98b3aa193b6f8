"""Thumbnails: small, and never a reason to fail."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import UserError
from pipeline.files import object_store, places
from pipeline.pixels import thumbnails
from pipeline.pixels.decoding import InputSpec
from tests.support.objects import Fault, Objects
from tests.support.photos import PhotoMaker

SPEC = InputSpec(224, 224)


def test_a_picture_is_small_and_stands_in_the_page(tmp_path: Path, make_photo: PhotoMaker) -> None:
    (uri,) = thumbnails.data_uris([make_photo(tmp_path / "a.jpg", size=(1200, 800))], SPEC)
    kind, _, data = uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.size == (96, 64)
    assert len(uri) < 10_000


def test_damaged_and_missing_files_have_no_picture(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    paths = [tmp_path / "broken.jpg", tmp_path / "none.jpg"]
    assert thumbnails.data_uris(paths, SPEC) == ["", ""]
    assert thumbnails.pixels(paths, 8, SPEC) == [None, None]


def test_every_kind_of_photo_has_a_picture(tmp_path: Path, make_photo: PhotoMaker) -> None:
    paths = [make_photo(tmp_path / f"a.{kind}") for kind in ("jpg", "png", "gif", "bmp", "webp")]
    for mode in ("L", "LA", "P", "RGBA", "I;16", "CMYK"):
        suffix = "jpg" if mode == "CMYK" else "png"
        Image.new(mode, (20, 10)).save(tmp_path / f"{mode[0]}{len(mode)}.{suffix}")
        paths.append(tmp_path / f"{mode[0]}{len(mode)}.{suffix}")
    assert all(thumbnails.data_uris(paths, SPEC))


def test_pixels_are_the_means_of_squares(tmp_path: Path) -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32, :32] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (small,) = thumbnails.pixels([tmp_path / "a.png"], 2, SPEC)
    assert small is not None
    assert small[..., 0].tolist() == [[255, 0], [0, 0]]


def test_a_store_that_fails_is_not_taken_for_damaged_photos(
    tmp_path: Path, make_photo: PhotoMaker, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "WAIT_S", 0)
    objects.put("1.jpg", make_photo(tmp_path / "1.jpg").read_bytes())
    photo_paths = [places.parse(objects.url) / name for name in ("1.jpg", "none.jpg")]
    (uri, missing) = thumbnails.data_uris(photo_paths, SPEC)
    assert uri == thumbnails.data_uris([tmp_path / "1.jpg"], SPEC)[0]
    assert missing == ""
    objects.faults = [Fault("GET .*", 500)]
    objects.requests.clear()
    with pytest.raises(UserError, match="cannot be read in 5 attempts"):
        thumbnails.pixels(photo_paths[:1] * 100, 8, SPEC)
    assert len(objects.requests) < 100
