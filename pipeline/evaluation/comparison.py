"""Comparison of two models on the same photos."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.bottlenecks import extraction, recipe
from pipeline.bottlenecks.reader import Bottlenecks, BottleneckSource
from pipeline.bottlenecks.recipe import Recipe
from pipeline.evaluation import metrics
from pipeline.evaluation.statistics import mcnemar_p_value
from pipeline.files.places import Place
from pipeline.head import softmax_head

SIGNIFICANT = 0.05  # p-value below which a difference is significant


@dataclass(frozen=True)
class ClassChange:
    """The accuracy of both models on the photos of one class, from 0 to 1."""

    label: str
    count: int
    before: float
    after: float


@dataclass(frozen=True)
class Comparison:
    """The predictions of two models for the same photos.

    Attributes:
        count: number of photos.
        before_top1, after_top1: accuracy of each model; 0 without photos.
        fixed: number of photos that only the later model predicts correctly (fixes).
        broken: number of photos that only the earlier model predicts correctly (regressions).
        fixed_photos, broken_photos: their paths.
        p_value: two-sided p-value of McNemar's exact test.
        classes: accuracy by class, sorted by label.
        added, removed: photos that only the later, or only the earlier, test split contains.
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
        """Whether the difference is statistically significant."""
        return self.p_value < SIGNIFICANT


def score(
    model: Path, test: BottleneckSource, image_dir: Place, made_by: Recipe
) -> pd.DataFrame | None:
    """Predict the labels of photos with an exported model.

    Args:
        model: folder of the model.
        test: photos with vectors made by `made_by`.
        image_dir: folder that their paths are relative to.
        made_by: recipe of the vectors; a model with another recipe computes its own.

    Returns:
        The result of `metrics.predict`. Photos with labels that the model does not know count as
        wrong, and photos that its module cannot decode are ignored. None if the model is
        incomplete, or its module does not exist any more.
    """
    try:
        own, head = recipe.read(model / "recipe.json"), softmax_head.read(model)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if own.key != made_by.key:
        if not Path(own.module.directory).is_dir():
            return None
        test = _Reextracted(test, image_dir, own)
    return metrics.predict(head, test)


def compare(
    before: pd.DataFrame, after: pd.DataFrame, earlier: pd.DataFrame | None = None
) -> Comparison:
    """Compare the predictions of two models for the same photos.

    Args:
        before, after: results of `score`.
        earlier: `digest` and `path` of the earlier model's test photos; by default, `before`.
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
        p_value=mcnemar_p_value(len(fixed), len(broken)),
        classes=tuple(
            ClassChange(
                label=str(label),
                count=len(photos),
                before=float(photos["was"].mean()),
                after=float(photos["now"].mean()),
            )
            for label, photos in by_class
        ),
        added=tuple(after["path"][~after["digest"].isin(earlier["digest"])]),
        removed=tuple(earlier["path"][~earlier["digest"].isin(after["digest"])]),
    )


def with_model(
    model: Path,
    predictions: pd.DataFrame,
    test: BottleneckSource,
    image_dir: Place,
    made_by: Recipe,
) -> Comparison | None:
    """Compare an evaluation's predictions with those of an earlier model.

    Args:
        model: folder of the earlier model, which may be missing.
        predictions: predictions of the new model.
        test, image_dir, made_by: as in `score`.

    Returns:
        None if there is no such model, or for the reasons of `score`.
    """
    before = score(model, test, image_dir, made_by)
    if before is None:
        return None
    earlier = pd.read_parquet(model / "predictions.parquet", columns=["path", "digest"])
    return compare(before, predictions, earlier)


@dataclass(frozen=True)
class _Reextracted:
    """The same photos with vectors of another recipe."""

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
            i = batch.indices
            yield Bottlenecks(batch.vectors, labels[i], paths[i].tolist(), digests[i].tolist())
