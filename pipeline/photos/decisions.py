"""Decisions: what the corrections about each photo come to, and how they change a manifest."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.files.numbers import counted
from pipeline.photos import corrections
from pipeline.photos.corrections import EXCLUDE, KEEP, RELABEL, Correction
from pipeline.photos.file_names import printable
from pipeline.photos.inspection import Problem

EXCLUDED = "excluded by corrections"  # status of a photo


@dataclass(frozen=True)
class Decision:
    """What the lines about one file come to.

    Attributes:
        action: RELABEL, EXCLUDE, or KEEP for neither.
        label: the right label, for RELABEL.
        kept: reasons of the `keep` lines.
        lines: the lines.
        conflict: whether lines contradict each other; the last one counts.
    """

    action: str
    label: str
    kept: frozenset[str]
    lines: tuple[Correction, ...]
    conflict: bool


def decide(lines: Iterable[Correction], photos: pd.DataFrame) -> dict[str, Decision]:
    """Return the decisions about photos, by path.

    Args:
        lines: the corrections in force.
        photos: digest and path of all photos; the paths must be unique.
    """
    groups = corrections.by_content(lines)
    concerned = photos.loc[photos["digest"].isin(groups), ["digest", "path"]]
    paths: dict[str, list[str]] = {}
    for digest, path in concerned.itertuples(index=False):
        paths.setdefault(digest, []).append(path)
    decided: dict[str, Decision] = {}
    for digest, same in paths.items():
        decided |= decide_files(groups[digest], same)
    return decided


def given_labels(lines: Iterable[Correction], photos: pd.DataFrame) -> dict[str, str]:
    """Return the labels of the photos that were relabelled, by digest.

    Args:
        lines: the corrections in force.
        photos: digest, path and label of all photos, as these corrections left them.
    """
    decided = decide(lines, photos)
    relabelled = {path for path, decision in decided.items() if decision.action == RELABEL}
    rows = photos.loc[photos["path"].isin(relabelled), ["digest", "label"]]
    return dict(rows.itertuples(index=False))


def decide_files(lines: Sequence[Correction], paths: Collection[str]) -> dict[str, Decision]:
    """Return the decisions about files of the same content, by path.

    A line is about the file at its path. If no file of this content is there any more, it is about
    those that no line names. A label is right for all files of the same content.

    Args:
        lines: the lines about this content.
        paths: all files of this content.
    """
    present = {printable(path) for path in paths}
    moved = [line for line in lines if line.path not in present]
    relabels = [line for line in lines if line.action == RELABEL]
    decided: dict[str, Decision] = {}
    for path in paths:
        own = [line for line in lines if line.path == printable(path)]
        if chosen := own or moved or relabels:
            decided[path] = _decision(chosen)
    return decided


def _decision(lines: Sequence[Correction]) -> Decision:
    last, kept, conflict = ("", ""), set[str](), False
    for line in lines:
        if line.action == KEEP:
            if last[0] == EXCLUDE:
                last, conflict = ("", ""), True
            kept.add(line.why)
        else:
            conflict |= bool(kept) or last not in (("", ""), (line.action, line.label))
            kept.clear()
            last = (line.action, line.label)
    return Decision(last[0] or KEEP, last[1], frozenset(kept), tuple(lines), conflict)


@dataclass(frozen=True)
class Applied:
    """What corrections changed in a manifest, as its metadata keeps it.

    Attributes:
        relabelled: labels before the corrections, by path.
        excluded: status and problem before the corrections, by path.
        missing: numbers of the lines about photos that are not in the image folder, unless they
            were excluded: then their files may have been moved or deleted.
        elsewhere: numbers of the lines that label photos which were never in the image folder.
        needless: numbers of the lines that give photos the label of the folder they were in when
            the line was written. Those whose photos were moved to their class are done.
        conflicts: numbers of the lines that contradict each other, per file.
        new_labels: labels that no photo has without the corrections.
    """

    relabelled: Mapping[str, str]
    excluded: Mapping[str, Sequence[str]]
    missing: Sequence[int]
    elsewhere: Sequence[int]
    needless: Sequence[int]
    conflicts: Sequence[Sequence[int]]
    new_labels: Sequence[str]

    def __str__(self) -> str:
        return (
            f"{counted(len(self.relabelled), 'photo')} relabelled, {len(self.excluded):,} excluded"
        )


def apply(rows: pd.DataFrame, lines: Sequence[Correction], merged: Callable[[str], str]) -> Applied:
    """Give photos their right labels, and set excluded ones aside.

    Args:
        rows: rows of a manifest, changed in place.
        lines: the corrections in force.
        merged: returns the label to use in place of a label.
    """
    photos = rows[rows["problem"] != Problem.SKIPPED]
    decided = decide(lines, photos)
    position = dict(zip(photos["path"], photos.index, strict=True))
    names, labels = set(map(printable, photos["path"])), set(photos["label"])
    relabelled, excluded = dict[str, str](), dict[str, list[str]]()
    needed, conflicts = set[int](), list[list[int]]()
    for path, decision in decided.items():
        row, label = position[path], merged(decision.label)
        before, *inspected = (str(rows.at[row, name]) for name in ("label", "status", "problem"))
        numbers = [line.line for line in decision.lines]
        if decision.action == EXCLUDE:
            excluded[path] = inspected
            rows.loc[row, ["status", "problem", "split"]] = [EXCLUDED, Problem.EXCLUDED.value, ""]
        elif decision.action == RELABEL and label != before:
            relabelled[path] = before
            rows.loc[row, "label"] = label
            needed.update(numbers)
        if decision.conflict:
            conflicts.append(numbers)
            needed.update(numbers)
    used = {line.line for decision in decided.values() for line in decision.lines}
    gone = {line.digest for line in lines if line.action == EXCLUDE}
    unused = [
        line
        for line in lines
        if line.line not in used and not (line.digest in gone and line.path not in names)
    ]
    return Applied(
        relabelled,
        excluded,
        missing=[line.line for line in unused if not line.is_elsewhere],
        elsewhere=[line.line for line in unused if line.is_elsewhere],
        needless=[
            line.line
            for line in lines
            if line.action == RELABEL and line.line in used - needed and line.path in names
        ],
        conflicts=conflicts,
        new_labels=sorted({*rows.loc[rows["path"].isin(relabelled), "label"]} - labels),
    )


def restore(rows: pd.DataFrame, applied: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rows of a manifest as they were before corrections, except the splits.

    Args:
        rows: rows of a manifest.
        applied: the fields of `Applied`.
    """
    rows = rows.set_index("path", drop=False)
    for path, label in applied["relabelled"].items():
        rows.loc[path, "label"] = label
    for path, inspected in applied["excluded"].items():
        rows.loc[path, ["status", "problem"]] = inspected
    return rows.reset_index(drop=True)
