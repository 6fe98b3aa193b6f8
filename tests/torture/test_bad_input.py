"""Bad input, and what becomes of it: the table that docs/reliability.md shows."""

import io
import os
import pickle
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
from PIL import Image

from pipeline import checkpoint, manifest, photos
from pipeline.errors import UserError
from pipeline.split import SplitRule
from tests.conftest import ROOT, PhotoMaker


def encoded(kind: str, mode: str = "RGB", **how: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (48, 40), "teal").convert(mode).save(file, kind, **how)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def gif_bomb() -> bytes:
    """A tiny first frame, and further ones of 8,000 x 8,000 pixels."""
    file = io.BytesIO()
    Image.new("P", (8000, 8000)).save(file, "GIF")
    large = file.getvalue()
    frame = large[large.index(b",\0\0\0\0") : -1]
    return encoded("GIF", "P")[:-1] + frame * 2 + b";"


USED = "ok"
FILES = {
    "empty": (b"", "empty file"),
    "text named .jpg": (b"<html>not a photo</html>", "not an image"),
    "truncated JPEG": (encoded("JPEG")[:-40], "truncated JPEG"),
    "truncated PNG": (encoded("PNG")[:-20], "truncated PNG"),
    "PNG named .jpg": (encoded("PNG"), USED),
    "progressive JPEG": (encoded("JPEG", progressive=True), USED),
    "CMYK JPEG": (encoded("JPEG", "CMYK"), USED),
    "grey JPEG": (encoded("JPEG", "L"), USED),
    "1-bit PNG": (encoded("PNG", "1"), USED),
    "16-bit PNG": (encoded("PNG", "I;16"), USED),
    "PNG with a palette": (encoded("PNG", "P"), USED),
    "PNG with alpha": (encoded("PNG", "RGBA"), USED),
    "BMP with a palette": (encoded("BMP", "P"), "BMP with a palette is not supported"),
    "WebP": (encoded("WEBP"), USED),
    "animated WebP": (
        encoded("WEBP", save_all=True, append_images=[Image.new("RGB", (48, 40))]),
        "animated WebP is not supported",
    ),
    "TIFF": (encoded("TIFF"), "TIFF is not supported"),
    "HEIC": (b"\0\0\0\x18ftypheic" + b"\0" * 64, "HEIC is not supported"),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG is not supported"),
    "PNG of 20,000 x 20,000 pixels": (png_header(20_000, 20_000), "20000 x 20000 pixels"),
    "GIF with large later frames": (gif_bomb(), "GIF frames of more than 100 million pixels"),
}


@pytest.mark.parametrize("case", FILES)
def test_each_file_is_used_or_set_aside_with_its_reason(case: str, tmp_path: Path) -> None:
    content, outcome = FILES[case]
    (tmp_path / "photo.jpg").write_bytes(content)
    assert photos.inspect(tmp_path / "photo.jpg").status.startswith(outcome)


def test_the_page_shows_the_same_table() -> None:
    page = (ROOT / "docs/reliability.md").read_text()
    for case, (_, outcome) in FILES.items():
        shown = "used" if outcome == USED else f"set aside: {outcome}"
        assert f"| {case} | {shown} |" in page


NAMES = ["with space", "quo'te\"s", "a,b", "-rf", "😀", "\u202eltr", "n" * 255, "Rose", "rose"]


def test_labels_of_all_kinds_are_classes(tmp_path: Path, make_photo: PhotoMaker) -> None:
    for number, name in enumerate(NAMES):
        for seed in range(2):
            make_photo(tmp_path / name / f"-{seed} \n'\".jpg", number, seed, kind="JPEG")
    table = manifest.build(manifest.list_photos(tmp_path), tmp_path, SplitRule(0, 0))
    assert sorted(set(table["label"].to_pylist())) == sorted(NAMES)
    assert set(table["status"].to_pylist()) == {photos.OK}


def test_a_label_with_a_line_break_is_set_aside_and_shown_on_one_line(
    photo_dir: Path, make_photo: PhotoMaker
) -> None:
    make_photo(photo_dir / "two\nlines/1.jpg")
    table = manifest.build(manifest.list_photos(photo_dir), photo_dir, SplitRule())
    said = list(manifest.remarks(table, photo_dir))
    assert said[0] == "Set aside: two\\nlines: folder's name has a line break; rename it"
    assert all(line.splitlines() == [line] for line in said)


def test_labels_that_look_the_same_are_named(photo_dir: Path, make_photo: PhotoMaker) -> None:
    make_photo(photo_dir / "caf\u00e9/1.jpg")
    make_photo(photo_dir / "cafe\u0301/1.jpg")
    table = manifest.build(manifest.list_photos(photo_dir), photo_dir, SplitRule())
    assert "'cafe\\u0301', 'caf\\xe9'" in "\n".join(manifest.remarks(table, photo_dir))


def test_folders_nested_deeper_than_pythons_stack(tmp_path: Path) -> None:
    deep = "/".join("d" * 1200)
    command = ["mkdir", "-p", f"rose/{deep}"]
    subprocess.run(command, cwd=tmp_path, check=True)
    (tmp_path / "rose" / deep / "1.jpg").touch()
    try:
        assert [found.path for found in photos.find(tmp_path)] == [f"rose/{deep}/1.jpg"]
    finally:
        subprocess.run(["rm", "-rf", "rose"], cwd=tmp_path, check=True)


def test_loops_of_links_and_system_files_are_passed_over(
    tmp_path: Path, make_photo: PhotoMaker
) -> None:
    make_photo(tmp_path / "rose/1.jpg")
    (tmp_path / "rose/loop").symlink_to(tmp_path / "rose")
    (tmp_path / "rose/itself").symlink_to("itself")
    for name in ("Thumbs.db", ".DS_Store", ".hidden.jpg"):
        (tmp_path / "rose" / name).write_bytes(b"x")
    found = [photo.path for photo in photos.find(tmp_path) if not photo.problem]
    assert found == ["rose/1.jpg"]


def test_a_name_that_is_not_utf_8_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "rose").mkdir()
    with open(os.path.join(os.fsencode(tmp_path), b"rose/\xff.jpg"), "wb"):  # noqa: PTH118, PTH123
        pass
    (found,) = photos.find(tmp_path)
    assert found.problem == "file name is not UTF-8; rename the file"


@pytest.mark.parametrize("value", [-1, 101, float("nan"), float("inf")])
def test_impossible_percentages_are_refused(value: float) -> None:
    for percentages in ((value, 10), (10, value)):
        with pytest.raises(UserError, match="together they must stay below 100"):
            SplitRule(*percentages)


def test_weights_whose_tuples_hold_one_tuple_twice_are_refused_at_once(tmp_path: Path) -> None:
    bomb = b"\x80\x02)q\x00" + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(100))
    (tmp_path / "w.pth").write_bytes(pickle.dumps(1, 2)[:-3] + b"}" + bomb[2:] + b"K\x01s.")
    with pytest.raises(UserError, match="tuple twice"):
        checkpoint.read(tmp_path / "w.pth")
