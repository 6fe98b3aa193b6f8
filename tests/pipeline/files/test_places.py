"""Paths and URLs, and output folders that must exist."""

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
