"""What changed between two nights' photos."""

from dataclasses import dataclass

import pandas as pd

from pipeline.photos import inspection


@dataclass(frozen=True)
class Changes:
    """Photos that only one of two manifests has, and those whose class is another one.

    Attributes:
        arrived: usable photos (rows) whose content the earlier manifest does not have.
        gone: those whose content the later one does not have.
        relabelled: those that both have, under other labels.
    """

    arrived: int
    gone: int
    relabelled: int


def compare(before: pd.DataFrame | None, after: pd.DataFrame) -> Changes:
    """Compare two manifests by content, so that a photo that is only moved counts as relabelled.

    Args:
        before, after: rows of manifests; without an earlier one, all photos have arrived.
    """
    earlier = _usable(after.head(0) if before is None else before)
    later = _usable(after)
    arrived = ~later["digest"].isin(earlier["digest"])
    gone = ~earlier["digest"].isin(later["digest"])
    pairs = pd.MultiIndex.from_frame(earlier)
    same = pd.MultiIndex.from_frame(later).isin(pairs)
    return Changes(int(arrived.sum()), int(gone.sum()), int((~arrived & ~same).sum()))


def _usable(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.loc[rows["status"] == inspection.OK, ["digest", "label"]]
