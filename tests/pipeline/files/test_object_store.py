"""Stores: one listing, one request a read, faults bounded. On moto's S3 server, and in memory."""

import socket
import sys

import pytest
from fsspec.config import conf
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry
from s3fs import S3FileSystem

from pipeline.errors import UserError
from pipeline.files import object_store
from pipeline.files.object_store import ListedFile, RemotePath
from tests.support.objects import Fault, Objects


def test_paths_lead_from_a_folder_to_what_is_below_it() -> None:
    photo = object_store.parse("s3://bucket/photos/") / "rose" / "1.jpg"
    assert (photo.root, photo.path) == ("s3://bucket/photos", "rose/1.jpg")
    assert str(photo) == "s3://bucket/photos/rose/1.jpg"
    assert str(object_store.parse("memory://") / "1.jpg") == "memory:///1.jpg"


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(UserError, match="the URL sftp://host contains a password") as refusal:
        object_store.parse("sftp://me:secret@host/photos")
    assert "secret" not in str(refusal.value)


def test_everything_is_listed_with_one_request(objects: Objects) -> None:
    keys = ["rose/a b/ü?.jpg", "rose/1.jpg", "rose.jpg", "rose/a::b#%20.jpg", "rose/2/1.jpg"]
    for key in keys:
        objects.put(f"photos/{key}", key.encode())
    objects.put("photos2/rose/1.jpg", b"of another folder")
    found = list(object_store.list_files(object_store.parse("s3://bucket/photos")))
    assert len(objects.requests) == 1
    assert [file.path for file in found] == [keys[i] for i in (1, 4, 0, 3, 2)]
    assert [file.size for file in found] == [len(file.path.encode()) for file in found]


def test_a_version_changes_with_the_content_alone(objects: Objects) -> None:
    def version(content: bytes) -> int:
        objects.put("photos/1.jpg", content)
        (found,) = object_store.list_files(object_store.parse("s3://bucket/photos"))
        return found.version

    first = version(b"one")
    assert version(b"one") == first
    assert version(b"two") != first
    assert 0 <= first < 2**63


def test_where_a_store_tells_no_version_each_listing_gives_another() -> None:
    assert object_store._version({"size": 1}) != object_store._version({"size": 1})


def test_a_read_is_one_request_whatever_the_key(objects: Objects) -> None:
    keys = ["1.jpg", "a b/ü?.jpg", "a::b#%20.jpg"]
    for key in keys:
        objects.put(f"photos/{key}", key.encode())
    for key in keys:
        assert object_store.read(object_store.parse("s3://bucket/photos") / key) == key.encode()
    assert [request.split()[0] for request in objects.requests] == ["GET"] * 3


def test_a_part_of_a_file_is_read(objects: Objects) -> None:
    objects.put("shard", b"0123456789")
    assert object_store.read(object_store.parse("s3://bucket/shard"), 3, 7) == b"3456"


def test_past_the_end_there_is_nothing(objects: Objects) -> None:
    objects.put("empty", b"")
    objects.put("shard", b"0123456789")
    assert object_store.read(object_store.parse("s3://bucket/empty")) == b""
    assert object_store.read(object_store.parse("s3://bucket/shard"), 8, 12) == b"89"
    assert object_store.read(object_store.parse("s3://bucket/shard"), 20, 30) == b""
    assert len(objects.requests) == 3


def test_other_stores_work_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    MemoryFileSystem().pipe("/photos/rose/1.jpg", b"photo")
    for root, path in (("memory://photos", "rose/1.jpg"), ("memory://", "photos/rose/1.jpg")):
        (found,) = object_store.list_files(object_store.parse(root))
        assert found == ListedFile(path, 5, found.version)
        assert object_store.read(object_store.parse(root) / path) == b"photo"


def test_a_file_that_is_gone_is_not_asked_for_again(objects: Objects) -> None:
    with pytest.raises(FileNotFoundError, match=r"s3://bucket/photos/1\.jpg"):
        object_store.read(RemotePath("s3://bucket/photos", "1.jpg"))
    assert len(objects.requests) == 1


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("s3://none/photos", " cannot be listed: The specified bucket does not exist"),
        ("xyz://bucket/photos", ": unknown scheme xyz://"),
    ],
)
@pytest.mark.usefixtures("objects")
def test_what_cannot_be_listed_is_reported(url: str, reason: str) -> None:
    with pytest.raises(UserError, match=f"{url}{reason}"):
        list(object_store.list_files(object_store.parse(url)))


@pytest.mark.parametrize(("scheme", "package"), [("gs", "gcsfs"), ("s3", "s3fs")])
def test_a_missing_library_is_named(
    monkeypatch: pytest.MonkeyPatch, scheme: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(_registry, scheme, raising=False)
    with pytest.raises(UserError, match=rf"install it \(pip install {package}\)"):
        list(object_store.list_files(object_store.parse(f"{scheme}://bucket/photos")))


def test_a_library_that_only_fsspec_knows_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.delitem(_registry, "hf", raising=False)
    with pytest.raises(UserError, match=r"needs a library: .*huggingface_hub"):
        object_store.file_system("hf://owner/model")


def test_a_server_that_does_not_answer_is_reported() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"ftp://127.0.0.1:{free.getsockname()[1]}/photos"
    with pytest.raises(UserError, match=f"{url} cannot be opened: .*Connection refused; check the"):
        object_store.file_system(url)


def test_who_may_not_read_is_told_so(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    objects.put("photos/1.jpg", b"photo")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    S3FileSystem.clear_instance_cache()
    with pytest.raises(UserError, match="Unable to locate credentials; check the address and"):
        list(object_store.list_files(object_store.parse("s3://bucket/photos")))
    S3FileSystem.clear_instance_cache()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No patience: so that tests of slow stores are quick."""
    monkeypatch.setattr(object_store, "WAIT_S", 0.01)
    monkeypatch.setattr(object_store, "READ_S", 1.5)
    monkeypatch.setattr(object_store, "ATTEMPTS", 3)
    monkeypatch.setitem(conf, "s3", {"config_kwargs": {"read_timeout": 1}})


@pytest.mark.parametrize("kind", [500, 503, "reset", "half", "stall", "drip"])
@pytest.mark.usefixtures("hasty")
def test_what_fails_is_tried_again(objects: Objects, kind: int | str) -> None:
    objects.put("photos/1.jpg", b"content" * 10)
    objects.faults = [Fault("GET .*1.jpg", kind, times=2)]
    assert object_store.read(object_store.parse("s3://bucket/photos") / "1.jpg") == b"content" * 10
    assert objects.faults[0].times == 0


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (500, "at fault"),
        ("reset", "Connection was closed"),
        ("half", "received 35 of 70 bytes"),
        ("stall", "Read timeout"),
        ("drip", "no answer in time"),
    ],
)
@pytest.mark.usefixtures("hasty")
def test_what_fails_for_ever_is_given_up(objects: Objects, kind: int | str, reason: str) -> None:
    objects.put("photos/1.jpg", b"content" * 10)
    objects.faults = [Fault("GET .*1.jpg", kind)]
    with pytest.raises(UserError) as refusal:
        object_store.read(object_store.parse("s3://bucket/photos") / "1.jpg")
    message = str(refusal.value)
    assert message.startswith("s3://bucket/photos/1.jpg cannot be read in 3 attempts: ")
    assert reason in message
    assert message.endswith("; run again: finished work is kept")
    assert len(objects.requests) <= 6  # aiohttp asks again where a connection that it had is closed


def test_waits_grow_and_end(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(object_store.time, "sleep", waits.append)
    objects.faults = [Fault("GET .*", 503)]
    with pytest.raises(UserError):
        object_store.read(object_store.parse("s3://bucket/photos") / "1.jpg")
    assert waits == [0.5, 1, 2, 4]
    assert len(objects.requests) == 5


@pytest.mark.usefixtures("hasty")
def test_a_listing_is_tried_again_a_page_at_a_time(objects: Objects) -> None:
    for i in range(105):  # a hundred a page
        objects.put(f"photos/{i}", b"")
    pages = "GET .*list-type.*"
    objects.faults = [Fault(f"{pages}continuation.*", 500, times=1), Fault(pages, "reset", times=1)]
    assert len(list(object_store.list_files(object_store.parse("s3://bucket/photos")))) == 105
    assert len(objects.requests) == 4


@pytest.mark.usefixtures("hasty")
def test_a_listing_that_fails_for_ever_is_given_up(objects: Objects) -> None:
    objects.faults = [Fault("GET .*", 500)]
    with pytest.raises(UserError, match=r"cannot be listed: .*at fault; check the address and"):
        list(object_store.list_files(object_store.parse("s3://bucket/photos")))
    assert len(objects.requests) == 3


def test_a_certificate_that_is_not_trusted_names_the_variables() -> None:
    error = Exception("SSL validation failed for https://x certificate verify failed: expired (_s")
    reason = object_store.error_reason(error)
    assert reason.startswith("its certificate is not trusted (expired); if a private authority")
    assert "set AWS_CA_BUNDLE (s3://) or SSL_CERT_FILE (gs://) to the file" in reason


def test_a_missing_file_of_certificates_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    error = Exception("An HTTP Client raised an unhandled exception: No such file or directory")
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere.pem")
    assert object_store.error_reason(error) == (
        "AWS_CA_BUNDLE names /nowhere.pem, which does not exist; correct it or unset it"
    )
