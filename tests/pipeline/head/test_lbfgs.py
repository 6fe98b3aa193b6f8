"""L-BFGS: finds the minimum of a convex function, one iteration at a time."""

import numpy as np

from pipeline.head import lbfgs
from pipeline.head.lbfgs import State

CURVATURE = np.logspace(0, 3, 30).astype(np.float32)
MINIMUM = np.linspace(-1, 1, 30, dtype=np.float32)


def bowl(point: np.ndarray) -> tuple[float, np.ndarray]:
    apart = point - MINIMUM
    return float(np.vdot(CURVATURE * apart, apart)) / 2, CURVATURE * apart


def minimised(state: State) -> tuple[State, int]:
    iterations = 0
    while (after := lbfgs.step(bowl, state)) and np.abs(after.gradient).max() > 1e-3:
        state, iterations = after, iterations + 1
    return after or state, iterations


def test_the_minimum_is_found_in_fewer_iterations_than_steps_downhill_take() -> None:
    found, iterations = minimised(lbfgs.start(bowl, np.zeros(30, np.float32)))
    assert np.allclose(found.point, MINIMUM, atol=1e-3)
    assert iterations < 200


def test_loss_falls_at_each_iteration_and_no_more_is_remembered_than_needed() -> None:
    state = lbfgs.start(bowl, np.zeros(30, np.float32))
    for _ in range(lbfgs.MEMORY + 3):
        after = lbfgs.step(bowl, state)
        assert after
        assert after.loss < state.loss
        state = after
    assert len(state.s_history) == len(state.y_history) == lbfgs.MEMORY
    assert state.point.dtype == state.gradient.dtype == np.float32


def test_it_ends_where_float32_shows_no_progress() -> None:
    state = lbfgs.start(lambda point: (0.0, np.ones_like(point)), np.zeros(3, np.float32))
    assert lbfgs.step(lambda point: (1.0, np.ones_like(point)), state) is None
