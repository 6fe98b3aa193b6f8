"""Changes of the photos between two manifests."""

from dataclasses import dataclass

import pandas as pd

from pipeline.photos import inspection


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


def _usable(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.loc[rows["status"] == inspection.OK, ["digest", "label"]]
