"""Comparison of two models on the same photos, which neither of them was trained on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.bottlenecks import extraction, recipe
from pipeline.bottlenecks.reader import Bottlenecks, BottleneckSource
from pipeline.bottlenecks.recipe import Recipe
from pipeline.evaluation import metrics, model_photos
from pipeline.evaluation.model_photos import ModelPhotos
from pipeline.evaluation.statistics import mcnemar_p_value
from pipeline.files.places import Place
from pipeline.head import softmax_head

SIGNIFICANT = 0.05  # p-value below which a difference is significant
ENOUGH = 100  # photos with which a loss of five points can be significant


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
        excluded: number of further test photos that one of the models was trained on.
        before_top1, after_top1: accuracy of each model; 0 without photos.
        fixed: number of photos that only the later model predicts correctly (fixes).
        broken: number of photos that only the earlier model predicts correctly (regressions).
        fixed_photos, broken_photos: their paths.
        p_value: two-sided p-value of McNemar's exact test.
        classes: accuracy by class, sorted by label.
        added, removed: photos that only the later, or only the earlier, test split contains.
    """

    count: int
    excluded: int
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

    @property
    def sufficient(self) -> bool:
        """Whether enough test photos remain: 100, or half of them if there are fewer."""
        return self.count > 0 and self.count >= min(ENOUGH, (self.count + self.excluded) / 2)


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
        own, head = recipe.read(model), softmax_head.read(model)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if own.key != made_by.key:
        if not Path(own.module.directory).is_dir():
            return None
        test = _Reextracted(test, image_dir, own)
    return metrics.predict(head, test)


def compare(
    before: pd.DataFrame,
    after: pd.DataFrame,
    photos: Sequence[ModelPhotos],
    earlier: pd.DataFrame | None = None,
) -> Comparison:
    """Compare the predictions of two models for the same photos.

    Args:
        before, after: results of `score`.
        photos: the photos of both models; what one of them was trained on is excluded.
        earlier: `digest` and `path` of the earlier model's test photos; by default, `before`.
    """
    columns = ["path", "digest", "label", "correct"]
    tested = before[columns].merge(after[["path", "correct"]], on="path")
    unseen = np.all([each.unseen(tested["digest"]) for each in photos], axis=0)
    both = tested[unseen]
    was, now = both["correct_x"].to_numpy(bool), both["correct_y"].to_numpy(bool)
    fixed, broken = both["path"][~was & now], both["path"][was & ~now]
    by_class = pd.DataFrame({"label": both["label"], "was": was, "now": now}).groupby("label")
    earlier = before if earlier is None else earlier
    return Comparison(
        count=len(both),
        excluded=len(tested) - len(both),
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
    photos: ModelPhotos,
    test: BottleneckSource,
    image_dir: Place,
    made_by: Recipe,
) -> Comparison | None:
    """Compare an evaluation's predictions with those of an earlier model.

    Args:
        model: folder of the earlier model, which may be missing.
        predictions: predictions of the new model.
        photos: photos of the new model.
        test, image_dir, made_by: as in `score`.

    Returns:
        None if there is no such model, or for the reasons of `score`.
    """
    before = score(model, test, image_dir, made_by)
    if before is None:
        return None
    earlier = model_photos.read_predictions(model)
    return compare(before, predictions, (model_photos.read(model), photos), earlier)


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
