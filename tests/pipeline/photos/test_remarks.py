"""Remarks on the data set: one line each, and none without a reason."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pipeline.photos import manifest, remarks
from pipeline.photos.decisions import Applied
from pipeline.photos.layout import PLAIN, Layout, parse_merge_labels
from pipeline.photos.listing import list_photos
from pipeline.photos.manifest import ClassSummary
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


def test_data_sets_instead_of_classes_are_remarked_on(
    tmp_path: Path, make_photo: PhotoMaker
) -> None:
    for path in ("pets/cat", "pets/dog", "plants/rose", "plants/tulip"):
        for number in range(20):
            make_photo(tmp_path / path / f"{path[-3:]}{number}.jpg", number, number)
    line, *_ = lines_about(tmp_path)
    assert line == (
        "All photos are in folders within the class folders (pets/cat, plants/rose), and are "
        "classified only as pets, plants. If the inner folders are the classes, set image_dir to "
        f"one of the outer ones, such as {tmp_path}/pets"
    )
    make_photo(tmp_path / "pets/1.jpg")
    assert not any(line.startswith("All photos are in folders") for line in lines_about(tmp_path))


@pytest.mark.parametrize("names", [("2019", "2020", "2021"), ("top", "side", "front")])
def test_classes_with_years_or_views_are_not(
    names: tuple[str, ...], tmp_path: Path, make_photo: PhotoMaker
) -> None:
    for name in names:
        for label in ("cup", "jug", "pan", "pot"):
            make_photo(tmp_path / label / name / f"{label} {name}.jpg", 1, len(name))
    assert not any(line.startswith("All photos are in folders") for line in lines_about(tmp_path))


def test_photos_outside_class_folders_are_remarked_on(photo_dir: Path) -> None:
    (photo_dir / "1.jpg").touch()
    (line,) = lines_about(photo_dir)
    assert line.startswith(f"1 photos are directly in {photo_dir} and belong to no class")


def test_an_empty_class_folder_is_remarked_on(photo_dir: Path) -> None:
    (photo_dir / "tulip").mkdir()
    lines = lines_about(photo_dir)
    assert any(line.startswith("Class 'tulip' has no usable photo") for line in lines)


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        (["Coast", "coast"], "'Coast' and 'coast'"),
        (["livingRoom", "living room", "living-room", "living_room"], "'living room' and "),
        (["cafe", "caf\u00e9"], "'cafe' and 'caf\u00e9'"),
        (["Stra\u00dfe", "strasse"], "'Stra\u00dfe' and 'strasse'"),
        (["rose", "rose "], "'rose' and 'rose '"),
    ],
)
def test_labels_that_are_almost_the_same_are_named(labels: list[str], line: str) -> None:
    (found,) = remarks.label_lines(["other", *labels])
    assert line in found
    merged = found.partition("--merge-labels '")[2].removesuffix("'")
    replaced = dict(parse_merge_labels(merged))
    assert {replaced.get(label, label) for label in labels} == {min(labels)}


@pytest.mark.parametrize(
    "labels", [["rose", "roses"], ["1", "2"], ["+", "-"], ["ハ", "バ"], ["日本", "日"], ["C", "C+"]]
)
def test_labels_that_differ_need_no_remark(labels: list[str]) -> None:
    assert list(remarks.label_lines(labels)) == []


def test_skipped_files_are_counted(photo_dir: Path, make_photo: PhotoMaker) -> None:
    for name in ("a.txt", "b.txt", "c.json", "README", "._1.jpg"):
        (photo_dir / "red_rose" / name).write_text("no photo")
    (photo_dir / "list.csv").write_text("no photo")
    make_photo(photo_dir / "@eaDir/red_rose/1.jpg")
    assert lines_about(photo_dir) == [
        "Skipped 2 files or folders of the operating system or other programs: ._*, @eaDir",
        "Skipped 5 files that are not photos: 2 .txt, 1 .json, 1 .csv, 1 without suffix",
    ]


def share_lines(folder: Path, rule: SplitRule = RULE, layout: Layout = PLAIN) -> list[str]:
    return [line for line in lines_about(folder, rule, layout) if " instead of " in line]


def test_few_names_that_decide_about_many_photos_are_remarked_on(
    photo_dir: Path, make_photo: PhotoMaker
) -> None:
    photo = make_photo(photo_dir / "daisy/0.jpg").read_bytes()
    for label in range(40):
        (photo_dir / f"class {label}").mkdir()
        for name in ("front", "back", "left", "right"):
            (photo_dir / f"class {label}/{name}.jpg").write_bytes(photo)
    (line,) = share_lines(photo_dir, SplitRule(0, 20))
    assert line.startswith("testing has ")
    assert "different names; give the photos different names" in line


def test_few_objects_in_folders_are_remarked_on(photo_dir: Path, make_photo: PhotoMaker) -> None:
    photo = make_photo(photo_dir / "daisy/0.jpg").read_bytes()
    for item in ("a", "b", "c"):
        (photo_dir / "cup" / item).mkdir(parents=True)
        for i in range(100):
            (photo_dir / "cup" / item / f"{i}.jpg").write_bytes(photo)
    (line,) = share_lines(photo_dir, SplitRule(0, 20))
    assert "only 3 different folders of objects; add objects" in line


def test_shares_that_chance_explains_need_no_remark(tmp_path: Path, photo_dir: Path) -> None:
    photo = (photo_dir / "red_rose/0.jpg").read_bytes()
    for label in ("a", "b"):
        (tmp_path / "many" / label).mkdir(parents=True)
        for i in range(500):
            (tmp_path / "many" / label / f"{label}{i}.jpg").write_bytes(photo)
    assert share_lines(tmp_path / "many") == []


def test_folders_of_splits_without_a_test_folder_are_remarked_on(photo_dir: Path) -> None:
    (photo_dir.parent / "parts").mkdir()
    photo_dir.rename(photo_dir.parent / "parts/train")
    lines = lines_about(photo_dir.parent / "parts", RULE, Layout(split_folders=True))
    assert lines == [
        "split_folders: there are no usable test photos, so the accuracy is not measured; add a "
        "folder named test with photos of each class"
    ]


def test_test_photos_of_classes_that_are_not_trained_are_remarked_on(
    photo_dir: Path, make_photo: PhotoMaker
) -> None:
    (photo_dir.parent / "parts").mkdir()
    photo_dir.rename(photo_dir.parent / "parts/train")
    for name in ("Rose/1.jpg", "Rose/2.jpg", "Leaf/3.jpg"):
        make_photo(photo_dir.parent / "parts/test" / name)
    lines = lines_about(photo_dir.parent / "parts", RULE, Layout(split_folders=True))
    assert lines[-1] == (
        "split_folders: all 3 test photos are of classes without training photos (Leaf, Rose), so "
        "the accuracy is not measured; name the class folders of the test folder like those of the "
        "training folder"
    )


def summary(label: str, training: int, testing: int = 0) -> ClassSummary:
    return ClassSummary(label, "", training, 0, testing, 0)


def test_classes_that_lose_photos_to_the_decoder_are_counted_again() -> None:
    classes = [summary("a", 1), summary("b", 1, 1), summary("c", 21), summary("d", 5)]
    lost = pd.DataFrame(
        [("a", TRAINING), ("b", TRAINING), ("c", TRAINING), ("c", TRAINING)],
        columns=["label", "split"],
    )
    assert list(remarks.lost_lines(classes, lost)) == [
        "Class 'a' has no usable photos and is left out; add photos to it.",
        "Class 'b' has no photos for training and is left out; add photos to it.",
        "Classes with fewer than 20 photos (accuracy may suffer): b (1), c (19)",
    ]
    assert list(remarks.lost_lines(classes, lost.head(0))) == []


def test_classes_that_a_model_lacks_are_named() -> None:
    classes = [summary("a", 1), summary("b", 0), summary("c", 1)]
    (line,) = remarks.left_out_lines(classes, ["a", "c"])
    assert line.startswith("The model has 2 of 3 classes; left out, ")
    assert line.endswith(": 'b'")
    assert list(remarks.left_out_lines(classes, ["a", "b", "c"])) == []


def test_corrections_that_are_done_are_silent_and_others_name_their_lines() -> None:
    file, classes = Path("corrections.csv"), ["Kiwi", "kiwis", "lime"]
    done = Applied({}, {}, missing=(), elsewhere=(), needless=(), conflicts=(), new_labels=())
    assert list(remarks.correction_lines(done, classes, file, "out")) == []
    open_lines = replace(done, relabelled={"a.jpg": "Kiwi"}, new_labels=["kiwis"], missing=[2])
    open_lines = replace(open_lines, elsewhere=[3, 4], needless=[5], conflicts=[[6, 7]])
    lines = remarks.correction_lines(open_lines, classes, file, "out")
    assert [line.replace(" corrections.csv", "") for line in lines] == [
        "Corrections: 1 photo relabelled, 0 excluded by",
        "corrections: kiwis is a new class; did you mean Kiwi?",
        "corrections: lines of contradict each other about 1 photo; the last one counts. "
        "Delete one of lines 6 and 7",
        "corrections: has 1 line about photos that are not in image_dir: 2",
        "corrections: has 2 lines about photos that are not in image_dir yet; copy them with make "
        "apply-corrections OUTPUT_DIR=out APPLY=1: 3, 4",
        "corrections: has 1 line giving photos the label that they have anyway; delete them: 5",
    ]
