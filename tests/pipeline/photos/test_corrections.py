"""corrections.csv: reading and adding lines."""

import errno
import os
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.photos import corrections
from pipeline.photos.corrections import Correction

HEADER = "digest,path,action,label,who,when,why\n"
A, B = "a" * 64, "b" * 64


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / corrections.FILE


def test_no_file_and_one_without_lines_have_no_key(file: Path) -> None:
    assert corrections.read(file) == ()
    for content in (HEADER, HEADER + "\n"):
        file.write_text(content)
        assert corrections.read(file) == ()
    assert corrections.key(()) == ""


def test_added_lines_are_read_with_their_numbers(file: Path) -> None:
    first = Correction(A, 'kiwi/"1", left.jpg', "relabel", "limé, green", "Ann", "2026", "")
    corrections.append(file, [first])
    corrections.append(file, [Correction(B, "x.jpg", "exclude", why="blurred")])
    assert file.read_text().startswith(HEADER)
    read = corrections.read(file)
    assert [(c.path, c.action, c.label, c.line) for c in read] == [
        ('kiwi/"1", left.jpg', "relabel", "limé, green", 2),
        ("x.jpg", "exclude", "", 3),
    ]


def test_a_spreadsheet_may_have_saved_the_file(file: Path) -> None:
    line = f"{A.upper()},kiwi/1.jpg,exclude,,,,\r\n"
    file.write_bytes(b"\xef\xbb\xbf" + HEADER.replace("\n", "\r\n").encode() + line.encode())
    assert corrections.read(file) == (Correction(A, "kiwi/1.jpg", "exclude", line=2),)
    corrections.append(file, [Correction(B, "x.jpg", "keep")])
    assert len(corrections.read(file)) == 2


def test_undo_withdraws_the_lines_about_a_file(file: Path) -> None:
    lines = [Correction(A, "1.jpg", "relabel", "kiwi"), Correction(A, "2.jpg", "exclude")]
    corrections.append(file, lines)
    with_both = corrections.key(corrections.read(file))
    corrections.append(file, [Correction(A, "1.jpg", "undo")])
    assert [c.path for c in corrections.read(file)] == ["2.jpg"]
    corrections.append(file, [Correction(A, "2.jpg", "undo")])
    assert corrections.key(corrections.read(file)) == ""
    corrections.append(file, lines)
    assert corrections.key(corrections.read(file)) == with_both


def test_who_and_when_do_not_matter_to_runs() -> None:
    plain, signed = Correction(A, "1.jpg", "exclude"), Correction(A, "1.jpg", "exclude", "", "Ann")
    assert corrections.key([plain]) == corrections.key([signed]) != ""


@pytest.mark.parametrize("torn", [f"{B},2.j", f'{B},"2.j', f"{B},2.jpg,exclude,,,", '"'])
def test_an_unfinished_last_line_is_an_error_and_stays(file: Path, torn: str) -> None:
    corrections.append(file, [Correction(A, "1.jpg", "exclude")])
    with file.open("a") as opened:
        opened.write(torn)
    before = file.read_text()
    with pytest.raises(UserError, match=r"line 3 of .*; correct or delete it"):
        corrections.read(file)
    with pytest.raises(UserError, match=r"line 3 of .*; correct or delete it"):
        corrections.append(file, [Correction(B, "3.jpg", "keep")])
    assert file.read_text() == before


def test_a_complete_last_line_without_a_line_break_counts(file: Path) -> None:
    file.write_text(f"{HEADER}{A},1.jpg,exclude,,,,")
    corrections.append(file, [Correction(B, "2.jpg", "keep")])
    assert [c.path for c in corrections.read(file)] == ["1.jpg", "2.jpg"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty; restore it"),
        (" \n", "is empty; restore it"),
        ("sha,path\n", "the first line of .* is not digest,path.*; correct it"),
        (HEADER.replace(",", ";"), "separated by semicolons; save it with commas"),
        (HEADER.replace(",", ";").strip(), "separated by semicolons"),
        (HEADER.replace(",", "\t"), "separated by tabs"),
        (f"{HEADER}abc,1.jpg,exclude,,,,\n", "line 2 of .* no SHA-256"),
        (f"{HEADER}{A},1.jpg,delete,,,,\n", "line 2 of .*'delete'; choose from relabel"),
        (f"{HEADER}{A},1.jpg,relabel,,,,\n", "line 2 of .* needs a label"),
        (f"{HEADER}{A},1.jpg,keep,kiwi,,,\n", "line 2 of .* has a label, which keep ignores"),
        (f"{HEADER}{A},1.jpg,exclude\n", "line 2 of .* has 3 columns instead of 7"),
        (f"{HEADER}{A},1.jpg,exclude,,me,", "line 2 of .* has 6 columns instead of 7"),
        (f"{HEADER},,,,,,\n", "line 2 of .* is empty; delete it"),
        (f"{HEADER}{A},1.jpg,relabel,  ,,,\n", "line 2 of .* needs a label"),
        (f'{HEADER}{A},1.jpg,relabel,"a\nb",,,\n', "line 3 of .* contains a line break"),
        (f"{HEADER}{A},1.jpg,relabel,a\tb,,,\n", "line 2 of .* or a control character"),
        (f"{HEADER}{A},1.jpg,relabel,../x,,,\n", "line 2 of .* contains a path separator"),
        (f"{HEADER}{A},1.jpg,relabel,a\\b,,,\n", "line 2 of .* contains a path separator"),
        (f"{HEADER}{A},1.jpg,relabel,..,,,\n", "line 2 of .* name of a hidden folder"),
        (f"{HEADER}{A},1.jpg,relabel,__MACOSX,,,\n", "line 2 of .* name of a hidden folder"),
        (f"{HEADER}{A},1.jpg,relabel,{'é' * 128},,,\n", "line 2 of .* longer than 255 bytes"),
        (f'{HEADER}{A},"1.jpg" x,keep,,,,\n', "line 2 of .* is not valid CSV"),
    ],
)
def test_an_invalid_line_is_named(file: Path, text: str, reason: str) -> None:
    file.write_text(text)
    with pytest.raises(UserError, match=reason):
        corrections.read(file)


def test_spaces_around_a_label_do_not_count(file: Path) -> None:
    file.write_text(f"{HEADER}{A},1.jpg,relabel, dragon fruit ,,,\n")
    assert corrections.read(file)[0].label == "dragon fruit"


def test_a_full_disk_leaves_no_empty_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match="No space left"):
        corrections.append(file, [Correction(A, "1.jpg", "exclude")])
    assert not file.exists()


def test_the_file_never_appears_without_its_first_line(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(_: int) -> None:
        assert corrections.read(file) == ()  # as another process may do at any time
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", kill)
    with pytest.raises(KeyboardInterrupt):
        corrections.append(file, [Correction(A, "1.jpg", "exclude")])


def test_other_encodings_are_refused(file: Path) -> None:
    file.write_bytes((HEADER + f"{A},1.jpg,relabel,Möhre,,,\n").encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        corrections.read(file)


def test_the_default_file_is_next_to_the_output_folder(tmp_path: Path) -> None:
    assert corrections.place("", tmp_path / "out") == tmp_path / "corrections.csv"
    with pytest.raises(UserError, match="there is no file"):
        corrections.place(str(tmp_path / "typo.csv"), tmp_path / "out")


def test_a_file_that_cannot_be_written_is_an_error_without_traceback(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written: Is a directory"):
        corrections.append(tmp_path, [Correction(A, "1.jpg", "exclude")])
