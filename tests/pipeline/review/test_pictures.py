"""Pictures of the review page."""

import io
from pathlib import Path

import pytest
from PIL import Image

from pipeline.review import pictures
from tests.support.photos import PhotoMaker


def test_a_picture_is_a_small_upright_jpeg_without_metadata(tmp_path: Path) -> None:
    photo = Image.new("RGB", (3000, 1500), "red")
    exif = photo.getexif()
    exif[0x0112], exif[0x010E] = 6, "where I live"  # orientation, description
    photo.save(tmp_path / "photo.jpg", exif=exif)
    content = pictures.jpeg(tmp_path / "photo.jpg", pictures.LARGE)
    assert content
    assert b"where I live" not in content
    assert Image.open(io.BytesIO(content)).size == (600, 1200)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "WEBP"])
def test_every_format_is_shown_as_jpeg(tmp_path: Path, make_photo: PhotoMaker, kind: str) -> None:
    photo = make_photo(tmp_path / "photo", kind=kind)
    content = pictures.jpeg(photo, pictures.SMALL)
    assert content
    assert Image.open(io.BytesIO(content)).format == "JPEG"


def test_what_is_no_photo_has_no_picture(tmp_path: Path, make_photo: PhotoMaker) -> None:
    (tmp_path / "script.jpg").write_text("<script>alert(1)</script>")
    assert pictures.jpeg(tmp_path / "script.jpg", pictures.SMALL) is None
    assert pictures.jpeg(tmp_path / "gone.jpg", pictures.SMALL) is None
    assert pictures.jpeg(make_photo(tmp_path / "photo.ppm"), pictures.SMALL) is None
