"""Nearest neighbours: those of the whole matrix, whatever the blocks."""

import sys
from collections.abc import Iterator

import numpy as np
import pytest
from sklearn.datasets import load_digits

from pipeline.evaluation.data_checks import neighbours, outliers
from pipeline.evaluation.data_checks.context import CheckContext
from tests.support.checks import Maker


@pytest.mark.parametrize("block", [7, 50, 64])
def test_blocks_find_what_the_whole_matrix_has(block: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    found = neighbours.nearest(vectors, block_size=block)
    assert found.index.tolist() == cosines.argmax(1).tolist()
    assert found.similarity == pytest.approx(cosines.max(1), abs=1e-5)


def test_vectors_of_zeros_do_no_harm() -> None:
    found = neighbours.nearest(np.zeros((3, 4), np.float32))
    assert np.isfinite(found.similarity).all()


def test_tiny_vectors_have_the_same_neighbours() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    found, tiny = neighbours.nearest(vectors), neighbours.nearest(vectors * np.float32(1e-10))
    assert tiny.index.tolist() == found.index.tolist()
    assert tiny.similarity == pytest.approx(found.similarity, abs=1e-5)


def scanned_digits() -> np.ndarray:
    return load_digits().data.astype(np.float32)


def approximate(vectors: np.ndarray, rows: int = 300) -> neighbours.Nearest:
    def blocks() -> Iterator[np.ndarray]:
        yield from (vectors[start : start + rows] for start in range(0, len(vectors), rows))

    return neighbours.approximate(blocks, len(vectors), vectors[::2])


@pytest.fixture
def small_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use 56 cells for 1,797 photos, of which 4 are searched, and compare few photos with all."""
    for name, value in (("_CELL_PHOTOS", 32), ("_PROBES", 4), ("_RECHECKED", 20)):
        monkeypatch.setattr(neighbours, name, value)


@pytest.mark.usefixtures("small_cells")
def test_most_neighbours_are_found_and_copies_always() -> None:
    vectors = scanned_digits()
    generator = np.random.default_rng(0)
    copied = generator.choice(len(vectors), 50, replace=False)
    copies = vectors[copied] * generator.uniform(0.97, 1.03, (50, 64)).astype(np.float32)
    vectors = np.concatenate([vectors, copies])
    exact, found = neighbours.nearest(vectors), approximate(vectors)
    assert (found.index != np.arange(len(vectors))).all()
    assert (found.index == exact.index).mean() > 0.9
    assert (found.index[-50:] == exact.index[-50:]).mean() > 0.97
    assert np.median(found.similarity) == pytest.approx(np.median(exact.similarity), abs=1e-3)


@pytest.mark.usefixtures("small_cells")
def test_the_least_similar_photos_are_compared_with_all() -> None:
    vectors = scanned_digits()
    exact, found = neighbours.nearest(vectors), approximate(vectors)
    lowest = np.argsort(exact.similarity)[:10]
    assert found.index[lowest].tolist() == exact.index[lowest].tolist()
    assert found.similarity[lowest] == pytest.approx(exact.similarity[lowest], abs=1e-5)


@pytest.mark.usefixtures("small_cells")
def test_neighbours_depend_neither_on_the_run_nor_on_the_blocks() -> None:
    vectors = scanned_digits()
    first, second = approximate(vectors), approximate(vectors, rows=77)
    assert first.index.tolist() == second.index.tolist()
    assert first.similarity == pytest.approx(second.similarity, abs=1e-6)


@pytest.mark.usefixtures("small_cells")
def test_many_photos_are_searched_without_those_that_are_identical(
    make_subject: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("MAX_SAMPLE", "MAX_EXACT"):
        monkeypatch.setattr(sys.modules[CheckContext.__module__], limit, 1000)
    vectors = scanned_digits() / 16
    vectors[7] = np.random.default_rng(0).uniform(size=64)
    vectors[20] = vectors[10]
    digests = [f"{i:064x}" for i in range(len(vectors))]
    digests[20] = digests[10]
    subject = make_subject(vectors, ["a"] * len(vectors), digests)
    exact = neighbours.nearest(vectors[subject.unique].astype(np.float32))
    assert subject.nearest is not None
    assert len(subject.nearest.index) == len(vectors) - 1
    assert (subject.nearest.index == exact.index).mean() > 0.9
    assert [finding.paths for finding in outliers.find(subject)][:1] == [("a/7.png",)]
