"""Sizes of files and folders."""

import os
from pathlib import Path

from pipeline.files import disk_usage


def test_a_hard_link_counts_once(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "serving").mkdir()
    (tmp_path / "models/weights").write_bytes(b"12345")
    os.link(tmp_path / "models/weights", tmp_path / "serving/weights")
    assert disk_usage.total_bytes(tmp_path) == 5


def test_the_size_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"12345")
    assert disk_usage.total_bytes(tmp_path / "weights") == 5
