"""Paths and URLs, and output folders that must exist."""

import unicodedata
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.files import places


def test_a_file_url_is_a_path() -> None:
    assert places.parse("file:///photos/a%20b") == Path("/photos/a b")


def test_an_existing_output_folder_is_returned(tmp_path: Path) -> None:
    assert places.existing_output(tmp_path) == tmp_path


def test_a_mistyped_output_folder_is_named_and_not_created(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"there is no folder {tmp_path}/none; pass the OUTPUT_DIR"):
        places.existing_output(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_folder_is_inside_another_whatever_links_lead_there(tmp_path: Path) -> None:
    (tmp_path / "photos/rose").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "photos/rose")
    for inside in ("photos", "photos/out", "photos/rose/out/deep", "link/out", "x/../photos/out"):
        assert places.is_inside(tmp_path / inside, tmp_path / "photos"), inside
    for outside in ("photos2", "out", "photos/../out"):
        assert not places.is_inside(tmp_path / outside, tmp_path / "photos"), outside
    bucket = places.parse("s3://bucket/photos")
    assert places.is_inside(places.parse("s3://bucket/photos/out"), bucket)
    assert not places.is_inside(places.parse("s3://bucket/photos2"), bucket)
    assert not places.is_inside(tmp_path, bucket)


@pytest.mark.parametrize(("stored", "typed"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_accents_are_as_on_the_disk_however_they_are_typed(
    tmp_path: Path, stored: str, typed: str
) -> None:
    folder = tmp_path / unicodedata.normalize(stored, "Stra\u00dfe \u00e9t\u00e9")
    folder.mkdir()
    text = f"{tmp_path}/{unicodedata.normalize(typed, folder.name)}"
    assert places.parse(text) == folder
    assert places.parse(f"{text}/new/caf\u00e9") == folder / "new/caf\u00e9"
