"""Corrections: what people decided about photos, one line of a CSV file per decision.

    digest,path,action,label,who,when,why

A line refers to the content of a photo, so it survives moves and renames, and the photos themselves
are never changed. Lines are only added: `undo` withdraws the earlier ones about a file.
"""

import csv
import errno
import io
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import atomic, locks, naming, output_store, places
from pipeline.files.numbers import counted
from pipeline.files.places import Place
from pipeline.photos import sources
from pipeline.photos.file_names import composed, leftover

FILE = "corrections.csv"
RELABEL, EXCLUDE, KEEP, UNDO = "relabel", "exclude", "keep", "undo"
ACTIONS = (RELABEL, EXCLUDE, KEEP, UNDO)
_MAX_LABEL = 255  # bytes in UTF-8, as of the names of folders
_CONTROL = ("Cc", "Cs", "Zl", "Zp")  # Unicode categories of line breaks and control characters


@dataclass(frozen=True)
class Correction:
    """A line of the file.

    Attributes:
        digest: SHA-256 of the photo's bytes in hex.
        path: where the photo was, relative to the image folder, in printable characters. It tells
            identical files apart.
        action: one of ACTIONS; `keep` means that a finding about the photo is wrong.
        label: the right label, for `relabel`.
        who, when: the person, and the ISO time.
        why: the reason; for `keep`, the kind of finding that is wrong, or anything else for all.
        line: its number in the file; 0 if it is in none.
    """

    digest: str
    path: str
    action: str
    label: str = ""
    who: str = ""
    when: str = ""
    why: str = ""
    line: int = 0

    @property
    def is_elsewhere(self) -> bool:
        """Whether it labels a photo that was not in the image folder when the line was written."""
        return self.action == RELABEL and ("://" in self.path or Path(self.path).is_absolute())


COLUMNS = [field.name for field in fields(Correction)][:-1]
RESTORE = (  # the remedy if the file is gone
    "restore it. To withdraw all corrections, create it with only this line: " + ",".join(COLUMNS)
)


def place(corrections: str, output_dir: Path) -> Place:
    """Return the place of the file.

    Args:
        corrections: the option of this name, a path or URL. If it is empty, the file is next to the
            output folder, or next to the folder of all mirrors.
        output_dir: the local output folder.

    Raises:
        UserError: if a named file does not exist.
    """
    if not corrections:
        is_mirror = output_store.open_store(output_dir).is_remote
        return output_dir.absolute().parents[int(is_mirror)] / FILE
    named = places.parse(corrections)
    if isinstance(named, Path) and not named.exists():
        raise UserError(f"corrections: there is no file {named.absolute()}; correct the path")
    return named


def read(place: Place) -> tuple[Correction, ...]:
    """Return the lines of a file, without those that were undone; none if there is no file.

    Raises:
        UserError: if a line is invalid, or the file is empty or not UTF-8 text.
    """
    try:
        text = sources.read(place).decode("utf-8-sig")
    except FileNotFoundError:
        if isinstance(place, Path):
            return ()
        raise UserError(f"corrections: there is no file {place}; correct the URL") from None
    except OSError as error:
        raise UserError(f"corrections: {place} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"corrections: {place} is not UTF-8 text; save it as UTF-8") from None
    if not text.strip():  # a process that was killed, or a full disk, may have lost the lines
        raise UserError(
            f"corrections: {place} is empty; restore it, or delete it if there are no corrections"
        )
    return in_force(_parse(text, place))


def _parse(text: str, place: Place) -> Iterator[Correction]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        if header != COLUMNS:
            raise UserError(_header_problem(header, place))
        for row in reader:
            if row:
                yield _correction(row, reader.line_num, place)
    except csv.Error as error:
        raise UserError(
            f"corrections: line {reader.line_num} of {place} is not valid CSV ({error}); correct "
            "or delete it"
        ) from None


def _header_problem(header: list[str], place: Place) -> str:
    expected = f"corrections: the first line of {place} is not {','.join(COLUMNS)}"
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if ",".join(header).split(separator) == COLUMNS:
            return f"{expected}: its columns are separated by {name}; save it with commas"
    return f"{expected}; correct it"


def _correction(row: list[str], line: int, place: Place) -> Correction:
    where = f"corrections: line {line} of {place}"
    if not any(map(str.strip, row)):
        raise UserError(f"{where} is empty; delete it")
    if len(row) != len(COLUMNS):
        number = counted(len(row), "column")
        raise UserError(f"{where} has {number} instead of {len(COLUMNS)}; correct or delete it")
    digest, path, action, label, who, when, why = row
    if not re.fullmatch(r"[0-9a-f]{64}", digest := digest.strip().lower()):
        raise UserError(
            f"{where} has the digest {digest!r}, which is no SHA-256 in hex; copy it from the "
            "manifest"
        )
    if (action := action.strip()) not in ACTIONS:
        raise UserError(f"{where} has the action {action!r}; choose from {', '.join(ACTIONS)}")
    if (action == RELABEL) != bool(label := composed(label.strip(" "))):
        need = "needs a label" if action == RELABEL else f"has a label, which {action} ignores"
        raise UserError(f"{where} {need}; correct it")
    if label and (problem := label_problem(label)):
        raise UserError(f"{where} has the label {label[:80]!r}, which {problem}; correct it")
    return Correction(digest, path, action, label, who, when, why.strip(), line)


def label_problem(label: str) -> str:
    """Return why a label cannot be the name of a class folder; empty if it can.

    Args:
        label: the label, with composed accents.
    """
    if any(unicodedata.category(character) in _CONTROL for character in label):
        return "contains a line break or a control character"
    if "/" in label or "\\" in label:
        return "contains a path separator"
    if label.strip() != label or not label:
        return "is empty, or begins or ends with a space"
    if leftover(label):
        return "is the name of a hidden folder, or of one that belongs to another program"
    if len(label.encode()) > _MAX_LABEL:
        return f"is longer than {_MAX_LABEL} bytes"
    return ""


def announcement(label: str, labels: Iterable[str]) -> str:
    """Say that a label is none of the existing ones, and name the most similar of these."""
    close = naming.nearest(label, labels)
    return f"{label} is a new class{f'; did you mean {close}?' if close else ''}"


def in_force(corrections: Iterable[Correction]) -> tuple[Correction, ...]:
    """Return the lines that no later line undoes, in order."""
    left: dict[int, Correction] = {}
    of_file: dict[tuple[str, str], list[int]] = {}
    for number, correction in enumerate(corrections):
        numbers = of_file.setdefault((correction.digest, correction.path), [])
        if correction.action == UNDO:
            for undone in numbers:
                del left[undone]
            numbers.clear()
        else:
            left[number] = correction
            numbers.append(number)
    return tuple(left.values())


def key(corrections: Iterable[Correction]) -> str:
    """Return a digest of everything that matters to runs; empty if there are no lines."""
    facts = [
        (c.digest, c.path, c.action, c.label, c.why if c.action == KEEP else "")
        for c in corrections
    ]
    return naming.digest(facts) if facts else ""


def labels(corrections: Iterable[Correction]) -> set[str]:
    """Return the labels that photos are given."""
    return {c.label for c in corrections if c.action == RELABEL}


def by_content(corrections: Iterable[Correction]) -> dict[str, list[Correction]]:
    """Return the lines by digest."""
    groups: dict[str, list[Correction]] = {}
    for correction in corrections:
        groups.setdefault(correction.digest, []).append(correction)
    return groups


def append(path: Path, corrections: Sequence[Correction]) -> None:
    """Add lines, without line breaks, in one write that is on the disk when this returns.

    Raises:
        UserError: if the file cannot be written, or its last line is unfinished.
    """
    added = io.StringIO(newline="")
    writer = csv.writer(added, lineterminator="\n")
    try:
        with locks.beside(path), _open_to_append(path) as file:
            file.seek(0)
            text = file.read().decode("utf-8-sig", "replace")
            if not text.endswith("\n"):
                list(_parse(text, path))  # after an unfinished line, the new ones would be lost
                added.write("\n")
            writer.writerows(astuple(correction)[:-1] for correction in corrections)
            start, content = file.seek(0, os.SEEK_END), added.getvalue().encode()
            try:
                if file.write(content) < len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(start)
                raise
    except OSError as error:
        raise UserError(
            f"corrections: {path} cannot be written: {error.strerror}; check its permissions and "
            "the free space"
        ) from None


def _open_to_append(path: Path) -> io.FileIO:
    """Open the file without a buffer; it never appears without its first line."""
    if not path.exists():
        with atomic.write(path) as new:
            new.write_text(f"{','.join(COLUMNS)}\n", encoding="utf-8")
    return path.open("a+b", buffering=0)
