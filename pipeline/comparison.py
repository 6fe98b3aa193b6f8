"""Two models on the same photos."""

from dataclasses import dataclass
from math import comb
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import evaluation, features, head, recipe
from pipeline.recipe import Recipe
from pipeline.rows import Rows


@dataclass(frozen=True)
class Comparison:
    """Two models on the same photos.

    Attributes:
        count: photos.
        before_top1, after_top1: share that each names rightly.
        fixed: photos that only the later model names rightly.
        broken: photos that only the earlier one does.
        p_value: of McNemar's exact test, two-sided.
    """

    count: int
    before_top1: float
    after_top1: float
    fixed: int
    broken: int
    p_value: float


def score(model: Path, test: Rows, image_dir: Path, made_by: Recipe) -> pd.DataFrame | None:
    """What a finished model says of photos, as `evaluation.evaluate` does; None if it cannot."""
    own = recipe.read(model / "recipe.json")
    if own.key != made_by.key:
        if not Path(own.module.directory).is_dir():
            return None
        paths = [image_dir / path for path in test.paths]
        batches = list(features.extract(paths, own.module, own.precision))
        kept = np.zeros(len(paths), bool)
        kept[np.concatenate([b.indices for b in batches])] = True
        test = test.where(kept)
        vectors = np.concatenate([b.vectors for b in batches])
        test = Rows(vectors, test.labels, test.paths, test.digests)
    return evaluation.evaluate(head.read(model), test)[1]


def compare(before: pd.DataFrame, after: pd.DataFrame) -> Comparison:
    """Compare what two models say of the photos that both were asked about."""
    both = before.merge(after, on="path", suffixes=("_before", "_after"))
    was, now = both["correct_before"].astype(bool), both["correct_after"].astype(bool)
    fixed, broken = int((~was & now).sum()), int((was & ~now).sum())
    n = fixed + broken
    tail = sum(comb(n, k) for k in range(max(fixed, broken), n + 1)) / 2**n
    count = len(both)
    return Comparison(
        count, float(was.mean()), float(now.mean()), fixed, broken, min(1.0, 2 * tail)
    )
