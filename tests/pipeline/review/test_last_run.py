"""The last run of the data checks."""

import os
import shutil
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.review import last_run


def test_the_manifest_is_the_newest_with_these_photos(checked: Path, photo_dir: Path) -> None:
    manifests = checked / "manifests"
    shutil.copy(manifests / "0123456789ab.parquet", manifests / "ba9876543210.parquet")
    os.utime(manifests / "0123456789ab.parquet", (0, 0))
    (manifests / "damaged.parquet").write_text("damaged")
    run = last_run.find(checked)
    assert run.image_dir == photo_dir
    assert len(run.photos) == 48
    assert list(run.findings["kind"].unique()) == ["leak", "label", "small_class"]


def test_without_findings_the_message_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no findings in .*make check"):
        last_run.find(tmp_path)
