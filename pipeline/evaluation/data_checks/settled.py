"""Settled findings: those about which a person has decided, so that they are not shown again."""

from collections.abc import Sequence

import pandas as pd

from pipeline.evaluation.data_checks import checks, duplicates
from pipeline.photos import corrections, decisions
from pipeline.photos.corrections import Correction
from pipeline.photos.decisions import Decision

GROUPS = (
    duplicates.LEAK,
    duplicates.CONFLICT,
    duplicates.DUPLICATE,
    duplicates.NEAR_DUPLICATE,
)  # kinds of findings about several photos, of which one may be kept


def is_settled(kind: str, decisions: Sequence[Decision | None]) -> bool:
    """Return whether the decisions about the photos of a finding settle it.

    A finding about several photos is settled if at most one is left, or if people have kept all of
    them; another one if the photo was excluded, relabelled, or kept.
    """
    if kind in GROUPS and sum(not _is_excluded(each) for each in decisions) <= 1:
        return True
    return all(each is not None and _settles(kind, each) for each in decisions)


def open_findings(
    findings: pd.DataFrame, listed: pd.DataFrame, corrected: Sequence[Correction]
) -> pd.DataFrame:
    """Return the rows of the findings that corrections do not settle.

    Args:
        findings: result of `checks.run`.
        listed: rows of the manifest.
        corrected: the corrections in force.
    """
    decided = decisions.decide(corrected, listed)
    about: dict[tuple[str, int], list[Decision | None]] = {}
    for kind, number, path in findings[["kind", "finding", "path"]].itertuples(index=False):
        about.setdefault((kind, number), []).append(decided.get(path))
    settled = [number for (kind, number), each in about.items() if is_settled(kind, each)]
    return findings[~findings["finding"].isin(settled)]


def _is_excluded(decision: Decision | None) -> bool:
    return decision is not None and decision.action == corrections.EXCLUDE


def _settles(kind: str, decision: Decision) -> bool:
    if _is_excluded(decision) or (decision.action == corrections.RELABEL and kind not in GROUPS):
        return True
    # Whoever kept a photo because its label is right has not looked for duplicates of it.
    return any(why == kind or why not in checks.KINDS for why in decision.kept)
