"""Names that carry a digest, and publication that is whole or not at all."""

import errno
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.files import atomic, locks, naming

SLOW_PUBLISHER = """
import sys
from collections.abc import Callable
from pathlib import Path
from pipeline.files import atomic

with atomic.write(Path(sys.argv[1])) as temporary:
    temporary.mkdir()
    (temporary / "result").write_text("theirs")
    print("inside", flush=True)
    sys.stdin.readline()
"""

LINK_TURNER = """
import sys
from pathlib import Path
from pipeline.files import atomic

link = Path(sys.argv[1])
for turn in range(2000):
    atomic.symlink(link, link.with_name("ba"[turn % 2]))
"""


@pytest.fixture
def dead_pid() -> int:
    """The process number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_digest_is_the_same_in_every_release() -> None:
    assert naming.digest("a", "b") == "0473ef2dc0d3"


def test_a_digest_depends_on_the_order_of_its_parts() -> None:
    assert naming.digest("a", "b") != naming.digest("b", "a")


def test_a_digest_keeps_its_parts_apart() -> None:
    assert naming.digest("a", "b") != naming.digest("ab", "")


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert naming.digest({"a": 1, "b": 2}) == naming.digest({"b": 2, "a": 1})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lite0-v1.2", "lite0-v1.2"),
        ("green leaf", "green_leaf"),
        ("a/../b", "a_.._b"),
        ("..", "other"),
        ("", "other"),
        ("日本", "other"),
        ("-v", "v"),
        ("x" * 99, "x" * 40),
    ],
)
def test_a_slug_keeps_what_is_safe_in_a_file_name(text: str, expected: str) -> None:
    assert naming.slug(text) == expected


@given(st.text())
def test_a_slug_is_a_plain_file_name_for_any_text(text: str) -> None:
    slug = naming.slug(text)
    assert slug
    assert slug.isascii()
    assert not slug.startswith(".")
    assert not set(slug) & set("/\\ \n\0")


def test_nothing_stands_at_the_path_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "result.json"
    with atomic.write(path) as temporary:
        temporary.write_text("{}")
        assert not path.exists()
    assert path.read_text() == "{}"
    assert names(path.parent) == ["result.json"]


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "result"
    path.write_text("old")
    with atomic.write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_file_that_failed_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), atomic.write(tmp_path / "result") as temporary:
        temporary.write_text("half")
        raise error
    assert names(tmp_path) == []


def test_a_directory_that_failed_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError), atomic.write(tmp_path / "result") as temporary:
        (temporary / "deep").mkdir(parents=True)
        (temporary / "deep" / "file").write_text("half")
        raise ValueError
    assert names(tmp_path) == []


def test_what_is_published_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    with atomic.write(tmp_path / "result") as temporary:
        (temporary / "deep").mkdir(parents=True)
        (temporary / "deep/file").write_text("whole")
        (temporary / "link").symlink_to("nowhere")
    result = tmp_path / "result"
    order = (result / "deep/file", result / "deep", result, tmp_path)
    assert synced == [path.stat().st_ino for path in order]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EIO])
def test_folders_need_not_be_synced_where_that_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fsync(file: int) -> None:
        if os.path.samestat(os.fstat(file), tmp_path.stat()):
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    outcome = nullcontext() if code == errno.EINVAL else pytest.raises(OSError)
    with outcome, atomic.write(tmp_path / "result") as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == ["result"]


def test_a_failure_says_what_was_being_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught, atomic.write(tmp_path / "result"):
        raise ValueError
    assert caught.value.__notes__ == [f"while writing {tmp_path / 'result'}"]


def test_a_failure_keeps_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "result"
    path.write_text("old")
    with pytest.raises(ValueError), atomic.write(path) as temporary:
        temporary.write_text("half")
        raise ValueError
    assert path.read_text() == "old"


def test_a_finished_directory_is_kept(tmp_path: Path) -> None:
    for content in ["first", "second"]:
        with atomic.write(tmp_path / "result") as temporary:
            temporary.mkdir()
            (temporary / "file").write_text(content)
    assert (tmp_path / "result" / "file").read_text() == "first"
    assert names(tmp_path) == ["result"]


def test_two_processes_may_publish_the_same_directory(tmp_path: Path) -> None:
    path = tmp_path / "result"
    command = [sys.executable, "-c", SLOW_PUBLISHER, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as slow:
        assert slow.stdout is not None
        assert slow.stdout.readline() == "inside\n"
        with atomic.write(path) as temporary:
            temporary.mkdir()
            (temporary / "result").write_text("ours")
        slow.communicate("go on\n", timeout=30)
    assert slow.returncode == 0
    assert (path / "result").read_text() == "ours"
    assert names(tmp_path) == ["result"]


def test_a_link_is_relative(tmp_path: Path) -> None:
    target = tmp_path / "models" / "abc"
    target.mkdir(parents=True)
    atomic.symlink(tmp_path / "current", target)
    assert (tmp_path / "current").readlink() == Path("models/abc")


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch], ids=["directory", "file"])
def test_a_link_moves_on_to_a_new_target(tmp_path: Path, make: Callable[[Path], None]) -> None:
    for name in ["old", "new"]:
        make(tmp_path / name)
        atomic.symlink(tmp_path / "current", tmp_path / name)
    assert (tmp_path / "current").readlink() == Path("new")
    assert names(tmp_path) == ["current", "new", "old"]


def test_a_link_never_points_nowhere(tmp_path: Path) -> None:
    link = tmp_path / "current"
    for name in ["a", "b"]:
        (tmp_path / name).mkdir()
    atomic.symlink(link, tmp_path / "a")
    with subprocess.Popen([sys.executable, "-c", LINK_TURNER, str(link)]) as turning:
        while turning.poll() is None:
            assert link.is_dir()
    assert turning.returncode == 0


def test_publishing_removes_what_dead_processes_left_in_the_same_folder(
    tmp_path: Path, dead_pid: int
) -> None:
    owner = f"{atomic._machine()}.{dead_pid}"
    (tmp_path / f".result.{owner}.0a1b2c3d.tmp" / "deep").mkdir(parents=True)
    (tmp_path / f".result.{owner}.4e5f6a7b.tmp").symlink_to("nowhere")
    (tmp_path / f".never asked for again.{owner}.0a1b2c3d.tmp").write_text("half")
    with atomic.write(tmp_path / "result") as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == ["result"]


def test_publishing_keeps_what_other_machines_write_until_a_week_has_passed(
    tmp_path: Path, dead_pid: int
) -> None:
    fresh, old = (tmp_path / f".{n}.0123456789ab.{dead_pid}.0a1b2c3d.tmp" for n in ("new", "old"))
    for path in (fresh, old):
        path.write_text("half")
    os.utime(old, (0, time.time() - 8 * 24 * 3600))
    with atomic.write(tmp_path / "result") as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == [fresh.name, "result"]


def test_a_container_of_the_same_name_has_process_numbers_of_its_own(tmp_path: Path) -> None:
    code = "import sys, pathlib; from pipeline.files import atomic; print(atomic.temporary(*map("
    command = [
        "unshare",
        "--pid",
        "--fork",
        sys.executable,
        "-c",
        code + "pathlib.Path, sys.argv[1:])))",
    ]
    told = subprocess.run([*command, str(tmp_path / "r")], capture_output=True, text=True)
    if told.returncode:
        pytest.skip("only root may give a process a number space of its own")
    theirs = Path(re.sub(r"\.1\.", ".999999999.", told.stdout.strip()))  # no such process here
    theirs.write_text("half")
    with atomic.write(tmp_path / "result") as temporary:
        temporary.write_text("whole")
    assert names(tmp_path) == [theirs.name, "result"]


def test_a_temporary_is_known_as_one(tmp_path: Path) -> None:
    with atomic.write(tmp_path / "result") as temporary:
        assert atomic._TEMPORARY.fullmatch(temporary.name)
        temporary.touch()


def test_publishing_keeps_what_live_processes_write(tmp_path: Path) -> None:
    with atomic.write(tmp_path / "result") as one:
        one.write_text("one")
        with atomic.write(tmp_path / "result") as other:
            other.write_text("other")
    assert (tmp_path / "result").read_text() == "one"


@pytest.mark.parametrize(
    "name", [".result.tmp", ".result.mine.0.tmp", f".r.{'0' * 12}.{10**20}.0a1b2c3d.tmp"]
)
def test_publishing_keeps_files_of_others(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    with atomic.write(tmp_path / "result") as temporary:
        temporary.write_text("")
    assert names(tmp_path) == [name, "result"]


def test_a_directory_that_another_process_publishes_at_the_same_moment_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, replace = tmp_path / "result", Path.replace

    def late(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", replace)
        path.mkdir()
        (path / "file").write_text("theirs")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", late)
    with atomic.write(path) as temporary:
        temporary.mkdir()
        (temporary / "file").write_text("ours")
    assert (path / "file").read_text() == "theirs"
    assert names(tmp_path) == ["result"]


def test_a_file_never_replaces_a_directory(tmp_path: Path) -> None:
    (tmp_path / "result").mkdir()
    with pytest.raises(OSError), atomic.write(tmp_path / "result") as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == ["result"]


def test_one_process_at_a_time_is_alone(tmp_path: Path) -> None:
    inside: list[int] = []
    seen: list[int] = []

    def work(number: int) -> None:
        for _ in range(50):
            with locks.beside(tmp_path / "new/path"):
                inside.append(number)
                seen.append(len(inside))
                inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 200
    assert list((tmp_path / "new").iterdir()) == []


def test_an_error_lets_the_next_one_in(tmp_path: Path) -> None:
    with pytest.raises(ValueError), locks.beside(tmp_path / "path"):
        raise ValueError
    with locks.beside(tmp_path / "path"):
        assert [path.name for path in tmp_path.iterdir()] == [".path.lock"]


@pytest.mark.parametrize("supported", [True, False])
def test_on_macos_the_drive_writes_or_else_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supported: bool
) -> None:
    calls = []

    def full_sync(_: int, command: int) -> None:
        calls.append(command)
        if not supported:
            raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(atomic, "_FULL_SYNC", 51)
    monkeypatch.setattr(atomic.fcntl, "fcntl", full_sync)
    monkeypatch.setattr(atomic.os, "fsync", lambda _: calls.append("fsync"))
    with atomic.write(tmp_path / "file") as temporary:
        temporary.touch()
    assert calls == ([51] * 2 if supported else [51, "fsync"] * 2)  # the file and its folder
