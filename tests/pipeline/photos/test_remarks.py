"""Remarks on the data set: one line each, and none without a reason."""

from pathlib import Path

import pytest

from pipeline.photos import manifest, remarks
from pipeline.photos.layout import PLAIN, Layout
from pipeline.photos.listing import list_photos
from pipeline.photos.split import TESTING, TRAINING, VALIDATION, PredefinedSplit, SplitRule
from tests.support.photos import PhotoMaker

RULE = SplitRule()


def lines_about(folder: Path, rule: SplitRule = RULE, layout: Layout = PLAIN) -> list[str]:
    listing = list_photos(folder, layout)
    table = manifest.build(listing, folder, rule)
    return list(remarks.summary_lines(table, listing, folder, rule))


def test_good_photos_need_no_remark(photo_dir: Path) -> None:
    assert lines_about(photo_dir) == []


def test_photos_set_aside_are_named_up_to_a_limit(photo_dir: Path) -> None:
    for i in range(remarks.MOST_NAMED + 5):
        (photo_dir / "red_rose" / f"broken {i:02}.jpg").touch()
    named = [f"Set aside: red_rose/broken {i:02}.jpg: empty" for i in range(remarks.MOST_NAMED)]
    *lines, last = lines_about(photo_dir)
    assert [line.split(" file;")[0] for line in lines] == named
    assert last.startswith("Set aside: 5 more")


def test_few_photos_are_remarked_on(photo_dir: Path, make_photo: PhotoMaker) -> None:
    for i in range(19):
        make_photo(photo_dir / "daisy" / f"{i}.jpg", 2, i)
    assert "Classes with fewer than 20 photos (accuracy may suffer): daisy (19)" in lines_about(
        photo_dir
    )
    make_photo(photo_dir / "daisy" / "19.jpg", 2, 19)
    assert not any(line.startswith("Fewer than") for line in lines_about(photo_dir))


def test_a_class_without_usable_photo_is_remarked_on(photo_dir: Path) -> None:
    (photo_dir / "daisy").mkdir()
    (photo_dir / "daisy/1.jpg").touch()
    assert any("'daisy' has no usable photo" in line for line in lines_about(photo_dir))


def test_a_class_without_training_photo_is_remarked_on(
    photo_dir: Path, make_photo: PhotoMaker
) -> None:
    make_photo(photo_dir / "daisy/1.jpg")
    rule = SplitRule(10, 10, PredefinedSplit({"daisy/1": TESTING}, TRAINING, False))
    assert any(
        "'daisy' has no photos for training" in line for line in lines_about(photo_dir, rule)
    )


@pytest.mark.parametrize(
    ("rule", "part", "photos"),
    [(SplitRule(0, 10), VALIDATION, "validation"), (SplitRule(10, 0), TESTING, "test")],
)
def test_classes_without_a_part_are_named(
    photo_dir: Path, rule: SplitRule, part: str, photos: str
) -> None:
    (line,) = lines_about(photo_dir, rule)
    assert line.startswith(f"2 of 2 classes have no {photos} photos: green leaf, red_rose.")
    assert line.endswith(f"raise {part}_percentage.")


def test_photos_outside_class_folders_are_remarked_on(photo_dir: Path) -> None:
    (photo_dir / "1.jpg").touch()
    (line,) = lines_about(photo_dir)
    assert line.startswith(f"1 photos are directly in {photo_dir} and belong to no class")


def test_an_empty_class_folder_is_remarked_on(photo_dir: Path) -> None:
    (photo_dir / "tulip").mkdir()
    lines = lines_about(photo_dir)
    assert any(line.startswith("Class 'tulip' has no usable photo") for line in lines)
