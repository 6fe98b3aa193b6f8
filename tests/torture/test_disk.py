"""A disk that is full or read-only: one line, nothing lost, and the rerun completes."""

import os
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.files import disk_usage
from tests.support.photos import PhotoMaker
from tests.support.processes import (
    TIMEOUT_S,
    Pipeline,
    add_night,
    kill,
    results,
    table,
    temporaries,
)

FULL, READ_ONLY = "No space left on device", "Read-only file system"
SECONDS = 5.0  # of a run, about


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system whose size and mode can be changed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=50m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may mount a small file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def remount(disk: Path, options: str) -> bool:
    command = ["mount", "-o", f"remount,{options}", str(disk)]
    return subprocess.run(command, capture_output=True).returncode == 0


def refused(code: int, output: str, *reasons: str) -> bool:
    """Return whether the run failed; check that each error is one line with its reason."""
    assert code in (0, 30), output
    if code:
        assert "Traceback" not in output, output
        errors = [line for line in output.splitlines() if line.startswith("ERROR: ")]
        assert errors
        for line in errors:
            assert any(reason in line for reason in reasons), line
            assert "run again: finished work is kept" in line
    return bool(code)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "reason"),
    [("size=200k", FULL), ("ro", READ_ONLY)],  # so that TensorFlow writes the last file
)
def test_a_run_that_cannot_write_says_so_and_the_next_one_ends_well(
    pipeline: Pipeline, small_disk: Path, option: str, reason: str
) -> None:
    out = small_disk / "out"
    assert remount(small_disk, option)
    failed = pipeline.run(out)
    assert refused(failed.returncode, failed.stderr, reason)
    assert f"{small_disk}" in failed.stderr
    assert remount(small_disk, "rw,size=50m")
    assert pipeline.run(out).returncode == 0
    assert temporaries(out) == []


def fill(disk: Path) -> None:
    """Fill the disk, like another program."""
    with suppress(OSError), (disk / "other").open("wb", buffering=0) as other:
        while other.write(bytes(4096)) == 4096:
            pass


def turn_read_only(disk: Path) -> None:
    """Remount the disk read-only, as the kernel does after an error."""
    while not remount(disk, "ro"):  # refused while a file is being written
        pass


@pytest.mark.torture
def test_a_disk_that_fills_up_or_turns_read_only_at_any_moment(
    pipeline: Pipeline, small_disk: Path, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    trials, seed = int(os.environ.get("DISKS", "30")), int(os.environ.get("SEED", "1"))
    generator, out, ended = random.Random(seed), small_disk / "out", Counter[tuple[str, str]]()
    add_night(pipeline.image_dir, make_photo)
    assert pipeline.run(tmp_path / "undisturbed").returncode == 0
    expected = results(tmp_path / "undisturbed")
    needed = disk_usage.total_bytes(tmp_path / "undisturbed") // 1024
    befalls = {"filled by another program": fill, "turned read-only": turn_read_only}
    for number in range(trials):
        how = ["too small", *befalls][number % 3]
        if how == "too small":
            assert remount(small_disk, f"size={generator.randrange(4, needed, 4)}k")
        process = pipeline.start(out)
        try:
            if how in befalls:
                time.sleep(generator.random() * SECONDS)
                befalls[how](small_disk)
            process.wait(TIMEOUT_S)
        finally:
            kill(process)
        failed = refused(process.returncode, pipeline.output(), FULL, READ_ONLY)
        assert remount(small_disk, "rw,size=50m")
        (small_disk / "other").unlink(missing_ok=True)
        again = pipeline.run(out)
        assert again.returncode == 0, again.stderr
        assert "amaged" not in again.stderr
        assert results(out) == expected, how
        assert temporaries(out) == []
        shutil.rmtree(out)
        ended[how, "one line, exit code 30" if failed else "was done before"] += 1
    rows = [(how, what, count, count) for (how, what), count in sorted(ended.items())]
    head = ("disk", "the run", "trials", "the rerun ended as undisturbed")
    table(f"Disks: {trials} trials", head, [*rows])
