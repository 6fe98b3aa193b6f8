"""PruneRuns through the luigi command."""

from pathlib import Path

import pytest

from pipeline.files import locks
from tests.support.commands import luigi

pytestmark = pytest.mark.slow  # every test starts processes


def leftover(out: Path) -> Path:
    """Write a head that no run needs, old enough to be deleted."""
    import os

    path = out / "heads/0123456789ab"
    path.mkdir(parents=True)
    (path / "head.npz").write_bytes(b"old")
    os.utime(path, (0, 0))
    return path


def test_it_only_tells_unless_asked_to_delete(tmp_path: Path) -> None:
    path = leftover(tmp_path)
    done = luigi("PruneRuns", "--output-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"Would delete: 1 in {tmp_path}/heads" in done.stderr
    assert path.exists()
    done = luigi("PruneRuns", "--output-dir", tmp_path, "--delete")
    assert "Deleted: 1 results of earlier runs" in done.stderr
    assert not path.exists()


def test_it_does_not_create_a_mistyped_folder(tmp_path: Path) -> None:
    done = luigi("PruneRuns", "--output-dir", tmp_path / "none", "--delete")
    assert done.returncode == 30
    assert f"there is no folder {tmp_path}/none; pass the OUTPUT_DIR of your runs" in done.stderr
    assert not (tmp_path / "none").exists()


def test_it_leaves_while_a_step_is_at_work(tmp_path: Path) -> None:
    path = leftover(tmp_path)
    with locks.shared(tmp_path / locks.IN_USE):
        done = luigi("PruneRuns", "--output-dir", tmp_path, "--delete")
    assert done.returncode == 30
    assert f"a run is using {tmp_path}; prune later" in done.stderr
    assert "Traceback" not in done.stderr
    assert path.exists()
