"""What the name of a file says about it."""

import pytest

from pipeline.photos import file_names
from pipeline.photos.file_names import Kind, Skipped


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Kind.PHOTO, ["1.jpg", "1.JPEG", "a.b.png", "日本.webp", "scan.tiff", "x.heic"]),
        (Kind.UNKNOWN, ["1", "1.jpg.1", "2024.05.17", "Dr. No", "1.jpg copy", "1.nef", "name."]),
        (Kind.OTHER, ["a.txt", "A.TXT", "a.json", "a.csv", "a.mp4", "a.zip", "a.pdf", "a.py"]),
        (Kind.LEFTOVER, [".DS_Store", "._1.jpg", "Thumbs.db", "Desktop.ini", "Icon\r", "~$1.jpg"]),
        (Kind.LEFTOVER, ["1.jpg.crdownload", "1.jpg.part", "1.jpg~", ".hidden.jpg", ".jpg"]),
        (Kind.LEFTOVER, [".notes.txt.icloud"]),
        (Kind.PLACEHOLDER, [".1.jpg.icloud", ".A b.HEIC.icloud"]),
    ],
)
def test_a_name_says_what_a_file_is(kind: Kind, names: list[str]) -> None:
    assert {name: file_names.kind(name) for name in names} == dict.fromkeys(names, kind)


@pytest.mark.parametrize(
    "name",
    [
        *("@eaDir", "#recycle", "$RECYCLE.BIN", "$Recycle.Bin", ".Trashes", ".Trash-1000"),
        *("lost+found", "__MACOSX", ".snapshot", "~snapshot", ".thumbnails", "@Recycle"),
        *("System Volume Information", ".git", ".ipynb_checkpoints", "FOUND.000"),
    ],
)
def test_folders_of_other_programs_are_called_by_their_name(name: str) -> None:
    assert file_names.leftover(name) == name


@pytest.mark.parametrize("name", ["rose", "recycled", "#1", "@home", "train.2", "$", "日本"])
def test_other_folders_may_be_classes(name: str) -> None:
    assert file_names.leftover(name) == ""


def test_skipped_files_are_counted_by_name_and_by_suffix() -> None:
    skipped = Skipped()
    names = ["1.jpg", "a.txt", "B.TXT", "c.json", "._1.jpg", "._2.jpg", "Thumbs.db", "1"]
    assert [name for name in names if not skipped.is_skipped(name)] == ["1.jpg", "1"]
    assert skipped.suffixes == {".txt": 2, ".json": 1}
    assert skipped.leftovers == {"._*": 2, "Thumbs.db": 1}


@pytest.mark.parametrize(
    ("name", "named"),
    [("1.jpg", True), ("1.jpg.1", True), ("1.JPG copy", True), (".1.jpg", False), ("jpg", False)],
)
def test_a_name_with_the_suffix_of_a_photo_names_one(name: str, named: bool) -> None:
    assert file_names.names_photo(name) == named


@pytest.mark.parametrize(
    ("path", "without"),
    [
        *(("a/1.jpg", "a/1"), ("a/1.JPEG", "a/1"), ("a/shot00.2.png", "a/shot00.2")),
        *(("a/shot00.2", "a/shot00.2"), ("st. john/1", "st. john/1"), ("a/.jpg", "a/.jpg")),
    ],
)
def test_only_the_suffix_of_an_image_format_is_removed(path: str, without: str) -> None:
    assert file_names.without_photo_suffix(path) == without


def test_a_path_is_one_line_of_a_log() -> None:
    assert file_names.printable("a\nb\u2028\udcff.jpg") == "a\\nb\\u2028\\udcff.jpg"
    screenshot = "Screenshot 2026-11-28 at 1.00\u202fPM.png"
    assert file_names.printable(screenshot) == screenshot
