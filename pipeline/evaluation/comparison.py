"""Two models on the same photos, and whether the difference is more than chance."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import comb
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.bottlenecks import extraction, recipe
from pipeline.bottlenecks.reader import Bottlenecks, BottleneckSource
from pipeline.bottlenecks.recipe import Recipe
from pipeline.evaluation import metrics
from pipeline.files.places import Place
from pipeline.head import softmax_head

SIGNIFICANT = 0.05  # a smaller p-value is taken for more than chance


@dataclass(frozen=True)
class ClassChange:
    """The accuracy on the photos of one class, from 0 to 1, before and after."""

    label: str
    count: int
    before: float
    after: float


@dataclass(frozen=True)
class Comparison:
    """What two models say of the photos that both were asked about.

    Attributes:
        count: photos.
        before_top1, after_top1: share that each names rightly; 0 without photos.
        fixed, broken: photos that only the later model names rightly, or only the earlier one.
        fixed_photos, broken_photos: their paths.
        p_value: of McNemar's exact test, two-sided: how often chance alone would make the two
            differ so much.
        classes: the accuracy by class, in the order of the labels.
        added, removed: photos that only `after`, or only the earlier test split, had.
    """

    count: int
    before_top1: float
    after_top1: float
    fixed: int
    broken: int
    fixed_photos: tuple[str, ...]
    broken_photos: tuple[str, ...]
    p_value: float
    classes: tuple[ClassChange, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]

    @property
    def significant(self) -> bool:
        """Whether the difference is more than chance is likely to make."""
        return self.p_value < SIGNIFICANT


def score(
    model: Path, test: BottleneckSource, image_dir: Place, made_by: Recipe
) -> pd.DataFrame | None:
    """What a finished model says of photos.

    Args:
        model: its folder.
        test: photos with the vectors that `made_by` made.
        image_dir: that their paths are relative to.
        made_by: a model with another recipe gets the photos themselves.

    Returns:
        As `evaluation.predict`; photos of labels that the model does not know are wrong, and
        photos that its module cannot decode are left out. None where the model is not complete,
        or its module is no longer there.
    """
    try:
        own, head = recipe.read(model / "recipe.json"), softmax_head.read(model)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if own.key != made_by.key:
        if not Path(own.module.directory).is_dir():
            return None
        test = _Anew(test, image_dir, own)
    return metrics.predict(head, test)


def compare(
    before: pd.DataFrame, after: pd.DataFrame, earlier: pd.DataFrame | None = None
) -> Comparison:
    """Compare what two models say of the same photos.

    McNemar, "Note on the sampling error of the difference between correlated proportions",
    Psychometrika 12, 1947: of the photos on which the two differ, each is right about half if they
    are equally good.

    Args:
        before, after: as `score`.
        earlier: the photos that the earlier model was tested on, when it was new: `digest` and
            `path`; without it, `before`.
    """
    both = before[["path", "label", "correct"]].merge(after[["path", "correct"]], on="path")
    was, now = both["correct_x"].to_numpy(bool), both["correct_y"].to_numpy(bool)
    fixed, broken = both["path"][~was & now], both["path"][was & ~now]
    by_class = pd.DataFrame({"label": both["label"], "was": was, "now": now}).groupby("label")
    earlier = before if earlier is None else earlier
    return Comparison(
        count=len(both),
        before_top1=float(was.mean()) if len(both) else 0.0,
        after_top1=float(now.mean()) if len(both) else 0.0,
        fixed=len(fixed),
        broken=len(broken),
        fixed_photos=tuple(fixed),
        broken_photos=tuple(broken),
        p_value=p_value(len(fixed), len(broken)),
        classes=tuple(
            ClassChange(str(label), len(of), float(of["was"].mean()), float(of["now"].mean()))
            for label, of in by_class
        ),
        added=tuple(after["path"][~after["digest"].isin(earlier["digest"])]),
        removed=tuple(earlier["path"][~earlier["digest"].isin(after["digest"])]),
    )


def p_value(fixed: int, broken: int) -> float:
    """McNemar's exact test, two-sided: the binomial probability of a split as uneven as this."""
    n = fixed + broken
    tail = sum(comb(n, k) for k in range(max(fixed, broken), n + 1))
    return min(1.0, 2 * tail / (1 << n))


def with_model(
    model: Path,
    predictions: pd.DataFrame,
    test: BottleneckSource,
    image_dir: Place,
    made_by: Recipe,
) -> Comparison | None:
    """Compare an evaluation's predictions with what the model in a folder says of the same photos.

    Args:
        model: folder of the earlier model; may be missing.
        predictions: of the new one.
        test, image_dir, made_by: as `score`.

    Returns:
        None where there is no such model, or as `score`.
    """
    before = score(model, test, image_dir, made_by)
    if before is None:
        return None
    earlier = pd.read_parquet(model / "predictions.parquet", columns=["path", "digest"])
    return compare(before, predictions, earlier)


@dataclass(frozen=True)
class _Anew:
    """The photos with the vectors of another recipe."""

    photos: BottleneckSource
    image_dir: Place
    made_by: Recipe

    def batches(self) -> Iterator[Bottlenecks]:
        texts = [(r.labels, np.array(r.paths), np.array(r.digests)) for r in self.photos.batches()]
        if not texts:
            return
        labels, paths, digests = map(np.concatenate, zip(*texts, strict=True))
        files = [self.image_dir / path for path in paths]
        for batch in extraction.extract(files, self.made_by.module, self.made_by.precision):
            of = batch.indices
            yield Bottlenecks(batch.vectors, labels[of], paths[of].tolist(), digests[of].tolist())
