"""The seam: the same photos, in the same order, from disk and from a store."""

from pathlib import Path
from urllib.parse import quote

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.errors import UserError
from pipeline.files import object_store, places
from pipeline.files.object_store import RemotePath
from pipeline.files.places import Place
from pipeline.photos import discovery, inspection, sources
from pipeline.photos.layout import Layout
from tests.support.objects import Objects
from tests.support.photos import PhotoMaker
from tests.support.tars import pack, pack_folder


def listed(place: Place) -> list[tuple[str, str, int, str]]:
    found = sources.contents(place).found
    return [(photo.label, photo.path, photo.size, photo.unusable) for photo in found]


def test_an_option_names_a_path_or_a_url() -> None:
    assert places.parse("photos") == Path("photos")
    assert places.parse("~/photos") == Path.home() / "photos"
    assert places.parse("file:///data/my%20photos") == Path("/data/my photos")
    assert places.parse("s3://bucket/photos/") == RemotePath("s3://bucket/photos")


def test_a_file_url_is_the_folder_itself(photo_dir: Path) -> None:
    assert places.parse(f"file://{quote(str(photo_dir))}") == photo_dir


def test_a_store_lists_what_a_disk_lists(
    photo_dir: Path, make_photo: PhotoMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    make_photo(photo_dir / "red_rose/2019/may/1.png")
    make_photo(photo_dir / "red_rose/.hidden/1.jpg")
    make_photo(photo_dir / "stray.jpg")
    make_photo(photo_dir / "two\nlines/1.jpg")
    (photo_dir / "red_rose/notes.txt").write_text("no photo")
    (photo_dir / "no photo").mkdir()
    (photo_dir / "no photo/notes.txt").write_text("no photo")
    MemoryFileSystem().put(str(photo_dir), "/photos", recursive=True)
    url = places.parse("memory://photos")
    disk, store = (sources.contents(place) for place in (photo_dir, url))
    assert (store.labels, store.stray) == (disk.labels, disk.stray)
    expected = [row for row in listed(photo_dir) if not row[3]]
    found = listed(url)
    assert [row for row in found if not row[3]] == expected
    assert [row[3] for row in found if row[3]] == ["folder's name has a line break; rename it"]


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ([], "image_dir: there are no files at s3://bucket/photos; check the address"),
        (
            ["1.jpg", "2.jpg"],
            "s3://bucket/photos contains 2 photos but no class folder; put",
        ),
        (["readme.txt"], "image_dir: s3://bucket/photos contains no class folder; put the photos"),
    ],
)
def test_a_folder_without_classes_is_refused(
    objects: Objects, keys: list[str], reason: str
) -> None:
    for key in keys:
        objects.put(f"photos/{key}", b"content")
    with pytest.raises(UserError, match=reason):
        sources.contents(places.parse("s3://bucket/photos"))


def test_a_photo_is_inspected_wherever_it_is(
    tmp_path: Path, make_photo: PhotoMaker, objects: Objects
) -> None:
    photo = make_photo(tmp_path / "1.jpg")
    objects.put("1.jpg", photo.read_bytes())
    objects.put("empty.jpg", b"")
    (tmp_path / "empty.jpg").touch()
    for name in ("1.jpg", "empty.jpg", "none.jpg"):
        size = (tmp_path / name).stat().st_size if name != "none.jpg" else 1
        there = sources.inspect(places.parse(objects.url) / name, size)
        assert there == inspection.inspect(tmp_path / name)


def test_a_photo_with_a_problem_or_too_large_is_not_read(objects: Objects) -> None:
    objects.put("1.jpg", b"photo")
    place = places.parse(objects.url) / "1.jpg"
    assert sources.inspect(place, 5, "bad name").status == "bad name"
    assert sources.inspect(place, 2**29).status == "larger than 256 MB; make it smaller"
    assert objects.requests == []


def test_photos_come_in_order_and_each_is_read_once(objects: Objects) -> None:
    for i in range(100):
        objects.put(f"{i}.jpg", bytes([i]))
    photo_paths = [places.parse(objects.url) / f"{i}.jpg" for i in range(100) for _ in range(3)]
    assert list(sources.stream(photo_paths)) == [bytes([i]) for i in range(100) for _ in range(3)]
    assert len(objects.requests) == 100


def test_no_more_is_read_ahead_than_there_are_readers(objects: Objects) -> None:
    for i in range(3 * sources.READERS):
        objects.put(f"{i}.jpg", b"photo")
    photo_paths = [places.parse(objects.url) / f"{i}.jpg" for i in range(3 * sources.READERS)]
    reading = sources.stream(photo_paths)
    next(reading)
    reading.close()  # type: ignore[attr-defined]
    assert len(objects.requests) <= sources.READERS + 1


def test_what_is_gone_or_changed_says_so_in_its_place(objects: Objects) -> None:
    objects.put("1.jpg", b"photo")
    objects.put("3.jpg", b"another")
    digest = "42c0cf5bb2a9aaa1f8b8b0b3a8bd0b3f4b1b3f0d7a1f6b3b8e3f1f7a2ce1d0a3"
    photo_paths = [places.parse(objects.url) / f"{i}.jpg" for i in (1, 2, 3)]
    whole, gone, changed = sources.stream(photo_paths, ["", "", digest])
    assert whole == b"photo"
    assert str(gone) == (
        "s3://bucket/2.jpg cannot be read any more (No such file or directory); run again"
    )
    assert str(changed) == "s3://bucket/3.jpg changed during the run; run again"


def read_all(image_dir: Place) -> dict[str, bytes]:
    """The bytes of all photos in shards, by their paths."""
    found = [shard for shard in sources.contents(image_dir).found if discovery.is_tar(shard.path)]
    paths = [m.path for shard in found for m in sources.members(image_dir, shard)]
    content = sources.stream([image_dir / path for path in paths])
    read = dict(zip(paths, content, strict=True))
    for path in paths[:3]:
        assert sources.read(image_dir / path) == read[path]
        assert sources.read(places.parse(str(image_dir / path))) == read[path]
    return read


def test_photos_in_shards_are_read_in_place(
    photo_dir: Path, tmp_path: Path, objects: Objects
) -> None:
    files = [path.read_bytes() for path in sorted(photo_dir.rglob("*.jpg"))]
    shards = pack_folder(photo_dir, tmp_path / "shards", 3)
    local = read_all(shards)
    assert sorted(local.values()) == sorted(files)
    assert read_all(places.parse(objects.put_folder(shards, "shards"))) == local


def test_a_shard_is_looked_at_with_a_request_a_block_and_read_with_one_a_few_photos(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "BLOCK", 10_000)
    monkeypatch.setattr(sources, "BLOCK", 10_000)
    objects.put("a.tar", pack({f"rose/{i}.jpg": bytes([i]) * 1000 for i in range(40)}))
    place = places.parse(objects.url)
    (shard,) = sources.contents(place).found
    objects.requests.clear()
    members = sources.members(place, shard)
    assert len(objects.requests) <= 1 + shard.size // 10_000
    objects.requests.clear()
    read = list(sources.stream([place / m.path for m in members]))
    assert read == [bytes([i]) * 1000 for i in range(40)]
    assert len(objects.requests) == 7  # six photos and their headers each


def test_photos_that_are_far_apart_or_in_no_order_are_read_one_by_one(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_GAP", 2000)
    objects.put("a.tar", pack({f"rose/{i}.jpg": bytes([i]) * 1000 for i in range(9)}))
    place = places.parse(objects.url)
    (shard,) = sources.contents(place).found
    members = sources.members(place, shard)
    for order, requests in (([0, 1, 8], 2), ([2, 1, 0], 3), ([4, 4, 4], 1)):
        objects.requests.clear()
        read = list(sources.stream([place / members[i].path for i in order]))
        assert read == [bytes([i]) * 1000 for i in order]
        assert len(objects.requests) == requests


def test_a_photo_whose_shard_has_changed_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(pack({"rose/1.jpg": b"one", "rose/2.jpg": b"two"}))
    (shard,) = sources.contents(tmp_path).found
    one, two = sources.members(tmp_path, shard)
    digests = [one.inspection.digest, two.inspection.digest]
    (tmp_path / "a.tar").write_bytes(pack({"rose/1.jpg": b"one", "rose/2.jpg": b"owt"}))
    first, second = sources.stream([tmp_path / m.path for m in (one, two)], digests)
    assert first == b"one"
    assert str(second) == f"{tmp_path}/{two.path} changed during the run; run again"


def test_shards_stand_below_class_folders_and_beside_them(
    tmp_path: Path, make_photo: PhotoMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    make_photo(tmp_path / "daisy/1.jpg")
    for name in ("a.tar", "rose/2019/b.TAR", "daisy/c.tar", ".hidden.tar", "daisy/.hidden.tar"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(pack({}))
    MemoryFileSystem().put(f"{tmp_path}/", "/photos", recursive=True)
    for place in (tmp_path, places.parse("memory://photos")):
        contents = sources.contents(place)
        assert contents.labels == ("daisy", "rose")
        assert sorted((found.label, found.path) for found in contents.found) == [
            ("", "a.tar"),
            ("daisy", "daisy/1.jpg"),
            ("daisy", "daisy/c.tar"),
            ("rose", "rose/2019/b.TAR"),
        ]


def arrange(folder: Path, make_photo: PhotoMaker) -> Path:
    """Write folders of splits with classes, a photo in none, and what other programs leave."""
    for path in ("train/rose/1.jpg", "train/tulip/2019/1.jpg", "val/rose/1.jpg", "train/stray.jpg"):
        make_photo(folder / path)
    for path in ("@eaDir/rose/1.jpg", "train/#recycle/1.jpg", "train/rose/._1.jpg"):
        make_photo(folder / path)
    (folder / "train/rose/.2.jpg.icloud").write_bytes(b"bplist00")
    (folder / "train/rose/notes.txt").write_text("no photo")
    (folder / "readme.md").write_text("no photo")
    (folder / "test").mkdir()
    (folder / "test/a.tar").write_bytes(pack({"rose/1.jpg": b"photo"}))
    return folder


def test_folders_of_splits_are_listed_alike_on_disk_and_in_a_store(
    tmp_path: Path, make_photo: PhotoMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    folder = arrange(tmp_path / "photos", make_photo)
    MemoryFileSystem().put(f"{folder}/", "/photos", recursive=True)
    for place in (folder, places.parse("memory://photos")):
        contents = sources.contents(place, Layout(split_folders=True))
        assert (contents.parts, contents.labels) == (("test", "train", "val"), ("rose", "tulip"))
        assert sorted((found.label, found.path, found.unusable) for found in contents.found) == [
            ("", "test/a.tar", ""),
            ("rose", "train/rose/.2.jpg.icloud", discovery.IN_ICLOUD),
            ("rose", "train/rose/1.jpg", ""),
            ("rose", "val/rose/1.jpg", ""),
            ("tulip", "train/tulip/2019/1.jpg", ""),
        ]
        assert contents.stray == 1
        assert contents.skipped.suffixes == {".txt": 1, ".md": 1}
        assert contents.skipped.leftovers == {"@eaDir": 1, "#recycle": 1, "._*": 1}


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("photos", "has no folders train and test; leave out split_folders"),
        ("photos/train", r"1 photos but no class folder.*train/daisy/1\.jpg"),
    ],
    ids=["classes", "a split without classes"],
)
def test_folders_of_splits_without_class_folders_are_explained(
    tmp_path: Path,
    make_photo: PhotoMaker,
    monkeypatch: pytest.MonkeyPatch,
    folder: str,
    reason: str,
) -> None:
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    make_photo(tmp_path / folder / ("rose/1.png" if folder == "photos" else "1.png"))
    MemoryFileSystem().put(f"{tmp_path}/photos/", "/photos", recursive=True)
    for place in (tmp_path / "photos", places.parse("memory://photos")):
        with pytest.raises(UserError, match=reason):
            sources.contents(place, Layout(split_folders=True))
