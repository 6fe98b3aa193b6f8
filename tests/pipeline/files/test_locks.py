"""Locks between processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.files import locks

HOLD = (
    "import sys, pathlib; from pipeline.files import locks\n"
    "with locks.{kind}(pathlib.Path(sys.argv[1])) as held:\n"
    "    print(held is not None, flush=True); sys.stdin.read()\n"
)


def started(kind: str, path: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", HOLD.format(kind=kind), str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **pipes)  # type: ignore[call-overload,no-any-return]


def holder(kind: str, path: Path) -> "subprocess.Popen[str]":
    process = started(kind, path)
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def test_only_one_process_holds_a_lock_alone_and_a_killed_one_gives_it_back(tmp_path: Path) -> None:
    path = tmp_path / "new/folder/a.lock"
    with holder("try_exclusive", path) as other:
        with locks.try_exclusive(path) as held:
            assert held is None
        other.kill()
    with locks.try_exclusive(path) as held:
        assert held is not None


def test_a_lock_that_is_shared_cannot_be_held_alone(tmp_path: Path) -> None:
    with holder("shared", tmp_path / "a.lock") as other:
        with locks.shared(tmp_path / "a.lock"), locks.try_exclusive(tmp_path / "a.lock") as held:
            assert held is None
        other.kill()


def test_whoever_takes_a_turn_waits_for_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with holder("try_exclusive", path) as other:
        waiting = started("exclusive", path)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(1)
        other.kill()
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "False\n"
    waiting.communicate()
