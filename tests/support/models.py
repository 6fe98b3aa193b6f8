"""Models whose answers are known, and photos that they know or do not know."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.bottlenecks import recipe
from pipeline.bottlenecks.reader import Bottlenecks
from pipeline.bottlenecks.recipe import Recipe
from pipeline.evaluation.model_photos import ModelPhotos
from pipeline.head import softmax_head
from pipeline.head.softmax_head import Head, TrainingRecord
from pipeline.modules.loading import Module
from tests.support.store import write_figures

RECIPE = Recipe(Module("tiny", "", "digest", 8, 8, 3), "float32", "float16")
LABELS = ("a", "b", "c")


def photos(shown: str, first: int = 0, labels: dict[str, str] | None = None) -> Bottlenecks:
    """Return photos whose vectors point to what they show.

    Args:
        shown: a, b or c for each photo.
        first: number of the first photo, which names it and is its digest.
        labels: labels of what they show, if different.
    """
    names = [str(first + i) for i in range(len(shown))]
    vectors = np.eye(3, dtype=np.float32)[["abc".index(what) for what in shown]]
    truth = np.array([(labels or {}).get(what, what) for what in shown], dtype=object)
    return Bottlenecks(vectors, truth, [f"{name}.jpg" for name in names], names)


def says(answers: str | tuple[str, ...], labels: tuple[str, ...] = LABELS) -> Head:
    """Return a head that answers `answers[i]` to photos that show `"abc"[i]`."""
    weights = np.array([[10.0 * (label == answer) for label in labels] for answer in answers])
    return Head(labels, weights.astype(np.float32), np.zeros(len(labels), np.float32))


def model(
    directory: Path, head: Head, test: Bottlenecks, training: Bottlenecks | None = None
) -> Path:
    """Write the folder of a model; without training photos, that of an earlier version."""
    softmax_head.write(head, TrainingRecord(0.1, 1, 1, ()), directory)
    write_figures(head, test, directory, training and made_of(training, test))
    recipe.write(RECIPE, directory)
    return directory


def made_of(training: Bottlenecks, testing: Bottlenecks) -> ModelPhotos:
    """Return the record of a model's photos."""
    parts = (("training", training), ("testing", testing))
    frames = [
        pd.DataFrame({"digest": part.digests, "label": part.labels, "split": name})
        for name, part in parts
    ]
    return ModelPhotos(pd.concat(frames, ignore_index=True))
