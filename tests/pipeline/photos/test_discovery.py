"""Finding photos in class folders, and reading their headers."""

import errno
import hashlib
import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import UserError
from pipeline.photos import discovery, inspection
from tests.support.photos import PhotoMaker


def noise(width: int = 48, height: int = 40) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def status_of(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return inspection.inspect(path).status


def touch(folder: Path, *paths: str) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"x")
    return folder


def paths_in(folder: Path) -> list[str]:
    return [found.path for found in discovery.find(folder)]


def with_thumbnail(main: bytes, thumbnail: bytes) -> bytes:
    """A JPEG with an EXIF thumbnail: an empty first directory, and a second that points to it."""
    tiff = b"II*\0" + struct.pack("<IHIH", 8, 0, 14, 2)
    tiff += struct.pack("<HHII", 0x201, 4, 1, 44)
    tiff += struct.pack("<HHIII", 0x202, 4, 1, len(thumbnail), 0)
    exif = b"Exif\0\0" + tiff + thumbnail
    return main[:2] + struct.pack(">HH", 0xFFE1, len(exif) + 2) + exif + main[2:]


def test_photos_come_in_a_fixed_order(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.jpg", "b/10.jpg", "a/z.png", "b/1.jpg", "a/B.gif")
    assert paths_in(tmp_path) == ["a/B.gif", "a/z.png", "b/1.jpg", "b/10.jpg", "b/2.jpg"]


@pytest.mark.parametrize("label", ["green leaf", "日本", "Crème brûlée", "a.b", "it's 100%"])
def test_a_label_is_the_name_of_its_folder_unchanged(tmp_path: Path, label: str) -> None:
    (found,) = discovery.find(touch(tmp_path, f"{label}/1.jpg"))
    assert (found.label, found.path) == (label, f"{label}/1.jpg")


def test_labels_that_look_alike_stay_apart(tmp_path: Path) -> None:
    touch(tmp_path, "Cat-1/1.jpg", "cat_1/1.jpg")
    assert [found.label for found in discovery.find(tmp_path)] == ["Cat-1", "cat_1"]


def test_a_folder_inside_a_class_folder_belongs_to_the_class(tmp_path: Path) -> None:
    (found,) = discovery.find(touch(tmp_path, "rose/2019/may/1.jpg"))
    assert (found.label, found.path) == ("rose", "rose/2019/may/1.jpg")


def test_size_and_times_are_those_of_the_file(tmp_path: Path) -> None:
    touch(tmp_path, "rose/1.jpg")
    os.utime(tmp_path / "rose/1.jpg", ns=(1, 2))
    stat = (tmp_path / "rose/1.jpg").stat()
    (found,) = discovery.find(tmp_path)
    assert (found.size, found.mtime_ns, found.ctime_ns) == (1, 2, stat.st_ctime_ns)


@pytest.mark.parametrize(
    "path",
    [
        *("a/.1.jpg", "a/.cache/1.jpg", ".cache/1.jpg", "a/._1.jpg"),
        *("a/Thumbs.db", "a/desktop.ini", "a/Icon\r", "a/.DS_Store"),
        *("a/notes.txt", "a/LABELS.CSV", "a/film.mp4"),
    ],
)
def test_what_is_plainly_no_photo_is_passed_over(tmp_path: Path, path: str) -> None:
    touch(tmp_path, "a/1.jpg", path)
    assert paths_in(tmp_path) == ["a/1.jpg"]


@pytest.mark.parametrize("name", ["1", "IMG_20190501", "1.JPG", "1.tiff", "Dr. No", "1.jpg copy"])
def test_what_may_be_a_photo_is_kept(tmp_path: Path, name: str) -> None:
    assert paths_in(touch(tmp_path, f"a/{name}")) == [f"a/{name}"]


def test_a_linked_folder_is_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/1.jpg", "photos/a/2.jpg")
    (tmp_path / "photos/a/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos/a/other link").symlink_to(tmp_path / "elsewhere")
    assert paths_in(tmp_path / "photos") == ["a/2.jpg", "a/link/1.jpg"]


def test_a_class_folder_may_be_a_link(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/1.jpg")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a").symlink_to(tmp_path / "elsewhere")
    assert paths_in(tmp_path / "photos") == ["a/1.jpg"]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    touch(tmp_path, "a/b/1.jpg")
    (tmp_path / "a/b/up").symlink_to(tmp_path / "a")
    assert paths_in(tmp_path) == ["a/b/1.jpg"]


@pytest.mark.parametrize("target", ["nowhere.jpg", "1.jpg"], ids=["dangling", "to itself"])
def test_a_link_that_leads_nowhere_is_a_problem(tmp_path: Path, target: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.jpg").symlink_to(target)
    (found,) = discovery.find(tmp_path)
    assert found.path == "a/1.jpg"
    assert found.unusable.startswith("cannot be read: ")


def test_a_file_name_that_is_not_utf_8_is_a_problem(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "a/" + os.fsdecode(b"\xe9.jpg"))
    _, found = discovery.find(tmp_path)
    assert found.path == "a/\\udce9.jpg"
    assert "not UTF-8" in found.unusable


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="image_dir: there is no folder") as refusal:
        paths_in(tmp_path / "photos")
    assert str(tmp_path / "photos") in str(refusal.value)


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: Not a directory") as refusal:
        paths_in(touch(tmp_path, "photos.zip") / "photos.zip")
    assert str(tmp_path / "photos.zip") in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "found"),
    [("notes.txt", "contains no class folder"), ("1.jpg", "contains 1 photos but no class folder")],
)
def test_a_folder_without_class_folders_gets_advice(tmp_path: Path, name: str, found: str) -> None:
    with pytest.raises(UserError, match="into a folder of its own") as refusal:
        paths_in(touch(tmp_path, name, ".git/1.jpg"))
    assert f"image_dir: {tmp_path} {found}" in str(refusal.value)


def test_photos_outside_class_folders_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "2.PNG", "notes.txt", ".3.jpg", "a/4.jpg")
    (tmp_path / "folder.jpg").mkdir()
    assert discovery.count_stray(tmp_path) == 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_a_photo_is_described(tmp_path: Path, kind: str) -> None:
    data = encode(noise(48, 40), kind)
    (tmp_path / "photo").write_bytes(data)
    expected = inspection.Inspection(
        hashlib.sha256(data).hexdigest(), 48, 40, kind, False, inspection.OK
    )
    assert inspection.inspect(tmp_path / "photo") == expected


def test_a_jpeg_with_several_pictures_is_a_jpeg(tmp_path: Path) -> None:
    data = encode(noise(), "MPO", save_all=True, append_images=[noise(8, 8)])
    (tmp_path / "1.jpg").write_bytes(data)
    inspected = inspection.inspect(tmp_path / "1.jpg")
    assert (inspected.format, inspected.status) == ("JPEG", inspection.OK)
    assert (inspected.width, inspected.height) == (48, 40)


@pytest.mark.parametrize(
    "data",
    [
        encode(noise(), "JPEG", progressive=True),
        encode(noise(), "JPEG") + b"\0" * 100 + b"camera data",
        with_thumbnail(encode(noise(), "JPEG"), encode(noise(8, 8), "JPEG")),
        encode(noise().convert("L"), "JPEG"),
        encode(noise().quantize(16), "PNG"),
        encode(noise().convert("L"), "BMP"),
    ],
    ids=["progressive", "trailing bytes", "thumbnail", "grey", "palette PNG", "grey BMP"],
)
def test_a_less_common_photo_is_fine(tmp_path: Path, data: bytes) -> None:
    assert status_of(tmp_path / "photo", data) == inspection.OK


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"a photo of a daisy", "not a readable image"),
        (
            b"\n<!DOCTYPE html><html><body>404 Not Found</body></html>",
            "web page instead of a photo",
        ),
        (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', "message of a server"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "pointer of Git LFS",
        ),
        (b"/annex/objects/SHA256E-s9--0.jpg\n", "pointer of git-annex"),
        (bytes(4096), "only zeros instead of a photo"),
        (encode(noise(), "TIFF"), "TIFF is not supported; convert it"),
        (encode(noise().quantize(16), "BMP"), "BMP with a palette is not supported; convert it"),
        (encode(noise(), "PPM"), "not a readable image"),
    ],
    ids=["empty", "text", "HTML", "XML", "LFS", "annex", "zeros", "TIFF", "palette BMP", "PPM"],
)
def test_what_is_no_usable_photo_is_set_aside(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "1.jpg").write_bytes(data)
    inspected = inspection.inspect(tmp_path / "1.jpg")
    assert inspected.status.startswith(reason)
    assert inspected.digest == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "data",
    [
        encode(noise(), "JPEG"),
        encode(noise(), "JPEG", progressive=True),
        with_thumbnail(encode(noise(), "JPEG"), encode(noise(8, 8), "JPEG")),
        encode(noise(), "WEBP"),
    ],
    ids=["JPEG", "progressive JPEG", "JPEG with thumbnail", "WebP"],
)
def test_a_photo_cut_anywhere_is_set_aside(tmp_path: Path, data: bytes) -> None:
    cuts = [*range(0, len(data), 37), len(data) - 2, len(data) - 1]
    assert [cut for cut in cuts if status_of(tmp_path / "1", data[:cut]) == inspection.OK] == []


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_photo_cut_in_its_pixels_is_called_truncated(
    tmp_path: Path, kind: str, share: float
) -> None:
    data = encode(noise(), kind)
    status = status_of(tmp_path / "1", data[: int(len(data) * share)])
    assert status.startswith(f"truncated {kind}: ")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_structure_alone_tells_a_cut(kind: str) -> None:
    data = encode(noise(), kind)
    assert not inspection.is_truncated(data, kind)
    assert inspection.is_truncated(data[:-10], kind)


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_photo(tmp_path: Path) -> None:
    data = with_thumbnail(encode(noise(), "JPEG"), encode(noise(8, 8), "JPEG"))[:-100]
    assert b"\xff\xd9" in data
    assert status_of(tmp_path / "1", data).startswith("truncated JPEG: ")


def test_only_the_first_of_several_pictures_must_be_whole(tmp_path: Path) -> None:
    data = encode(noise(), "MPO", save_all=True, append_images=[noise(8, 8)])
    second = data.index(b"\xff\xd9") + 2
    assert status_of(tmp_path / "1", data[: second + 100]) == inspection.OK
    assert status_of(tmp_path / "1", data[: second - 2]).startswith("truncated JPEG: ")


@pytest.mark.parametrize(
    ("size", "status"),
    [
        ((10_000, 10_000), inspection.OK),
        ((20_000, 6_000), "20000 x 6000 pixels, more than 100 million; shrink it"),
    ],
)
def test_too_many_pixels_are_set_aside(tmp_path: Path, size: tuple[int, int], status: str) -> None:
    data = encode(Image.new("1", size), "PNG", compress_level=1)
    assert status_of(tmp_path / "1.png", data) == status


def test_too_many_bytes_are_set_aside_unread(tmp_path: Path) -> None:
    with (tmp_path / "1.jpg").open("wb") as file:
        file.truncate(inspection.MAX_BYTES + 1)
    inspected = inspection.inspect(tmp_path / "1.jpg")
    assert inspected.status == "larger than 256 MB; make it smaller"
    assert inspected.digest == ""


def test_what_cannot_be_opened_is_set_aside(tmp_path: Path) -> None:
    assert (
        inspection.inspect(tmp_path / "1.jpg").status == "cannot be read: No such file or directory"
    )


def test_an_animated_webp_is_set_aside(tmp_path: Path) -> None:
    data = encode(noise(), "WEBP", save_all=True, append_images=[noise().rotate(90)])
    assert status_of(tmp_path / "1.webp", data).startswith("animated WebP is not supported")


def test_a_pipe_is_set_aside_unopened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1.jpg")
    assert inspection.inspect(tmp_path / "1.jpg").status == "not a regular file; replace it"


@pytest.mark.parametrize("missing", [1, 4, 12])
def test_a_png_that_lacks_its_last_bytes_is_truncated(tmp_path: Path, missing: int) -> None:
    data = encode(noise(), "PNG")[:-missing]
    assert status_of(tmp_path / "1.png", data).startswith("truncated PNG")


def test_a_link_to_itself_is_no_stray_photo(tmp_path: Path) -> None:
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    assert discovery.count_stray(tmp_path) <= 1


def test_a_problem_of_the_listing_is_the_status(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(encode(noise(), "JPEG"))
    assert inspection.inspect(tmp_path / "1.jpg", "bad name").status == "bad name"


def test_photos_below_a_folder_need_no_class_folders(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    for name in ("1.jpg", "a/2.png", "a/b/3.gif", "a/.hidden.jpg", "a/notes.txt"):
        (tmp_path / name).write_bytes(b"12345")
    found = list(discovery.list_folder(tmp_path))
    assert [f.path for f in found] == [str(tmp_path / n) for n in ("1.jpg", "a/2.png", "a/b/3.gif")]
    assert {(f.label, f.size, f.unusable) for f in found} == {("", 5, "")}


def test_a_file_that_somebody_names_is_listed_with_its_problem(tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(b"12345")
    assert discovery.describe(tmp_path / "photo").size == 5
    assert discovery.describe(tmp_path / "none").unusable.startswith("cannot be read")
    assert "not UTF-8" in discovery.describe(Path("\udcff.jpg")).unusable


@pytest.mark.parametrize("used_up", [OSError(errno.EMFILE, "Too many open files"), MemoryError()])
def test_a_photo_is_not_set_aside_for_what_the_machine_lacks(
    used_up: Exception, make_photo: PhotoMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = make_photo(tmp_path / "photo.jpg")

    def read_bytes(_path: Path) -> bytes:
        raise used_up

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    with pytest.raises(type(used_up)):
        inspection.inspect(photo)


def test_the_output_folder_is_no_class_wherever_it_is(tmp_path: Path) -> None:
    photos = touch(tmp_path / "photos", "a/1.jpg", "a/deep/2.jpg")
    out = touch(tmp_path / "out", "models/1.jpg")
    for link in ("class", "a/deep/link"):
        (photos / link).symlink_to(out)
    assert [found.path for found in discovery.find(photos, excluded=out)] == [
        *("a/1.jpg", "a/deep/2.jpg")
    ]
    assert [folder.label for folder in discovery.class_folders(photos, excluded=out)] == ["a"]
    assert len(paths_in(photos)) == 4  # the folder is not excluded for another reason


def test_a_photo_that_git_annex_has_not_fetched_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.jpg").symlink_to("../.git/annex/objects/x/SHA256E-s1--0.jpg")
    (found,) = discovery.find(tmp_path)
    assert found.unusable == discovery.IN_GIT_ANNEX
