"""The timeline: the history as it stands now, with promotions and rollbacks by hand."""

import datetime
from collections import Counter
from dataclasses import replace
from pathlib import Path

from pipeline.nightly import history, promotion
from pipeline.nightly.history import SEPARATOR, Night, Promotion

_OUTCOMES = {promotion.MANUAL: "promoted by hand", promotion.ROLLBACK: "rolled back"}


def read(output_dir: Path) -> list[Night]:
    """Return all nights, and a row for each promotion or rollback by hand, oldest first.

    Reasons name the promoted models and say which one is current. If several rows have the same
    date, it includes the time at which they finished.
    """
    moves = history.promotions(output_dir)
    current = moves[-1].model if moves else ""
    rows = [as_it_stands(night, current) for night in history.nights(output_dir)]
    rows += [_row(move, move is moves[-1]) for move in moves if move.how in _OUTCOMES]
    rows.sort(key=lambda row: datetime.datetime.fromisoformat(row.finished))
    count = Counter(row.date for row in rows)
    return [
        replace(row, date=f"{row.date} {row.finished[11:16]}") if count[row.date] > 1 else row
        for row in rows
    ]


def as_it_stands(night: Night, current: str) -> Night:
    """Return a night whose reason names its model if that was promoted, by the gate or by hand.

    A rejected model that is the current one now needs no advice on how to promote it.
    """
    is_current = night.model != "" and night.model == current
    named = _named(night.model, is_current)
    if night.outcome == history.PROMOTED and night.model:
        return replace(night, reason=SEPARATOR.join(filter(None, (named, night.reason))))
    if night.outcome == history.REFUSED and is_current:
        kept = [part for part in night.reasons if not part.startswith(promotion.ADVICE)]
        return replace(night, reason=SEPARATOR.join((*kept, f"{named}, by hand")))
    return night


def _named(model: str, is_current: bool) -> str:
    return f"model {model}, which is the current one now" if is_current else f"model {model}"


def _row(move: Promotion, is_last: bool) -> Night:
    instead = f"model {move.instead_of}" if move.instead_of else "none"
    reason = f"{_named(move.model, is_last)}; before: {instead}"
    return Night(move.at[:10], _OUTCOMES[move.how], reason, model=move.model, finished=move.at)
