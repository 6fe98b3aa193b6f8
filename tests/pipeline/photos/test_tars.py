"""Tar shards: every photo found in place, labelled by one rule; nothing lost silently."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from pipeline.photos import inspection, tars
from pipeline.photos.tars import Member
from tests.support.photos import PhotoMaker
from tests.support.tars import pack


@pytest.fixture
def photo(tmp_path: Path, make_photo: PhotoMaker) -> bytes:
    return make_photo(tmp_path / "photo.jpg").read_bytes()


def members(content: bytes, label: str = "") -> list[Member]:
    return list(tars.members(io.BytesIO(content), "a.tar", label))


def labels(files: dict[str, bytes], label: str = "") -> dict[str, str]:
    found = members(pack(files), label)
    return {tars.unpacked(m.path): m.label for m in found if m.inspection.status == inspection.OK}


def test_a_path_says_where_its_photo_is(photo: bytes) -> None:
    shard = pack({"rose/1.jpg": photo, "daisy/2.jpg": photo + b"2"})
    for member, content in zip(members(shard), (photo, photo + b"2"), strict=True):
        place = tars.place(f"folder/{member.path}")
        assert place is not None
        file, start, end = place
        assert file == "folder/a.tar"
        assert shard[start:end] == content
        assert member.size == len(content)
        assert member.inspection == inspection.inspect_bytes(content)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.tar:512:9/rose/1.jpg", "rose/1.jpg"),
        ("rose/a.TAR:512:9/2019/1.jpg", "rose/2019/1.jpg"),
        ("rose/1.jpg", "rose/1.jpg"),
        ("rose.tar/1:2/1.jpg", "rose.tar/1:2/1.jpg"),
    ],
)
def test_a_path_without_its_shard(path: str, expected: str) -> None:
    assert tars.unpacked(path) == expected
    assert (tars.place(path) is None) == (path == expected)


def test_a_label_is_the_first_folder_of_the_name(photo: bytes) -> None:
    files = {"rose/1.jpg": photo, "./daisy/2019/2.jpg": photo, "/tulip/3": photo}
    assert labels(files) == {"rose/1.jpg": "rose", "daisy/2019/2.jpg": "daisy", "tulip/3": "tulip"}


def test_the_class_folder_comes_before_folders_in_the_shard(photo: bytes) -> None:
    assert labels({"other/1.jpg": photo, "2.jpg": photo}, "rose") == {
        "other/1.jpg": "rose",
        "2.jpg": "rose",
    }


def test_what_stands_beside_a_photo_comes_first_wherever_it_stands(photo: bytes) -> None:
    files = {
        "train/1.cls": b"rose\n",
        "train/1.jpg": photo,
        "train/2.jpg": photo,
        "train/2.json": json.dumps({"label": "tulip", "caption": "a tulip"}).encode(),
        "train/3.jpg": photo,
        "train/3.json": json.dumps({"label": 7}).encode(),
        "train/4.jpg": photo,
        "train/4.json": b"no JSON",
        "train/5.jpg": photo,
        "train/5.json": b"[]",
        "train/6.json": b"[" * 60_000,
        "train/6.jpg": photo,
        "train/7.cls": b"long" * 20_000,
        "train/7.jpg": photo,
    }
    expected = ["rose", "tulip", "7", "train", "train", "train", "train"]
    assert list(labels(files).values()) == expected
    assert list(labels(files, "folder").values()) == [*expected[:3], *["folder"] * 4]


def test_a_photo_without_a_label_is_set_aside(photo: bytes) -> None:
    (member,) = members(pack({"1.jpg": photo}))
    assert (member.label, member.inspection.status) == (
        "",
        "has no label in its tar file; see docs/stores.md",
    )


def test_a_label_of_two_lines_is_set_aside(photo: bytes) -> None:
    (member,) = members(pack({"1.jpg": photo, "1.cls": b"a\nb"}))
    assert "line break" in member.inspection.status


def test_what_is_no_photo_is_passed_over(photo: bytes) -> None:
    files = {"rose/1.txt": b"text", "rose/._1.jpg": photo, ".git/1.jpg": photo, "../x/1.jpg": photo}
    assert members(pack(files)) == []


def test_damaged_photos_are_set_aside_for_the_same_reasons_as_files() -> None:
    empty, fake = members(pack({"rose/1.jpg": b"", "rose/2.jpg": b"no photo"}))
    assert empty.inspection == inspection.inspect_bytes(b"")
    assert fake.inspection == inspection.inspect_bytes(b"no photo")


def test_links_large_files_and_strange_names_are_set_aside(
    photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "MAX_BYTES", len(photo))
    link = tarfile.TarInfo("rose/2.jpg")
    link.type, link.linkname = tarfile.LNKTYPE, "rose/1.jpg"
    files = {"rose/1.jpg": photo, "rose/3.jpg": photo + b"1", "rose/\udcff.jpg": photo}
    found = members(pack(files, link))
    assert [member.inspection.status for member in found] == [
        "ok",
        "larger than 0 MB; make it smaller",
        "file name is not UTF-8; rename the file",
        "not a regular file in its tar file; pack the file itself (tar --hard-dereference -h)",
    ]
    assert found[2].path.endswith(r"/rose/\udcff.jpg")


@pytest.mark.parametrize("end", [700, 2560, 2600, 3072])
def test_a_shard_that_breaks_off_says_so_and_keeps_what_is_whole(end: int) -> None:
    shard = pack({"rose/1.jpg": bytes(2000), "rose/2.jpg": bytes(500)})
    found = members(shard[:end])
    whole = sum(end >= needed for needed in (2560, 3584))
    assert [m.size for m in found] == [*[2000, 500][:whole], 0]
    assert found[-1].inspection.status == (
        "the tar file is truncated here; copy it again"
        if whole
        else "not an uncompressed tar file; pack the photos without compression"
    )


def test_a_shard_that_is_overwritten_in_the_middle_says_so() -> None:
    shard = bytearray(pack({f"rose/{i}.jpg": bytes(2000) for i in range(3)}))
    shard[2560:3072] = b"?" * 512
    _, rest = members(bytes(shard))
    assert rest.path == "a.tar:2560:0/(the rest)"
    assert rest.inspection.status == "the tar file is truncated here; copy it again"


@pytest.mark.parametrize("content", [b"", b"no tar", gzip.compress(pack({"rose/1.jpg": b"1"}))])
def test_what_is_no_tar_file_says_so(content: bytes) -> None:
    (member,) = members(content, "rose")
    assert member.label == "rose"
    assert member.inspection.status.startswith("not an uncompressed tar file; pack the")


def test_an_empty_tar_file_is_no_fault() -> None:
    assert members(pack({})) == []
