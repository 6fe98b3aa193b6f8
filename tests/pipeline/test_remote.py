"""Stores: one listing, one request a read, faults bounded. On moto's S3 server, and in memory."""

import sys

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from pipeline import remote
from pipeline.errors import UserError
from pipeline.remote import Listed, Remote
from tests.objects import Objects


def test_paths_lead_from_a_folder_to_what_is_below_it() -> None:
    photo = remote.at("s3://bucket/photos/") / "rose" / "1.jpg"
    assert (photo.root, photo.path) == ("s3://bucket/photos", "rose/1.jpg")
    assert str(photo) == "s3://bucket/photos/rose/1.jpg"
    assert str(remote.at("memory://") / "1.jpg") == "memory:///1.jpg"


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(UserError, match="sftp://host was given with a password") as refusal:
        remote.at("sftp://me:secret@host/photos")
    assert "secret" not in str(refusal.value)


def test_everything_is_listed_with_one_request(objects: Objects) -> None:
    keys = ["rose/a b/ü?.jpg", "rose/1.jpg", "rose.jpg", "rose/a::b#%20.jpg", "rose/2/1.jpg"]
    for key in keys:
        objects.put(f"photos/{key}", key.encode())
    objects.put("photos2/rose/1.jpg", b"of another folder")
    found = list(remote.find(remote.at("s3://bucket/photos")))
    assert len(objects.asked) == 1
    assert [file.path for file in found] == [keys[i] for i in (1, 4, 0, 3, 2)]
    assert [file.size for file in found] == [len(file.path.encode()) for file in found]


def test_a_version_changes_with_the_content_alone(objects: Objects) -> None:
    def version(content: bytes) -> int:
        objects.put("photos/1.jpg", content)
        (found,) = remote.find(remote.at("s3://bucket/photos"))
        return found.version

    first = version(b"one")
    assert version(b"one") == first
    assert version(b"two") != first
    assert 0 <= first < 2**63


def test_where_a_store_tells_no_version_each_listing_gives_another() -> None:
    assert remote._version({"size": 1}) != remote._version({"size": 1})


def test_a_read_is_one_request_whatever_the_key(objects: Objects) -> None:
    keys = ["1.jpg", "a b/ü?.jpg", "a::b#%20.jpg"]
    for key in keys:
        objects.put(f"photos/{key}", key.encode())
    for key in keys:
        assert remote.read(remote.at("s3://bucket/photos") / key) == key.encode()
    assert [request.split()[0] for request in objects.asked] == ["GET"] * 3


def test_a_part_of_a_file_is_read(objects: Objects) -> None:
    objects.put("shard", b"0123456789")
    assert remote.read(remote.at("s3://bucket/shard"), 3, 7) == b"3456"


def test_other_stores_work_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    MemoryFileSystem().pipe("/photos/rose/1.jpg", b"photo")
    for root, path in (("memory://photos", "rose/1.jpg"), ("memory://", "photos/rose/1.jpg")):
        (found,) = remote.find(remote.at(root))
        assert found == Listed(path, 5, found.version)
        assert remote.read(remote.at(root) / path) == b"photo"


def test_a_file_that_is_gone_is_not_asked_for_again(objects: Objects) -> None:
    with pytest.raises(FileNotFoundError, match=r"s3://bucket/photos/1\.jpg"):
        remote.read(Remote("s3://bucket/photos", "1.jpg"))
    assert len(objects.asked) == 1


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("s3://none/photos", "cannot be listed: The specified bucket does not exist"),
        ("xyz://bucket/photos", "begins with xyz://, which is not known here"),
    ],
)
@pytest.mark.usefixtures("objects")
def test_what_cannot_be_listed_is_reported(url: str, reason: str) -> None:
    with pytest.raises(UserError, match=f"{url} {reason}"):
        list(remote.find(remote.at(url)))


@pytest.mark.parametrize(("scheme", "package"), [("gs", "gcsfs"), ("s3", "s3fs")])
def test_a_missing_library_is_named(
    monkeypatch: pytest.MonkeyPatch, scheme: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(_registry, scheme, raising=False)
    with pytest.raises(UserError, match=rf"get it \(pip install {package}\)"):
        list(remote.find(remote.at(f"{scheme}://bucket/photos")))


def test_who_may_not_read_is_told_so(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    objects.put("photos/1.jpg", b"photo")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UserError, match="Unable to locate credentials; check the address and"):
        list(remote.find(remote.at("s3://bucket/photos")))
