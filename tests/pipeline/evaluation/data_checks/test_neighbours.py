"""Nearest neighbours: those of the whole matrix, whatever the blocks."""

import numpy as np
import pytest

from pipeline.evaluation.data_checks import neighbours


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
