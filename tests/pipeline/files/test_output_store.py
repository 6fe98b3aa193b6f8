"""The mirror of an output folder, against a real S3 server on loopback that fails as told."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.errors import UserError
from pipeline.files import object_store, output_store
from pipeline.files.output_store import RemoteOutputStore
from tests.support.commands import ROOT
from tests.support.objects import Fault, Objects


def opened(objects: Objects, work_dir: Path) -> RemoteOutputStore:
    """A mirror of the bucket's folder `out`, as another machine or process would open it."""
    output_store.open_store.cache_clear()
    found = output_store.open_store(output_store.local_folder(f"{objects.url}/out", work_dir))
    assert found
    return found


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "WAIT_S", 0.01)
    monkeypatch.setattr(output_store, "_RECHECK_AGAIN_S", 0.0)


@pytest.fixture
def here(objects: Objects, tmp_path: Path) -> RemoteOutputStore:
    return opened(objects, tmp_path / "here")


@pytest.fixture
def there(objects: Objects, tmp_path: Path) -> RemoteOutputStore:
    return opened(objects, tmp_path / "there")


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


HEAD = {"head.npz": "weights", "more/training.json": "{}", "empty": ""}


def test_a_folder_of_this_machine_stands_for_itself(tmp_path: Path) -> None:
    assert output_store.local_folder(tmp_path) == tmp_path
    assert output_store.local_folder(f"file://{tmp_path}/a%20b") == tmp_path / "a b"
    assert output_store.local_folder("~/out") == Path.home() / "out"
    assert not output_store.open_store(tmp_path).is_remote


def test_each_url_has_a_mirror_of_its_own(tmp_path: Path) -> None:
    one, same, other = (
        output_store.local_folder(f"memory://{name}", tmp_path) for name in ("a/b", "a/b/", "a_b")
    )
    assert one == same != other
    found = output_store.open_store(one)
    assert found
    assert found.url == "memory://a/b"
    assert found.address(one / "heads/1") == "memory://a/b/heads/1"


def test_what_is_pushed_here_is_fetched_there(
    here: RemoteOutputStore, there: RemoteOutputStore
) -> None:
    head = write(here.folder / "heads/1", HEAD)
    table = write(here.folder / "manifests", {"2.parquet": "rows"}) / "2.parquet"
    here.upload([head, table])
    wanted = [there.folder / "heads/1", there.folder / "manifests/2.parquet"]
    assert all(map(there.has, wanted))
    there.fetch([*wanted, there.folder / "heads/none"])
    assert contents(wanted[0]) == HEAD
    assert wanted[1].read_text() == "rows"
    assert not (there.folder / "heads/none").exists()


def test_one_listing_answers_for_a_whole_folder(here: RemoteOutputStore, objects: Objects) -> None:
    here.upload([write(here.folder / f"heads/{i}", HEAD) for i in range(10)])
    objects.requests.clear()
    found = [here.has(here.folder / f"heads/{i}") for i in range(1000)]
    assert found == [True] * 10 + [False] * 990
    assert len(objects.requests) == 1


def test_what_another_machine_finishes_is_seen_when_asked_for_again(
    here: RemoteOutputStore, there: RemoteOutputStore
) -> None:
    assert not there.has(there.folder / "heads/1")
    here.upload([write(here.folder / "heads/1", HEAD)])
    assert there.has(there.folder / "heads/1")


def test_a_folder_is_not_there_before_its_last_file(
    here: RemoteOutputStore, there: RemoteOutputStore, objects: Objects
) -> None:
    objects.faults = [Fault("PUT .*/more/training.json", 500)]
    head = write(here.folder / "heads/1", HEAD)
    with pytest.raises(UserError, match=r"output_dir: s3://bucket/out/heads/1/more/training.json"):
        here.upload([head])
    assert not there.has(there.folder / "heads/1")
    objects.faults = []
    here.upload([head])
    there.fetch([there.folder / "heads/1"])
    assert contents(there.folder / "heads/1") == HEAD


@pytest.mark.parametrize("kind", [500, 503, "reset"])
def test_a_request_that_fails_is_tried_again(
    here: RemoteOutputStore, there: RemoteOutputStore, objects: Objects, kind: int | str
) -> None:
    objects.faults = [Fault(f"{method} .*", kind, 2) for method in ("PUT", "GET")]
    here.upload([write(here.folder / "heads/1", HEAD)])
    there.fetch([there.folder / "heads/1"])
    assert contents(there.folder / "heads/1") == HEAD
    assert all(fault.times == 0 for fault in objects.faults)


def test_answers_that_break_off_or_drip_are_fetched_whole(
    here: RemoteOutputStore, there: RemoteOutputStore, objects: Objects
) -> None:
    objects.faults = [Fault("GET .*/head.npz", "half", 2), Fault("GET .*/head.npz", "drip", 1)]
    here.upload([write(here.folder / "heads/1", HEAD)])
    there.fetch([there.folder / "heads/1"])
    assert contents(there.folder / "heads/1") == HEAD
    assert all(fault.times == 0 for fault in objects.faults)


def test_a_server_that_is_silent_is_given_up_and_asked_again(
    here: RemoteOutputStore, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.config import conf

    monkeypatch.setitem(conf, "s3", {"config_kwargs": {"read_timeout": 0.3}})
    objects.faults = [Fault("PUT .*", "stall", 1)]
    here.write(here.folder / "note", b"text")
    assert here.read(here.folder / "note") == b"text"


def test_a_store_that_keeps_failing_gets_one_line(
    here: RemoteOutputStore, objects: Objects
) -> None:
    objects.faults = [Fault(".*", 500)]
    with pytest.raises(UserError, match=r"s3://bucket/out/heads: .*run again") as caught:
        here.has(here.folder / "heads/1")
    assert len(objects.requests) == object_store.ATTEMPTS
    assert "\n" not in str(caught.value)
    assert "testing" not in str(caught.value)  # the credentials


@pytest.mark.usefixtures("objects")
def test_a_bucket_that_is_not_there_is_named_before_work(tmp_path: Path) -> None:
    found = output_store.open_store(output_store.local_folder("s3://no-such-bucket/out", tmp_path))
    assert found
    with pytest.raises(UserError, match=r"cannot write s3://no-such-bucket/out/.probe: .*"):
        found.check_writable()


def test_a_folder_that_has_lost_a_file_is_given_up(
    here: RemoteOutputStore, there: RemoteOutputStore, objects: Objects
) -> None:
    here.upload([write(here.folder / "heads/1", HEAD)])
    objects.put("out/heads/1/head.npz", b"half")
    with pytest.raises(UserError, match=r"heads/1/head.npz does not match its marker.*Run again"):
        there.fetch([there.folder / "heads/1"])
    assert not (there.folder / "heads/1").exists()
    assert not there.has(there.folder / "heads/1")


def test_a_folder_that_is_deleted_meanwhile_is_not_taken_for_an_empty_one(
    here: RemoteOutputStore, there: RemoteOutputStore
) -> None:
    head = write(here.folder / "heads/1", HEAD)
    here.upload([head])
    assert there.has(there.folder / "heads/1")
    here.remove(head)
    with pytest.raises(UserError, match="was deleted in the meantime; run again"):
        there.fetch([there.folder / "heads/1"])
    assert not (there.folder / "heads/1").exists()


def test_names_that_leave_the_folder_are_refused(
    there: RemoteOutputStore, objects: Objects
) -> None:
    objects.put("out/heads/1.complete", json.dumps({"../../evil": 3}).encode())
    with pytest.raises(UserError, match="is outside its folder"):
        there.fetch([there.folder / "heads/1"])


def test_what_is_removed_is_gone_and_its_neighbours_stay(
    here: RemoteOutputStore, there: RemoteOutputStore, objects: Objects
) -> None:
    here.upload([write(here.folder / f"heads/{name}", HEAD) for name in ("1", "12")])
    objects.requests.clear()
    here.remove(here.folder / "heads/1")
    gone = [request for request in objects.requests if not request.startswith("GET")]
    assert "1.complete" not in "".join(gone[1:])  # it was the first to go
    assert not there.has(there.folder / "heads/1")
    there.fetch([there.folder / "heads/12"])
    assert contents(there.folder / "heads/12") == HEAD


def test_objects_that_change_are_read_as_they_are_now(
    here: RemoteOutputStore, there: RemoteOutputStore
) -> None:
    note = here.folder / "note"
    assert here.read(note) is None
    for content in (b"one", b"two"):
        here.write(note, content)
        assert there.read(there.folder / "note") == content


KILLED = """
import sys
from pathlib import Path
from pipeline.files import output_store
folder = Path(sys.argv[1])
output_store.open_store(folder).upload([folder / "heads/1"])
"""


@pytest.mark.slow
def test_a_killed_upload_leaves_nothing_that_counts(
    here: RemoteOutputStore, there: RemoteOutputStore, objects: Objects
) -> None:
    head = write(here.folder / "heads/1", HEAD)
    objects.faults = [Fault("PUT .*/more/training.json", "stall", 1)]
    process = subprocess.Popen([sys.executable, "-c", KILLED, here.folder], cwd=ROOT)
    while not any("training.json" in request for request in objects.requests):
        time.sleep(0.05)
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert any("/head.npz" in request for request in objects.requests)
    assert not there.has(there.folder / "heads/1")
    here.upload([head])
    there.fetch([there.folder / "heads/1"])
    assert contents(there.folder / "heads/1") == HEAD


def test_times_are_understood_as_google_cloud_storage_tells_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = MemoryFileSystem.ls

    def ls(self: MemoryFileSystem, path: str, detail: bool = True) -> list[dict[str, object]]:
        return [f | {"updated": "2026-11-26T00:27:05.500Z"} for f in listed(self, path, detail)]

    monkeypatch.setattr(MemoryFileSystem, "ls", ls)
    MemoryFileSystem().pipe_file("/of-google/out/heads/one.json", b"{}")
    store = output_store.open_store(output_store.local_folder("memory://of-google/out", tmp_path))
    assert store
    (entry,) = store.entries(store.folder / "heads").values()
    assert entry.modified == datetime(2026, 11, 26, 0, 27, 5, 500_000, UTC).timestamp()
