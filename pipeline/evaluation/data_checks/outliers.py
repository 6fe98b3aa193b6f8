"""Outliers: photos that are unlike all others."""

from collections.abc import Iterator

import numpy as np

from pipeline.evaluation.data_checks.context import CheckContext, Finding

OUTLIER = "outlier"
# Modified z-score (Iglewicz and Hoaglin, "How to detect and handle outliers", 1993). 24 photos that
# did not belong to the groceries had 8.6 and more; none of the 1,776 groceries had more than 6.7.
_FAR = 7.0


def find(context: CheckContext) -> Iterator[Finding]:
    """Yield photos whose nearest neighbour is unusually far away, furthest first."""
    if context.nearest is None:
        return
    similarity = context.nearest.similarity
    median = np.median(similarity)
    spread = max(float(np.median(np.abs(similarity - median))), 1e-6)
    scores = 0.6745 * (median - similarity) / spread
    paths = context.photos["path"].to_numpy()[context.unique]
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] <= _FAR:
            break
        yield Finding(OUTLIER, "looks like no other photo", (paths[i],), score=float(scores[i]))
