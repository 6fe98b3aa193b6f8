"""The queue: findings that people decide about, and their decisions so far."""

import datetime
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

import pandas as pd

from pipeline.errors import UserError
from pipeline.evaluation.data_checks import labels, settled
from pipeline.evaluation.data_checks.checks import Kind
from pipeline.files.numbers import counted
from pipeline.photos import corrections, decisions
from pipeline.photos.corrections import EXCLUDE, KEEP, RELABEL, UNDO, Correction
from pipeline.photos.decisions import Decision
from pipeline.photos.file_names import printable

ONLY = "only"  # keep one photo of several, and exclude the others
RELABELLED = "relabelled"  # first word of a decision in words
EARLIER = "decision"  # a kind of entries
KINDS = {
    EARLIER: Kind(
        "Earlier decisions",
        "The lines of corrections.csv about photos without a finding in the last run. The label "
        "shown is that of the folder. To change a decision, decide again.",
    )
}


@dataclass(frozen=True)
class Photo:
    """A photo of a finding; `label` is empty if it has none yet."""

    digest: str
    path: str
    label: str
    split: str


@dataclass(frozen=True)
class Entry:
    """A finding about photos, or an unlabelled photo.

    Attributes:
        kind: a kind of finding, `suggestions.KIND`, or EARLIER.
        detail: short description.
        photos: the photos concerned, at least one.
    """

    kind: str
    detail: str
    photos: tuple[Photo, ...]


@dataclass(frozen=True)
class State:
    """What has been decided about an entry.

    Attributes:
        settled: whether it needs no decision any more.
        photos: the decision about each photo in words; empty if there is none.
    """

    settled: bool
    photos: list[str]


class StaleError(Exception):
    """Another tab or person has decided about the entry in the meantime."""


def entries(findings: pd.DataFrame, photos: pd.DataFrame) -> Iterator[Entry]:
    """Yield the findings about photos whose content is known.

    Args:
        findings: rows of the findings, sorted by their number.
        photos: rows of the manifest.
    """
    is_known = photos["path"].isin(findings["path"]) & (photos["digest"] != "")
    known = photos.loc[is_known, ["digest", "path", "label", "split"]].to_numpy(object)
    by_path = {fields[1]: Photo(*fields) for fields in known}
    columns = findings[["finding", "kind", "detail", "path"]].to_numpy(object).tolist()
    for (_, kind, detail), rows in groupby(columns, key=lambda row: row[:3]):
        group = tuple(by_path[path] for *_, path in rows if path in by_path)
        if len(group) > (kind in settled.GROUPS):
            yield Entry(kind, detail, group)


def earlier_entries(
    lines: Sequence[Correction],
    photos: pd.DataFrame,
    folder_labels: Mapping[str, str],
    others: Sequence[Entry],
) -> Iterator[Entry]:
    """Yield the photos that people decided about, unless they can decide again in other entries.

    Args:
        lines: the corrections in force.
        photos: rows of the manifest.
        folder_labels: labels before corrections, by path, if they were others.
        others: the other entries.
    """
    groups, alone = set[str](), set[str]()
    for entry in others:
        (groups if entry.kind in settled.GROUPS else alone).update(p.path for p in entry.photos)
    decided = decisions.decide(lines, photos)
    rows = photos.loc[photos["path"].isin(decided), ["digest", "path", "label", "split"]]
    for digest, path, label, split in rows.to_numpy(object):
        decision = decided[path]
        # In findings about several photos, labels cannot be changed.
        if path not in alone and (path not in groups or decision.action == RELABEL):
            last = decision.lines[-1]
            detail = " ".join(filter(None, (last.who, last.when.replace("T", " ")[:16])))
            detail = ": ".join(filter(None, (detail, last.why)))
            photo = Photo(digest, path, folder_labels.get(path, label), split)
            yield Entry(EARLIER, detail, (photo,))


@dataclass
class Queue:
    """The entries, and the file to which decisions are added.

    Attributes:
        entries: in the order of review.
        files: digest and path of all photos.
        path: the file of corrections.
        who: the person who decides.
    """

    entries: Sequence[Entry]
    files: pd.DataFrame
    path: Path
    who: str = ""
    _lines: dict[str, list[Correction]] = field(default_factory=dict)
    _version: tuple[int, int] = (0, 0)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        # The lines about the photos of an entry before each decision about it, for UNDO.
        self._before: dict[int, list[list[list[Correction]]]] = {}
        self._entries_of: dict[str, list[int]] = {}
        for number, entry in enumerate(self.entries):
            for digest in {photo.digest for photo in entry.photos}:
                self._entries_of.setdefault(digest, []).append(number)
        files = self.files[self.files["digest"].isin(self._entries_of)]
        self._paths = files.groupby("digest")["path"].agg(list).to_dict()
        self._refresh()

    def states(self) -> list[State]:
        """Return what has been decided about each entry."""
        with self._lock:
            self._refresh()
            return [self._state(entry) for entry in self.entries]

    def decide(
        self, number: int, action: str, label: str, only: int, seen: State
    ) -> dict[int, State]:
        """Add a decision to the file, in place of earlier ones.

        Args:
            number: index of the entry.
            action: RELABEL, EXCLUDE or KEEP for all of its photos; ONLY to keep one photo and
                exclude the others; or UNDO, which returns to the lines before the last decision, or
                withdraws them if none was made here. Unless the finding is about several photos,
                KEEP takes back a label that was given before.
            label: the right label, for RELABEL; the photo is kept if it has this one already.
            only: index of the photo, for ONLY.
            seen: the state of the entry that the person has seen.

        Returns:
            The states of all entries with these photos, by index.

        Raises:
            StaleError: if the state is another one by now; nothing is written.
            UserError: if the file cannot be written.
        """
        entry = self.entries[number]
        with self._lock:
            self._refresh()
            if seen != self._state(entry):
                raise StaleError
            before = self._before.setdefault(number, [])
            present = [self._own(photo) for photo in entry.photos]
            lines = list[Correction]()
            for i, photo in enumerate(entry.photos):
                if action == UNDO:
                    lines += self._undo(entry, photo, before[-1][i] if before else None)
                else:
                    wanted = action if action != ONLY else KEEP if i == only else EXCLUDE
                    lines += self._write(entry, photo, wanted, label)
            corrections.append(self.path, lines)
            if action != UNDO:
                before.append(present)
            elif before:
                before.pop()
            self._refresh()
            affected = {n for photo in entry.photos for n in self._entries_of[photo.digest]}
            return {n: self._state(self.entries[n]) for n in sorted(affected)}

    def _own(self, photo: Photo) -> list[Correction]:
        path = printable(photo.path)
        lines = self._lines.get(photo.digest, [])
        return [replace(c, line=0) for c in lines if c.path == path]  # they may be written again

    def _undo(
        self, entry: Entry, photo: Photo, earlier: Sequence[Correction] | None
    ) -> Iterator[Correction]:
        """Yield the lines that return a photo to the lines before the last decision.

        Args:
            entry: the entry that is decided about.
            photo: one of its photos.
            earlier: the lines before; None if nothing was decided here.
        """
        own = self._own(photo)
        about = self._decision(photo) if earlier is None else None
        for undone in sorted({line.path for line in (about.lines if about else own)}):
            yield self._line(photo, undone, UNDO)
        earlier = earlier or ()
        yield from earlier
        if not any(line.action == EXCLUDE for line in earlier):
            yield from (line for line in _about_others(entry, own) if line not in earlier)

    def _write(self, entry: Entry, photo: Photo, action: str, label: str) -> Iterator[Correction]:
        """Yield the lines for one photo, after those that undo earlier ones."""
        path, own = printable(photo.path), self._own(photo)
        others = _about_others(entry, own)
        # A label is right for all copies, which may be in other classes.
        if action == RELABEL and label == photo.label and len(self._paths[photo.digest]) == 1:
            action = KEEP
        replaced = [c for c in own if action != KEEP or (c.action != KEEP and c not in others)]
        if replaced:
            yield self._line(photo, path, UNDO)
            yield from others if action == KEEP else ()
        new_label = label if action == RELABEL else ""
        reason = "" if entry.kind == EARLIER else entry.detail
        why = _kept_kind(entry) if action == KEEP else reason
        yield self._line(photo, path, action, new_label, printable(why))

    def _line(
        self, photo: Photo, path: str, action: str, label: str = "", why: str = ""
    ) -> Correction:
        when = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        return Correction(photo.digest, path, action, label, self.who, when, why)

    def _decision(self, photo: Photo) -> Decision | None:
        lines = self._lines.get(photo.digest)
        if not lines:
            return None
        return decisions.decide_files(lines, self._paths[photo.digest]).get(photo.path)

    def _state(self, entry: Entry) -> State:
        found = [self._decision(photo) for photo in entry.photos]
        is_earlier = entry.kind == EARLIER
        is_settled = all(found) if is_earlier else settled.is_settled(entry.kind, found)
        return State(is_settled, [_in_words(decision, is_settled) for decision in found])

    def _refresh(self) -> None:
        """Read the file again if it has changed, for example in an editor."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            if self._lines:  # a new file would lack them
                raise UserError(
                    f"{self.path} is gone, with the decisions about "
                    f"{counted(len(self._lines), 'photo')}; {corrections.RESTORE}"
                ) from None
            return
        version = (status.st_mtime_ns, status.st_size)
        if version != self._version:
            self._lines = corrections.by_content(corrections.read(self.path))
            self._version = version


def _in_words(decision: Decision | None, is_settled: bool) -> str:
    if decision is None:
        return ""
    if decision.action == EXCLUDE:
        return "excluded"
    if decision.action == RELABEL:
        return f"{RELABELLED} {decision.label}"
    return "kept" if is_settled else ""


def _kept_kind(entry: Entry) -> str:
    """Return the kind of finding that `keep` is about."""
    return labels.LABEL if entry.kind == EARLIER else entry.kind


def _about_others(entry: Entry, own: Sequence[Correction]) -> list[Correction]:
    """Return the lines about other findings: those about several photos change no label."""
    is_group, kind = entry.kind in settled.GROUPS, _kept_kind(entry)
    return [
        c for c in own if (c.action == RELABEL and is_group) or (c.action == KEEP and c.why != kind)
    ]
