"""Comparison: two models on the same photos."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.bottlenecks import reader, recipe
from pipeline.evaluation import comparison, metrics, model_photos, statistics
from pipeline.evaluation.comparison import Comparison
from pipeline.evaluation.model_photos import ModelPhotos
from pipeline.head import softmax_head
from pipeline.head.softmax_head import Head, TrainingRecord
from tests.support.store import Store


def predictions(**correct: bool) -> pd.DataFrame:
    """What a model says of photos: their names, and whether it is right."""
    names = list(correct)
    return pd.DataFrame(
        {
            "path": names,
            "digest": [f"digest of {name}" for name in names],
            "label": [name[0] for name in names],
            "correct": list(correct.values()),
        }
    )


def made_of(**splits: str) -> ModelPhotos:
    """The photos of a model, by split."""
    rows = [(f"digest of {name}", name[0], split) for name, split in splits.items()]
    return ModelPhotos(pd.DataFrame(rows, columns=["digest", "label", "split"]))


NOTHING = made_of()
BEFORE = predictions(a1=True, a2=True, b1=False, b2=False)
AFTER = predictions(a1=True, a2=False, b1=True, b2=True)


def test_photos_that_changed_are_named() -> None:
    found = comparison.compare(BEFORE, AFTER, [NOTHING, NOTHING])
    assert (found.count, found.before_top1, found.after_top1) == (4, 0.5, 0.75)
    assert (found.fixed, found.broken) == (2, 1)
    assert found.fixed_photos == ("b1", "b2")
    assert found.broken_photos == ("a2",)


def test_classes_are_compared_one_by_one() -> None:
    a, b = comparison.compare(BEFORE, AFTER, [NOTHING, NOTHING]).classes
    assert (a.label, a.count, a.before, a.after) == ("a", 2, 1, 0.5)
    assert (b.label, b.count, b.before, b.after) == ("b", 2, 0, 1)


def test_test_photos_that_came_and_went_are_told_by_content() -> None:
    earlier = predictions(a1=True, gone=True)
    found = comparison.compare(BEFORE, AFTER, [NOTHING, NOTHING], earlier)
    assert found.added == ("a2", "b1", "b2")
    assert found.removed == ("gone",)


def test_photos_that_a_model_was_trained_on_are_left_out() -> None:
    before = made_of(a1="training", b1="testing")
    after = made_of(b2="validation", a2="testing")
    found = comparison.compare(BEFORE, AFTER, [before, after])
    assert (found.count, found.excluded, found.fixed, found.broken) == (2, 2, 1, 1)
    assert found.fixed_photos == ("b1",)
    assert [c.count for c in found.classes] == [1, 1]


@pytest.mark.parametrize(
    ("count", "excluded", "sufficient"),
    [
        (0, 0, False),
        (1, 0, True),
        (20, 20, True),
        (19, 20, False),
        (99, 100, False),
        (100, 10_000, True),
    ],
)
def test_half_of_the_photos_or_a_hundred_are_sufficient(
    count: int, excluded: int, sufficient: bool
) -> None:
    found = Comparison(count, excluded, 0, 0, 0, 0, (), (), 1, (), (), ())
    assert found.sufficient == sufficient


@pytest.mark.parametrize(
    ("fixed", "broken", "p"),
    [(0, 0, 1), (5, 5, 1), (1, 0, 1), (6, 0, 2 / 64), (0, 6, 2 / 64), (1, 9, 22 / 1024)],
)
def test_the_p_value_is_mcnemars_exact_one(fixed: int, broken: int, p: float) -> None:
    assert statistics.mcnemar_p_value(fixed, broken) == pytest.approx(p)


def test_the_p_value_holds_for_very_many_photos() -> None:
    assert statistics.mcnemar_p_value(3000, 3100) == pytest.approx(0.2052, abs=0.001)
    assert statistics.mcnemar_p_value(0, 6000) == 0


@pytest.fixture
def model(store: Store, tmp_path: Path) -> Path:
    """A model that tells the two classes by the red in their photos."""
    weights = np.zeros((12, 2), np.float32)
    weights[0::3, 0], weights[1::3, 1] = 10, 10
    head = Head(("green leaf", "red_rose"), weights, np.zeros(2, np.float32))
    softmax_head.write(head, TrainingRecord(1, 1, 0, ()), tmp_path / "model")
    recipe.write(store.recipe, tmp_path / "model")
    return tmp_path / "model"


def test_a_model_of_the_same_recipe_is_asked_with_the_cached_vectors(
    store: Store, model: Path, tmp_path: Path
) -> None:
    store.run()
    test = store.rows("testing")
    found = comparison.score(model, test, tmp_path / "no photos here", store.recipe)
    assert found is not None
    assert list(found["path"]) == test.paths
    expected = metrics.predict(softmax_head.read(model), test)
    assert found["correct"].tolist() == expected["correct"].tolist()


def test_a_model_of_another_recipe_is_asked_with_the_photos(store: Store, model: Path) -> None:
    store.run()
    test = store.rows("testing")
    assert test.paths
    other = recipe.Recipe(store.recipe.module, "float32", "float32")
    assert other.key != store.recipe.key
    blank = reader.Bottlenecks(test.vectors * 0, test.labels, test.paths, test.digests)
    anew = comparison.score(model, blank, store.image_dir, other)
    cached = comparison.score(model, test, store.image_dir, store.recipe)
    assert anew is not None
    assert cached is not None
    for new, old in zip(anew["probabilities"], cached["probabilities"], strict=True):
        assert new == pytest.approx(old, abs=0.01)


def test_without_the_module_or_the_model_there_is_no_comparison(
    store: Store, model: Path, tmp_path: Path
) -> None:
    store.run()
    test = store.rows("testing")
    assert comparison.score(tmp_path / "none", test, store.image_dir, store.recipe) is None
    gone = replace(store.recipe.module, directory=str(tmp_path / "gone"))
    recipe.write(replace(store.recipe, module=gone, vector_type="float32"), model)
    assert comparison.score(model, test, store.image_dir, store.recipe) is None
    nothing = comparison.with_model(model, BEFORE, NOTHING, test, store.image_dir, store.recipe)
    assert nothing is None


def test_an_earlier_model_is_compared_on_photos_that_are_new_to_it(
    store: Store, model: Path
) -> None:
    store.run()
    test = store.rows("testing")
    own = metrics.predict(softmax_head.read(model), test)
    own.to_parquet(model / "predictions.parquet")
    known = pd.DataFrame({"digest": test.digests[:2], "label": "x", "split": "training"})
    model_photos.write(ModelPhotos(known), model)
    found = comparison.with_model(model, own, NOTHING, test, store.image_dir, store.recipe)
    assert found is not None
    assert (found.count, found.excluded) == (len(test.paths) - 2, 2)
