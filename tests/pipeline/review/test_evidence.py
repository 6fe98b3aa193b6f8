"""Evidence: probable labels, and similar photos."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.bottlenecks import cache
from pipeline.bottlenecks.recipe import Recipe
from pipeline.modules.loading import Module
from pipeline.review import evidence

LABELS = ["apple", "kiwi", "lime"]


@pytest.fixture(scope="module")
def photos() -> pd.DataFrame:
    """Return 20 photos of each class; the first lime is labelled as a kiwi."""
    names = [f"{label}/{number}" for label in LABELS for number in range(20)]
    frame = pd.DataFrame({"path": names, "label": [name.split("/")[0] for name in names]})
    frame["digest"] = [f"{n:064x}" for n in range(len(frame))]
    frame.loc[40, "label"] = "kiwi"
    return frame


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    generator = np.random.default_rng(0)
    centres = np.repeat(np.eye(3, 8) * 4, 20, axis=0)
    return (centres + generator.normal(size=(60, 8))).astype(np.float32)


def test_the_label_comes_first_and_then_the_most_probable_ones(
    photos: pd.DataFrame, vectors: np.ndarray
) -> None:
    own, first, second = evidence.fit(photos, vectors).guesses(photos["path"][40], "", "kiwi")
    assert (own.label, first.label, second.label) == ("kiwi", "lime", "apple")
    assert first.probability > 0.9 > own.probability
    labels = dict(zip(photos["digest"], photos["label"], strict=True))
    assert [labels[digest] for digest in first.digests] == ["lime"] * evidence.NEAREST


def test_similar_photos_are_sorted_and_different(photos: pd.DataFrame, vectors: np.ndarray) -> None:
    vectors, photos = vectors.copy(), photos.copy()
    vectors[3] = vectors[0] * 2  # the same direction
    photos.loc[4, "digest"] = photos["digest"][0]  # the same photo
    own = evidence.fit(photos, vectors).guesses(photos["path"][0], "", "apple")[0]
    assert own.digests[0] == photos["digest"][3]
    assert photos["digest"][0] not in own.digests


def test_a_copy_in_another_class_has_its_own_evidence(
    photos: pd.DataFrame, vectors: np.ndarray
) -> None:
    copy = photos.iloc[[1]].assign(path="lime/copy", label="lime")
    both = pd.concat([photos, copy], ignore_index=True)
    found = evidence.fit(both, np.concatenate([vectors, vectors[1:2]]))
    assert found.fitted
    digest = photos["digest"][1]
    for row, label in ((1, "apple"), (60, "lime")):
        expected = found.fitted.lda.predict_proba(found.vectors[[row]], found.fitted.folds[[row]])
        own = found.guesses(both["path"][row], digest, label)[0]
        column = found.fitted.labels.tolist().index(label)
        assert (own.label, own.probability) == (label, pytest.approx(expected[0, column]))
    assert found.fitted.folds[1] != found.fitted.folds[60]
    assert found.guesses("apple/excluded", digest, "apple")  # a copy that has no own vector


def test_without_vectors_there_is_no_evidence(photos: pd.DataFrame, tmp_path: Path) -> None:
    found = evidence.read(tmp_path, photos, set())
    assert found.guesses(photos["path"][0], photos["digest"][0], "apple") == []


def test_vectors_are_read_from_the_recipe_used_last(
    photos: pd.DataFrame, vectors: np.ndarray, tmp_path: Path
) -> None:
    recipe = Recipe(Module("m", str(tmp_path), "0" * 64, 8, 8, 8), "float32", "float32")
    digests, zeros = photos["digest"].to_numpy(object), np.zeros(30, np.int8)
    folder = tmp_path / "bottlenecks/8x8-float32-0"
    (folder / "empty-class").mkdir(parents=True)
    cache.write(folder / "a-0/part-00000.parquet", digests[30:], zeros, vectors[30:], recipe)
    cache.write(folder / "partial/1-1.parquet", digests[:20], zeros[:20], vectors[:20], recipe)
    found = evidence.read(tmp_path / "bottlenecks", photos, set())
    expected = photos.drop(range(20, 30)).sort_values("path", ignore_index=True)
    assert found.photos["path"].equals(expected["path"])
    rows = expected["digest"].map(dict(zip(digests, range(60), strict=True)))
    np.testing.assert_array_equal(found.vectors, vectors[rows])


def test_important_photos_are_among_those_that_fit(
    photos: pd.DataFrame, vectors: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.evaluation.data_checks.context.MAX_SAMPLE", 10)
    recipe = Recipe(Module("m", str(tmp_path), "0" * 64, 8, 8, 8), "float32", "float32")
    digests = photos["digest"].to_numpy(object)
    cache.write(tmp_path / "8x8/a-0/p.parquet", digests, np.zeros(60, np.int8), vectors, recipe)
    found = evidence.read(tmp_path, photos, {digests[59]})
    assert len(found.photos) == 10
    assert digests[59] in set(found.photos["digest"])
