"""Unknown photos: what the score of a head's familiarity rejects, of known and unknown photos."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.head.softmax_head import Head

MAX_STRANGE = 12  # test photos that are listed
_RATES = (0.01, 0.02, 0.05, 0.1, 0.2)
_BINS = 20


@dataclass(frozen=True)
class RejectionRate:
    """The effect of rejecting photos whose `known` is at most a rate; shares are from 0 to 1.

    Attributes:
        rate: the share of known photos that should be rejected.
        known: share of the test photos of known classes that are rejected.
        misclassified: the same of those that are misclassified; None if there are none.
        unknown: share of the unknown photos that are rejected; None if there are none.
    """

    rate: float
    known: float | None
    misclassified: float | None
    unknown: float | None


@dataclass(frozen=True)
class ScoreBin:
    """Photos of similar scores; the first and the last bin also contain those beyond them.

    Attributes:
        low, high: bounds of the score.
        known, unknown: numbers of photos.
    """

    low: float
    high: float
    known: int
    unknown: int


@dataclass(frozen=True)
class UnknownPhotos:
    """How well a head tells unknown photos from known ones.

    Attributes:
        unknown_rate: value of `known` up to which a photo counts as unknown.
        other_class: class that stands for unknown photos; empty if there is none.
        validation: number of steps of `known`: validation photos of known classes, up to 1,000.
        lowest: lowest possible value of `known`, but for photos that are classified as
            `other_class`; if it is above `unknown_rate`, only those are rejected.
        known_count: number of test photos of known classes.
        unknown_count: number of unknown photos: those of unknown_dir, and the test photos of
            `other_class`.
        passed: share of the unknown photos that do not count as unknown; None if there are none.
        rates: what each rate rejects.
        bins: distribution of the scores.
        strangest: path, label, score and `known` of the least familiar test photos.
    """

    unknown_rate: float
    other_class: str
    validation: int
    lowest: float
    known_count: int
    unknown_count: int
    passed: float | None
    rates: list[RejectionRate]
    bins: list[ScoreBin]
    strangest: list[dict[str, object]]


def measure(
    head: Head, predictions: pd.DataFrame, vectors: np.ndarray, unknown_rate: float
) -> UnknownPhotos | None:
    """Measure what is rejected; None for a head without familiarity.

    Args:
        head: the head.
        predictions: result of `metrics.evaluate`, for the test photos.
        vectors: float32 [n, features], of unknown photos.
        unknown_rate: value of `known` up to which a photo counts as unknown.
    """
    familiarity = head.familiarity
    if familiarity is None:
        return None
    other = head.labels[int(familiarity.other)] if familiarity.other >= 0 else ""
    is_known = (predictions["label"] != other).to_numpy(bool)
    tested = predictions[is_known]
    scores = predictions["familiarity"].to_numpy(np.float32)
    strangers = [scores[~is_known]]
    if len(vectors):
        strangers.append(familiarity.score(vectors, head.logits(vectors)))
    unknown = np.concatenate(strangers)
    known_of_unknown = familiarity.known(unknown)
    known = tested["known"].to_numpy(np.float32)  # in float32, 1 / 20 is at most 0.05
    columns = (known, known[~tested["correct"].to_numpy(bool)], known_of_unknown)
    rates = sorted({*_RATES, unknown_rate})
    rejected = [RejectionRate(rate, *(_share(c <= rate) for c in columns)) for rate in rates]
    strangest = tested.sort_values("familiarity", kind="stable").head(MAX_STRANGE)
    return UnknownPhotos(
        unknown_rate=unknown_rate,
        other_class=other,
        validation=len(familiarity.levels),
        lowest=1 / (1 + len(familiarity.levels)),
        known_count=len(tested),
        unknown_count=len(unknown),
        passed=_share(known_of_unknown > unknown_rate),
        rates=rejected,
        bins=_bins(scores[is_known], unknown),
        strangest=[
            {"path": path, "label": label, "score": score, "known": share}
            for path, label, score, share in zip(
                *(strangest[name].tolist() for name in ("path", "label", "familiarity", "known")),
                strict=True,
            )
        ],
    )


def summary_lines(unknown: UnknownPhotos) -> Iterator[str]:
    """Yield what users should know, one line each."""
    rate = unknown.unknown_rate
    if 0 < rate < unknown.lowest:
        yield (
            f"Unknown photos: {unknown.validation} validation photos are too few for unknown_rate "
            f"{rate:g}; add photos or raise validation_percentage"
        )
        return
    (at_rate,) = (row for row in unknown.rates if row.rate == rate)
    if at_rate.known is not None:
        yield f"Unknown photos: {at_rate.known:.1%} of the known test photos would be rejected"
    if unknown.passed is not None:
        yield (
            f"Unknown photos: {unknown.passed:.1%} of {unknown.unknown_count:,} unknown ones would "
            "pass"
        )


def _share(rows: np.ndarray) -> float | None:
    return float(rows.mean()) if len(rows) else None


def _bins(known: np.ndarray, unknown: np.ndarray) -> list[ScoreBin]:
    """Return bins between the extremes of most photos: far photos have extreme scores."""
    if not len(known):
        return []
    low = min(np.quantile(part, 0.05) for part in (known, unknown) if len(part))
    middle, high = np.median(known), known.max()
    low = max(float(low), float(middle - 4 * (high - middle)))
    edges = np.linspace(low, max(high, low + 1e-3), _BINS + 1)
    counts = [np.histogram(part.clip(edges[0], edges[-1]), edges)[0] for part in (known, unknown)]
    return [
        ScoreBin(float(edges[i]), float(edges[i + 1]), int(counts[0][i]), int(counts[1][i]))
        for i in range(_BINS)
    ]
