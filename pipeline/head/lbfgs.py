"""L-BFGS in float32 (Liu and Nocedal, "On the limited memory BFGS method for large scale
optimization", 1989): one iteration at a time, so that a caller can stop, tell and store.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

MEMORY = 10  # pairs remembered

Function = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""Loss and gradient of a point, the gradient in float32."""

InverseHessian = Callable[[np.ndarray], np.ndarray]
"""From a gradient to what it is, about, times the inverse Hessian."""


@dataclass(frozen=True)
class State:
    """Where a minimisation is.

    Attributes:
        point: float32, any shape.
        loss, gradient: at this point.
        changes, turns: of point and gradient in the last iterations, the latest one last.
    """

    point: np.ndarray
    loss: float
    gradient: np.ndarray
    changes: tuple[np.ndarray, ...] = ()
    turns: tuple[np.ndarray, ...] = ()


def start(function: Function, point: np.ndarray) -> State:
    """The state before the first iteration."""
    return State(point, *function(point))


def step(function: Function, state: State, guess: InverseHessian | None = None) -> State | None:
    """One iteration; None where what is left to gain is below the precision of float32.

    Args:
        function: to be minimised.
        state: before.
        guess: of the inverse Hessian, which what is remembered corrects; by default a number times
            the identity.
    """
    direction = -_inverse_hessian_product(state, guess)
    slope = float(np.vdot(state.gradient, direction))
    known = guess or state.changes
    step = 1.0 if known else min(1.0, 1 / float(np.abs(state.gradient).sum()))
    while True:
        point = state.point + np.float32(step) * direction
        loss, gradient = function(point)
        if loss <= state.loss + 1e-4 * step * slope:  # Armijo's condition
            break
        step /= 2
        if step < 1e-6:
            return None
    change, turn = point - state.point, gradient - state.gradient
    if np.vdot(change, turn) <= 0:
        return State(point, loss, gradient, state.changes, state.turns)
    changes, turns = (*state.changes, change)[-MEMORY:], (*state.turns, turn)[-MEMORY:]
    return State(point, loss, gradient, changes, turns)


def _inverse_hessian_product(state: State, guess: InverseHessian | None) -> np.ndarray:
    """The gradient times an estimate of the inverse Hessian (the two-loop recursion)."""
    product = state.gradient.copy()
    pairs = [(c, t, np.vdot(c, t)) for c, t in zip(state.changes, state.turns, strict=True)]
    factors = []
    for change, turn, curvature in reversed(pairs):
        factor = np.vdot(change, product) / curvature
        product -= factor * turn
        factors.append(factor)
    if guess:
        product = guess(product)
    elif pairs:
        _, turn, curvature = pairs[-1]
        product *= curvature / np.vdot(turn, turn)
    for (change, turn, curvature), factor in zip(pairs, reversed(factors), strict=True):
        product += (factor - np.vdot(turn, product) / curvature) * change
    return product
