"""The manifest of photos in shards: as from files, each shard read once a version."""

from pathlib import Path

import pandas as pd

from pipeline.files import places
from pipeline.files.places import Place
from pipeline.photos import manifest, tars
from pipeline.photos.listing import list_photos
from pipeline.photos.split import SplitRule
from tests.support.objects import Objects
from tests.support.photos import PhotoMaker
from tests.support.tars import pack, pack_folder


def build(image_dir: Place, known: pd.DataFrame | None = None) -> pd.DataFrame:
    table = manifest.build(list_photos(image_dir), image_dir, SplitRule(), known)
    rows: pd.DataFrame = table.to_pandas()
    return rows


def content(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without what tells shards from files."""
    rows = rows.drop(columns=["mtime_ns", "ctime_ns"])
    return rows.assign(path=rows["path"].map(tars.unpacked)).sort_values("path", ignore_index=True)


def test_shards_give_the_rows_that_files_give(
    photo_dir: Path, tmp_path: Path, objects: Objects
) -> None:
    (photo_dir / "red_rose/damaged.jpg").write_bytes(b"no photo")
    (photo_dir / "red_rose/empty.jpg").touch()
    expected = content(build(photo_dir))
    packed = pack_folder(photo_dir, tmp_path / "packed", 3)
    by_class = tmp_path / "by_class"
    for label in ("green leaf", "red_rose"):
        pack_folder(photo_dir / label, by_class / label)
    url = places.parse(objects.put_folder(packed, "packed"))
    for place in (packed, by_class, url):
        pd.testing.assert_frame_equal(content(build(place)), expected)


def test_files_and_shards_of_one_class_go_together(
    photo_dir: Path, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    photo = make_photo(tmp_path / "1.jpg", 1, 99).read_bytes()
    (photo_dir / "a.tar").write_bytes(pack({"red_rose/new.jpg": photo, "tulip/new.jpg": photo}))
    table = manifest.build(list_photos(photo_dir), photo_dir, SplitRule())
    manifest.write(table, tmp_path / "manifest.parquet")
    classes = manifest.read_summary(tmp_path / "manifest.parquet").classes
    assert [(c.label, c.usable) for c in classes] == [
        ("green leaf", 24),
        ("red_rose", 25),
        ("tulip", 1),
    ]


def test_a_shard_is_read_again_only_where_it_changed(
    photo_dir: Path, tmp_path: Path, objects: Objects
) -> None:
    packed = pack_folder(photo_dir, tmp_path / "packed", 3)
    with (packed / "2.tar").open("ab") as file:
        file.truncate(10_000)  # what is wrong with it is remembered, too
    url = places.parse(objects.put_folder(packed, "packed"))
    first = build(url)
    assert "the tar file is truncated here; copy it again" in set(first["status"])
    objects.requests.clear()
    pd.testing.assert_frame_equal(build(url, first), first)
    assert len(objects.requests) == 1
    objects.put("packed/0.tar", pack({}))
    again = build(url, first)
    assert objects.requests[2:] == ["GET /bucket/packed/0.tar"]
    assert set(again["path"]) == {path for path in first["path"] if not path.startswith("0.tar")}


def test_a_shard_that_is_gone_is_tried_again(photo_dir: Path, tmp_path: Path) -> None:
    packed = pack_folder(photo_dir, tmp_path / "packed")
    pack_folder(photo_dir, packed / "more", 2)
    (packed / "1.tar").write_bytes(pack({}))
    listing = list_photos(packed)
    (packed / "1.tar").unlink()
    table = manifest.build(listing, packed, SplitRule())
    manifest.write(table, tmp_path / "manifests/1.parquet")
    rows = manifest.read(tmp_path / "manifests/1.parquet")
    assert rows[rows["path"] == "1.tar"]["status"].tolist() == [
        "cannot be read: No such file or directory"
    ]
    known = manifest.newest(tmp_path / "manifests", packed)
    assert known is not None
    assert "1.tar" not in set(known["path"])
    assert len(known) == len(rows) - 1
