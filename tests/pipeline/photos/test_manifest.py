"""The manifest: what the data set holds, in one table."""

import hashlib
import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from pipeline.errors import UserError
from pipeline.photos import discovery, inspection, manifest
from pipeline.photos.layout import Layout
from pipeline.photos.listing import list_photos
from pipeline.photos.manifest import Summary
from pipeline.photos.split import TESTING, TRAINING, VALIDATION, PredefinedSplit, SplitRule, assign
from tests.support.tars import pack_folder

PhotoMaker = Callable[..., Path]
RULE = SplitRule()


def build(folder: Path, rule: SplitRule = RULE, known: pd.DataFrame | None = None) -> pa.Table:
    return manifest.build(list_photos(folder), folder, rule, known)


def summary_of(folder: Path, rule: SplitRule = RULE) -> Summary:
    path = folder.parent / "summary.parquet"
    manifest.write(build(folder, rule), path)
    return manifest.read_summary(path)


def listing_digest(folder: Path) -> str:
    return list_photos(folder).digest


def touch(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def test_a_manifest_has_the_documented_columns(photo_dir: Path) -> None:
    assert build(photo_dir).schema.equals(manifest.SCHEMA)


def test_there_is_one_row_a_photo_in_the_order_of_the_listing(photo_dir: Path) -> None:
    rows = build(photo_dir).to_pandas()
    assert list(rows["path"]) == [found.path for found in discovery.find(photo_dir)]
    assert list(rows["label"]) == ["green leaf"] * 24 + ["red_rose"] * 24


def test_each_photo_is_described(photo_dir: Path) -> None:
    for row in build(photo_dir).to_pylist():
        path = photo_dir / row["path"]
        stat = path.stat()
        assert row["digest"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (row["size"], row["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns)
        assert (row["width"], row["height"], row["format"]) == (48, 40, "JPEG")
        assert row["status"] == inspection.OK


@pytest.mark.parametrize("rule", [SplitRule(), SplitRule(0, 0), SplitRule(30, 20)])
def test_the_split_is_that_of_the_rule(photo_dir: Path, rule: SplitRule) -> None:
    rows = build(photo_dir, rule).to_pandas()
    assert list(rows["split"]) == [assign(rule, path) for path in rows["path"]]


def test_a_photo_that_a_given_split_leaves_out_is_set_aside(photo_dir: Path) -> None:
    listed = {f"{label}/{i}": TRAINING for label in ["green leaf", "red_rose"] for i in range(20)}
    rows = build(photo_dir, SplitRule(0, 0, PredefinedSplit(listed, None, False))).to_pandas()
    aside = rows[rows["status"] != inspection.OK]
    assert sorted(aside["path"]) == sorted(
        f"{label}/{i}.jpg" for label in ["green leaf", "red_rose"] for i in range(20, 24)
    )
    assert set(aside["status"]) == {manifest.UNLISTED}
    assert set(aside["split"]) == {""}


def test_a_broken_photo_is_in_no_part(photo_dir: Path) -> None:
    (photo_dir / "red_rose/0.jpg").write_text("no photo")
    rows = build(photo_dir).to_pandas().set_index("path")
    assert rows.loc["red_rose/0.jpg", "split"] == ""
    assert str(rows.loc["red_rose/0.jpg", "status"]).startswith("not a readable image")


def test_pandas_opens_a_written_manifest(photo_dir: Path, tmp_path: Path) -> None:
    table = build(photo_dir)
    manifest.write(table, tmp_path / "m.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "m.parquet"), table.to_pandas())


def test_the_summary_counts_the_rows(photo_dir: Path, tmp_path: Path) -> None:
    (photo_dir / "red_rose/0.jpg").write_text("no photo")
    manifest.write(build(photo_dir), tmp_path / "m.parquet")
    rows = manifest.read(tmp_path / "m.parquet")
    summary = manifest.read_summary(tmp_path / "m.parquet")
    assert [c.label for c in summary.classes] == ["green leaf", "red_rose"]
    for of_class in summary.classes:
        counts = rows[rows["label"] == of_class.label]["split"].value_counts()
        assert of_class.training == counts[TRAINING]
        assert of_class.validation == counts[VALIDATION]
        assert of_class.testing == counts[TESTING]
        assert of_class.set_aside == counts.get("", 0)
    assert str(summary) == (
        "Photos of 2 classes: 39 training, 4 validation, 4 testing, 1 set aside"
    )
    assert summary.by_label["red_rose"].usable == 23


def test_the_rows_of_some_classes_are_read(photo_dir: Path, tmp_path: Path) -> None:
    manifest.write(build(photo_dir), tmp_path / "m.parquet")
    rows = manifest.read(tmp_path / "m.parquet", ("red_rose",))
    assert list(rows["label"]) == ["red_rose"] * 24


def test_an_unchanged_photo_is_not_opened_again(photo_dir: Path) -> None:
    known = build(photo_dir).to_pandas()
    known["digest"] = "as known"
    assert set(build(photo_dir, known=known).to_pandas()["digest"]) == {"as known"}


def test_a_changed_photo_is_opened_again(photo_dir: Path, make_photo: PhotoMaker) -> None:
    known = build(photo_dir).to_pandas()
    known["digest"] = "as known"
    changed = make_photo(photo_dir / "red_rose/0.jpg", hue=2)
    rows = build(photo_dir, known=known).to_pandas().set_index("path")
    opened = rows[rows["digest"] != "as known"]
    assert list(opened.index) == ["red_rose/0.jpg"]
    assert opened["digest"].item() == hashlib.sha256(changed.read_bytes()).hexdigest()


def test_known_photos_that_are_gone_leave_no_row(photo_dir: Path) -> None:
    known = build(photo_dir).to_pandas()
    (photo_dir / "red_rose/0.jpg").unlink()
    assert build(photo_dir, known=known).equals(build(photo_dir))


def test_known_photos_are_split_anew(photo_dir: Path) -> None:
    known = build(photo_dir, SplitRule(0, 0)).to_pandas()
    assert build(photo_dir, known=known).equals(build(photo_dir))


def test_the_newest_manifest_of_the_same_folder_is_found(photo_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(photo_dir, tmp_path / "other")
    folders = [photo_dir, photo_dir, tmp_path / "other"]
    for day, (folder, rule) in enumerate(zip(folders, [SplitRule(0, 0), RULE, RULE], strict=True)):
        path = tmp_path / "manifests" / f"{9 - day}.parquet"
        manifest.write(build(folder, rule), path)
        os.utime(path, (day, day))
    rows = manifest.newest(tmp_path / "manifests", photo_dir)
    assert rows is not None
    pd.testing.assert_frame_equal(rows, build(photo_dir).to_pandas())


def test_a_photo_that_could_not_be_read_is_tried_again(photo_dir: Path, tmp_path: Path) -> None:
    (photo_dir / "red_rose/dangling.jpg").symlink_to("nowhere")
    manifest.write(build(photo_dir), tmp_path / "manifests" / "m.parquet")
    rows = manifest.newest(tmp_path / "manifests", photo_dir)
    assert rows is not None
    assert len(rows) == 48
    assert "red_rose/dangling.jpg" not in set(rows["path"])


def test_without_an_earlier_manifest_nothing_is_known(photo_dir: Path, tmp_path: Path) -> None:
    assert manifest.newest(tmp_path / "missing", photo_dir) is None


CHANGES: dict[str, Callable[[Path], object]] = {
    "touched": lambda folder: touch(folder / "red_rose/0.jpg"),
    "rewritten": lambda folder: shutil.copyfile(
        folder / "red_rose/1.jpg", folder / "red_rose/0.jpg"
    ),
    "removed": lambda folder: (folder / "red_rose/0.jpg").unlink(),
    "renamed": lambda folder: (folder / "red_rose/0.jpg").rename(folder / "red_rose/0.jpeg"),
    "added": lambda folder: (folder / "red_rose/new.jpg").write_bytes(b"x"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_listing_tells_a_changed_folder(photo_dir: Path, change: Callable[[Path], None]) -> None:
    before = listing_digest(photo_dir)
    change(photo_dir)
    assert listing_digest(photo_dir) != before


def test_a_listing_of_an_untouched_folder_is_the_same(photo_dir: Path) -> None:
    before = listing_digest(photo_dir)
    build(photo_dir)
    (photo_dir / "red_rose/notes.txt").write_text("no photo")
    assert listing_digest(photo_dir) == before


@pytest.mark.parametrize("name", ["rewritten", "removed", "renamed"])
def test_a_summary_tells_changed_photos(photo_dir: Path, name: str) -> None:
    before = summary_of(photo_dir, SplitRule(0, 0)).digest
    CHANGES[name](photo_dir)
    assert summary_of(photo_dir, SplitRule(0, 0)).digest != before


def test_a_summary_tells_other_percentages(photo_dir: Path) -> None:
    assert summary_of(photo_dir, SplitRule(30, 10)).digest != summary_of(photo_dir).digest


def test_a_summary_overlooks_what_changes_no_photo(photo_dir: Path) -> None:
    before = summary_of(photo_dir).digest
    touch(photo_dir / "red_rose/0.jpg")
    (photo_dir / "red_rose/new.jpg").write_text("no photo")
    assert summary_of(photo_dir).digest == before


def test_a_class_changes_only_with_its_own_photos(photo_dir: Path, make_photo: PhotoMaker) -> None:
    before = summary_of(photo_dir)
    make_photo(photo_dir / "red_rose/new.jpg", 1, 99)
    after = summary_of(photo_dir)
    assert after.by_label["green leaf"] == before.by_label["green leaf"]
    assert after.by_label["red_rose"].digest != before.by_label["red_rose"].digest


def test_one_class_alone_is_refused(photo_dir: Path) -> None:
    shutil.rmtree(photo_dir / "red_rose")
    with pytest.raises(UserError, match=r"1 class .*'green leaf'.* at least two") as refusal:
        build(photo_dir)
    assert f"image_dir: {photo_dir} " in str(refusal.value)


def test_a_refusal_says_why_photos_were_set_aside(tmp_path: Path) -> None:
    for label in ["rose", "daisy"]:
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.jpg").touch()
    with pytest.raises(UserError, match="has 0 classes with") as refusal:
        build(tmp_path)
    assert "\n  daisy/1.jpg: empty file" in str(refusal.value)
    assert "\n  rose/1.jpg: empty file" in str(refusal.value)


def test_class_folders_without_a_photo_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rose").mkdir()
    with pytest.raises(UserError, match="contain no photos; put JPEG") as refusal:
        list_photos(tmp_path)
    assert str(tmp_path) in str(refusal.value)


def test_progress_is_told_of_all_photos(photo_dir: Path) -> None:
    calls: list[tuple[int, int]] = []
    listing = list_photos(photo_dir)
    manifest.build(
        listing, photo_dir, RULE, progress=lambda done, total, _: calls.append((done, total))
    )
    assert calls[-1] == (48, 48)


def test_a_given_split_that_is_taken_away_is_forgotten(photo_dir: Path) -> None:
    listed = {f"{label}/{i}": TRAINING for label in ["green leaf", "red_rose"] for i in range(20)}
    known = build(photo_dir, SplitRule(0, 0, PredefinedSplit(listed, None, False))).to_pandas()
    assert (known["status"] == manifest.UNLISTED).any()
    assert set(build(photo_dir, RULE, known).to_pandas()["status"]) == {inspection.OK}


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_bad_file_among_the_manifests_is_passed_over(
    photo_dir: Path, tmp_path: Path, damage: str
) -> None:
    manifest.write(build(photo_dir), tmp_path / "manifests" / "good.parquet")
    bad = tmp_path / "manifests" / "bad.parquet"
    if damage == "cut":
        bad.write_bytes((tmp_path / "manifests" / "good.parquet").read_bytes()[:300])
    else:
        pd.DataFrame({"a": [1]}).to_parquet(bad)
    rows = manifest.newest(tmp_path / "manifests", photo_dir)
    assert rows is not None
    assert len(rows) == 48


def test_a_manifest_of_another_version_is_passed_over(
    photo_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest.write(build(photo_dir), tmp_path / "manifests" / "1.parquet")
    monkeypatch.setattr(manifest, "FORMAT_VERSION", manifest.FORMAT_VERSION + 1)
    assert manifest.newest(tmp_path / "manifests", photo_dir) is None


def test_a_manifest_without_the_column_of_problems_is_read_with_it(
    photo_dir: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (8, 8)).save(photo_dir / "red_rose/scan.tiff")
    (photo_dir / "red_rose/broken.jpg").symlink_to("nowhere")
    listed = {f"{label}/{i}": TRAINING for label in ("green leaf", "red_rose") for i in range(20)}
    table = build(photo_dir, SplitRule(0, 0, PredefinedSplit(listed, None, False)))
    manifest.write(table.drop_columns("problem"), tmp_path / "old.parquet")
    assert list(manifest.read(tmp_path / "old.parquet")["problem"]) == table["problem"].to_pylist()
    assert {"unsupported", "unreadable", "unlisted", ""} == {*table["problem"].to_pylist()}


def test_equal_photos_share_a_part_when_asked_for(photo_dir: Path) -> None:
    first = photo_dir / "red_rose/0.jpg"
    for number in range(100, 130):
        shutil.copy(first, photo_dir / f"red_rose/{number}.jpg")

    def parts(rule: SplitRule) -> set[str]:
        rows = build(photo_dir, rule).to_pandas()
        return set(rows["split"][rows["digest"] == hashlib.sha256(first.read_bytes()).hexdigest()])

    assert len(parts(RULE)) > 1
    assert len(parts(SplitRule(group_duplicates=True))) == 1


def test_what_is_set_aside_has_a_digest_of_its_own(photo_dir: Path) -> None:
    before = summary_of(photo_dir)
    (photo_dir / "red_rose/broken.jpg").write_bytes(b"")
    after = summary_of(photo_dir)
    assert after.digest == before.digest
    assert after.aside_digest != before.aside_digest


def test_photos_without_colour_are_marked(photo_dir: Path) -> None:
    Image.new("L", (48, 40), 100).save(photo_dir / "red_rose/grey.png")
    rows = build(photo_dir).to_pandas().set_index("path")["grey"]
    assert rows[rows].index.tolist() == ["red_rose/grey.png"]


def test_a_damaged_manifest_is_named_with_what_to_do(photo_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    manifest.write(build(photo_dir), path)
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(data)
    assert len(manifest.read_summary(path).classes) == 2  # its end is whole
    with pytest.raises(UserError, match=rf"{path} is damaged .*; delete it, and run again"):
        manifest.read(path)
    assert manifest.newest(tmp_path, photo_dir) is None


@pytest.mark.parametrize(
    "metadata", [None, {}, {"retrain": "["}, {"retrain": "[]"}, {"retrain": '{"classes": [{}]}'}]
)
def test_a_table_without_a_summary_is_no_manifest(
    photo_dir: Path, tmp_path: Path, metadata: dict[str, str] | None
) -> None:
    manifest.write(build(photo_dir).replace_schema_metadata(metadata), tmp_path / "m.parquet")
    with pytest.raises(pa.ArrowInvalid, match="it is not a manifest"):
        manifest.read_summary(tmp_path / "m.parquet")
    assert manifest.newest(tmp_path, photo_dir) is None


def test_an_empty_class_folder_changes_nothing_else(photo_dir: Path) -> None:
    before = summary_of(photo_dir)
    (photo_dir / "tulip").mkdir()
    assert summary_of(photo_dir).digest == before.digest


def test_folders_of_splits_state_the_split_and_names_do_not_collide(
    tmp_path: Path, make_photo: PhotoMaker
) -> None:
    for label in ("rose", "tulip"):
        for part in ("train", "Valid", "test"):
            make_photo(tmp_path / part / label / "1.jpg", seed=len(part))
    listing = list_photos(tmp_path, Layout(split_folders=True))
    rows = manifest.build(listing, tmp_path, RULE).to_pandas()
    assert dict(zip(rows["path"], rows["split"], strict=True)) == {
        f"{part}/{label}/1.jpg": split
        for part, split in (("train", TRAINING), ("Valid", VALIDATION), ("test", TESTING))
        for label in ("rose", "tulip")
    }
    assert list(rows["label"]) == [path.split("/")[1] for path in rows["path"]]
    assert listing.labels == ("rose", "tulip")


def test_the_photos_of_an_object_share_a_split_wherever_the_folder_is(
    tmp_path: Path, make_photo: PhotoMaker
) -> None:
    views = ("front", "back", "side")
    for label in ("cup", "pan"):
        for item in range(40):
            for number, view in enumerate(views):
                make_photo(tmp_path / f"one/{label}/item {item}/{view}.jpg", number, item)
    splits = {}
    for name in ("one", "two"):
        rows = build(tmp_path / name).to_pandas()
        splits[name] = list(rows["split"])
        objects = rows.groupby(rows["path"].str.rpartition("/")[0])["split"].nunique()
        assert (objects == 1).all()
        assert set(rows["split"]) == {TRAINING, VALIDATION, TESTING}
        if name == "one":
            (tmp_path / "one").rename(tmp_path / "two")
    assert splits["one"] == splits["two"]


def test_merged_labels_are_one_class(photo_dir: Path) -> None:
    meaning = Layout(merge_labels=(("green leaf", "plant"), ("red_rose", "plant")))
    (photo_dir / "sky").mkdir()
    shutil.copytree(photo_dir / "red_rose", photo_dir / "sky", dirs_exist_ok=True)
    listing = list_photos(photo_dir, meaning)
    table = manifest.build(listing, photo_dir, RULE)
    assert [c.label for c in manifest.summary_of(table.schema).classes] == ["plant", "sky"]
    rows = table.to_pandas()
    assert set(rows["path"].str.partition("/")[0]) == {"green leaf", "red_rose", "sky"}
    assert listing.digest != list_photos(photo_dir).digest


def test_a_file_that_is_no_photo_by_name_and_content_is_no_photo_set_aside(
    photo_dir: Path,
) -> None:
    before = summary_of(photo_dir)
    (photo_dir / "red_rose/README").write_text("no photo")
    (photo_dir / "red_rose/empty").touch()
    shutil.copyfile(photo_dir / "red_rose/0.jpg", photo_dir / "red_rose/x.jpg.1")
    rows = build(photo_dir).to_pandas().set_index("path")
    assert rows["problem"]["red_rose/README"] == rows["problem"]["red_rose/empty"] == "skipped"
    assert rows["status"]["red_rose/x.jpg.1"] == inspection.OK
    (photo_dir / "red_rose/x.jpg.1").unlink()
    assert summary_of(photo_dir) == before


def test_labels_in_tar_files_are_known_only_for_the_same_layout(
    photo_dir: Path, tmp_path: Path
) -> None:
    packed = pack_folder(photo_dir, tmp_path / "packed")
    merged = Layout(merge_labels=(("green leaf", "leaf"),))
    table = manifest.build(list_photos(packed, merged), packed, RULE)
    assert set(table["label"].to_pylist()) == {"leaf", "red_rose"}
    manifest.write(table, tmp_path / "manifests/m.parquet")
    known = manifest.newest(tmp_path / "manifests", packed, merged)
    assert known is not None
    assert len(known) == 48
    other = manifest.newest(tmp_path / "manifests", packed)
    assert other is not None
    assert other.empty


def test_a_split_inside_tar_files_is_read_or_refused(photo_dir: Path, tmp_path: Path) -> None:
    photo_dir.rename(tmp_path / "inner")
    parts = tmp_path / "parts"
    for part in ("train", "test"):
        shutil.copytree(tmp_path / "inner", parts / part)
    packed = pack_folder(parts, tmp_path / "packed")
    with pytest.raises(UserError, match="pass --split-folders"):
        build(packed)
    listing = list_photos(packed, Layout(split_folders=True))
    rows = manifest.build(listing, packed, SplitRule(0, 0)).to_pandas()
    assert set(rows["label"]) == {"green leaf", "red_rose"}
    assert rows["split"].value_counts().to_dict() == {TRAINING: 48, TESTING: 48}


def test_labels_and_splits_are_the_same_where_accents_are_stored_decomposed(
    tmp_path: Path, make_photo: PhotoMaker
) -> None:
    """As on macOS. The last photos are a copy, so that the order of names decides as well."""
    names = [f"\u00e9t\u00e9 {number}.png" for number in range(40)]
    tested = [name for name in names if assign(RULE, f"x/{name}") == TESTING]
    assert tested
    copies = ("f.png", tested[0])
    rows = []
    for form in ("NFC", "NFD"):
        folder = tmp_path / form
        for hue, label in enumerate(["caf\u00e9", "rose"]):
            for seed, name in enumerate(names):
                seed = 99 if (hue, name) == (0, tested[0]) else seed
                make_photo(folder / unicodedata.normalize(form, f"{label}/{name}"), hue, seed)
        make_photo(folder / unicodedata.normalize(form, f"caf\u00e9/{copies[0]}"), 0, 99)
        table = build(folder, SplitRule(group_duplicates=True)).to_pandas()
        assert set(table["label"]) == {"caf\u00e9", "rose"}
        assert all((folder / path).is_file() for path in table["path"])
        table["path"] = [unicodedata.normalize("NFC", path) for path in table["path"]]
        rows.append(table[["label", "path", "split"]].sort_values("path", ignore_index=True))
    pd.testing.assert_frame_equal(*rows)
