"""Softmax regression: loss, gradient and figures, against what they are by definition."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from pipeline.head import softmax
from pipeline.head.dataset import Blocking, Examples, in_memory
from tests.support.store import points


def photos(blocking: Blocking = Blocking()) -> Examples:  # noqa: B008
    return Examples.read(in_memory(*points(90, 3, 1, features=4)), blocking=blocking)


def some_solution() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def some_weights(n: int = 90) -> np.ndarray:
    weights = np.random.default_rng(1).random(n)
    return (weights / weights.sum()).astype(np.float32)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_what_it_is_by_definition(smoothing: float) -> None:
    given, solution, weights = photos(), some_solution(), some_weights()
    loss, _ = softmax.objective(given, weights, 0.3, smoothing)(solution)
    (vectors,) = (block for _, block in given.blocks())
    exponentials = np.exp(vectors.astype(float) @ solution[:-1] + solution[-1])
    log_p = np.log(exponentials / exponentials.sum(1, keepdims=True))
    target = np.eye(3)[given.classes] * (1 - smoothing) + smoothing / 3
    expected = -(weights * (target * log_p).sum(1)).sum() + 0.15 * (solution[:-1] ** 2).sum()
    assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_gradient_is_the_losss(smoothing: float) -> None:
    function = softmax.objective(photos(), some_weights(), 0.3, smoothing)
    solution = some_solution()

    def loss(flat: np.ndarray) -> float:
        return function(flat.reshape(5, 3).astype(np.float32))[0]

    _, gradient = function(solution)
    numeric = approx_fprime(solution.ravel().astype(float), loss, 1e-2)
    assert np.allclose(gradient.ravel(), numeric, atol=0.01)


def test_sums_over_many_blocks_are_those_over_one() -> None:
    whole = softmax.objective(photos(), some_weights(), 0.3, 0.1)(some_solution())
    whole_figures = softmax.measure(photos(), some_solution())
    whole_logits = softmax.logits(photos(), some_solution())
    in_blocks = photos(Blocking(rows=7))
    parts = softmax.objective(in_blocks, some_weights(), 0.3, 0.1)(some_solution())
    assert parts[0] == pytest.approx(whole[0], rel=1e-6)
    assert np.allclose(parts[1], whole[1], atol=1e-6)
    figures = softmax.measure(in_blocks, some_solution())
    assert figures
    assert whole_figures
    assert figures.accuracy == whole_figures.accuracy
    assert figures.cross_entropy == pytest.approx(whole_figures.cross_entropy, rel=1e-6)
    assert np.allclose(softmax.logits(in_blocks, some_solution()), whole_logits, atol=1e-5)


def test_figures_are_mean_cross_entropy_and_share_of_right_answers() -> None:
    logits = np.log(np.array([[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]], np.float32))
    figures = softmax.metrics(logits, np.array([0, 1, 1]))
    assert figures.cross_entropy == pytest.approx(-np.log([0.5, 0.8, 0.1]).mean(), rel=1e-5)
    assert figures.accuracy == pytest.approx(2 / 3)


def test_no_photos_have_no_figures() -> None:
    nothing = Examples.read(lambda: iter([]), like=photos())
    assert softmax.measure(nothing, some_solution()) is None
    assert softmax.logits(nothing, some_solution()).shape == (0, 3)


def test_large_logits_do_no_harm() -> None:
    log_p = softmax.log_softmax(np.array([[1e4, -1e4], [0, 0]], np.float32))
    assert np.allclose(np.exp(log_p), [[1, 0], [0.5, 0.5]])
