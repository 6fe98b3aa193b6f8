"""A disk that is full or read-only: one line, and the next run ends well."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.torture.conftest import Pipeline, temporaries


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 KB, too small for a model."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may mount a small file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "reason"),
    [("size=4k", "No space left on device"), ("ro", "Read-only file system")],
)
def test_a_run_that_cannot_write_says_so_and_the_next_one_ends_well(
    pipeline: Pipeline, small_disk: Path, option: str, reason: str
) -> None:
    out = small_disk / "out"
    subprocess.run(["mount", "-o", f"remount,{option}", str(small_disk)], check=True)
    failed = pipeline.run(out)
    assert failed.returncode == 30
    assert "Traceback" not in failed.stderr
    assert reason in failed.stderr
    assert "run again: what is done is kept" in failed.stderr
    subprocess.run(["mount", "-o", "remount,rw,size=50m", str(small_disk)], check=True)
    assert pipeline.run(out).returncode == 0
    assert temporaries(out) == []
