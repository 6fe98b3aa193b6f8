"""Changes of the photos between two manifests."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.files.numbers import counted
from pipeline.photos import decisions, inspection
from pipeline.photos.corrections import KEEP, RELABEL, Correction
from pipeline.photos.decisions import Applied
from pipeline.photos.file_names import printable
from pipeline.photos.inspection import Problem

MAX_NAMED = 5  # photos that a line names


@dataclass(frozen=True)
class Changes:
    """Numbers of usable photos that differ between two manifests, by content.

    Attributes:
        added: photos that only the later manifest has.
        removed: photos that only the earlier manifest has.
        relabelled: photos that both have, with different labels.
    """

    added: int
    removed: int
    relabelled: int


def compare(before: pd.DataFrame | None, after: pd.DataFrame) -> Changes:
    """Compare two manifests by content: a photo that moved to another class is relabelled.

    Args:
        before, after: rows of manifests; without an earlier one, all photos are new.
    """
    earlier = _usable(after.head(0) if before is None else before)
    later = _usable(after)
    added = ~later["digest"].isin(earlier["digest"])
    removed = ~earlier["digest"].isin(later["digest"])
    pairs = pd.MultiIndex.from_frame(earlier)
    same = pd.MultiIndex.from_frame(later).isin(pairs)
    return Changes(
        added=int(added.sum()),
        removed=int(removed.sum()),
        relabelled=int((~added & ~same).sum()),
    )


def correction_lines(
    before: pd.DataFrame | None, after: pd.DataFrame, lines: Iterable[Correction]
) -> Iterator[str]:
    """Yield which photos and labels corrections changed between two manifests.

    Args:
        before, after: rows of manifests; without an earlier one, nothing changed.
        lines: the corrections in force, with which `after` was made.
    """
    if before is None:
        return
    decided = decisions.decide(lines, after)
    earlier: dict[str, str] = dict(_usable(before).itertuples(index=False))
    relabelled, excluded = list[str](), list[str]()
    rows = after[after["path"].isin(decided) & after["digest"].isin(earlier)]
    for row in rows.itertuples():
        path, label = printable(str(row.path)), earlier[str(row.digest)]
        if row.problem == Problem.EXCLUDED:
            excluded.append(path)
        elif decided[str(row.path)].action == RELABEL and label != row.label:
            relabelled.append(f"{path} from {label} to {row.label}")
    if relabelled:
        yield f"corrections relabelled {_some(relabelled)}"
    if excluded:
        yield f"corrections excluded {_some(excluded)}"


def corrected(rows: pd.DataFrame, applied: Applied | None) -> dict[str, list[Any]]:
    """Return what corrections changed in a manifest, for JSON.

    Args:
        rows: its rows.
        applied: what corrections changed, or None.

    Returns:
        `relabelled`: path, label, and label before of each photo; `excluded`: paths.
    """
    before, excluded = (applied.relabelled, applied.excluded) if applied else ({}, {})
    photos = rows.loc[rows["path"].isin(before), ["path", "label"]].itertuples(index=False)
    return {
        "relabelled": [
            {"path": printable(path), "label": label, "before": before[path]}
            for path, label in photos
        ],
        "excluded": [printable(path) for path in excluded],
    }


def withdrawn(
    before: pd.DataFrame | None,
    applied: Applied | None,
    after: pd.DataFrame,
    lines: Iterable[Correction],
) -> pd.DataFrame:
    """Return the rows of `after` whose photos are no longer corrected, as they were in `before`.

    Args:
        before, after: rows of manifests; without an earlier one, nothing was corrected.
        applied: what corrections changed in `before`.
        lines: the corrections in force, with which `after` was made.

    Returns:
        The rows, with the column `label_before`; it is empty for photos that were excluded.
    """
    if before is None or applied is None:
        return after.head(0).assign(label_before="")
    decided = decisions.decide(lines, after)
    changed = {path for path, decision in decided.items() if decision.action != KEEP}
    gone = {*applied.relabelled, *applied.excluded} - changed
    earlier = before.loc[before["path"].isin(gone), ["path", "digest", "label"]]
    rows = after.merge(earlier, on=["path", "digest"], suffixes=("", "_before"))
    excluded = rows["path"].isin(applied.excluded)
    return rows.assign(label_before=rows["label_before"].mask(excluded, ""))


def withdrawn_lines(rows: pd.DataFrame) -> Iterator[str]:
    """Yield which corrections were withdrawn, from the rows that `withdrawn` returns."""
    columns = rows[["path", "label_before", "label"]].itertuples(index=False)
    shown = [
        f"{printable(path)} is {f'{label} again instead of {was}' if was else 'used again'}"
        for path, was, label in columns
    ]
    if shown:
        verb = "was" if len(shown) == 1 else "were"
        yield f"{counted(len(shown), 'correction')} {verb} withdrawn: {_listed(shown)}"


def _some(names: Sequence[str]) -> str:
    return f"{counted(len(names), 'photo')}: {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else ""
    return f"{', '.join(names[:MAX_NAMED])}{more}"


def _usable(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.loc[rows["status"] == inspection.OK, ["digest", "label"]]
