"""L-BFGS in float32 (Liu and Nocedal, "On the limited memory BFGS method for large scale
optimization", 1989), one iteration at a time, so that callers can stop, report and save.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

MEMORY = 10  # pairs in the history

Function = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""Returns the loss and the gradient, float32, at a point."""

InverseHessian = Callable[[np.ndarray], np.ndarray]
"""Returns the product of an approximate inverse Hessian and a gradient."""


@dataclass(frozen=True)
class State:
    """The state of a minimization.

    Attributes:
        point: float32, any shape.
        loss, gradient: loss and gradient at this point.
        s_history, y_history: differences of points and gradients in the last iterations, in the
            notation of Nocedal, oldest first.
    """

    point: np.ndarray
    loss: float
    gradient: np.ndarray
    s_history: tuple[np.ndarray, ...] = ()
    y_history: tuple[np.ndarray, ...] = ()


def start(function: Function, point: np.ndarray) -> State:
    """Return the state before the first iteration."""
    return State(point, *function(point))


def step(
    function: Function, state: State, inverse_hessian: InverseHessian | None = None
) -> State | None:
    """Run one iteration; return None if further progress is below the precision of float32.

    Args:
        function: the function to minimize.
        state: the state before the iteration.
        inverse_hessian: initial approximation, which the history corrects; by default a multiple
            of the identity.
    """
    direction = -_inverse_hessian_product(state, inverse_hessian)
    slope = float(np.vdot(state.gradient, direction))
    is_scaled = inverse_hessian or state.s_history
    length = 1.0 if is_scaled else min(1.0, 1 / float(np.abs(state.gradient).sum()))
    while True:
        point = state.point + np.float32(length) * direction
        loss, gradient = function(point)
        if loss <= state.loss + 1e-4 * length * slope:  # Armijo's condition
            break
        length /= 2
        if length < 1e-6:
            return None
    s, y = point - state.point, gradient - state.gradient
    if np.vdot(s, y) <= 0:
        return State(point, loss, gradient, state.s_history, state.y_history)
    s_history, y_history = (*state.s_history, s)[-MEMORY:], (*state.y_history, y)[-MEMORY:]
    return State(point, loss, gradient, s_history, y_history)


def _inverse_hessian_product(state: State, inverse_hessian: InverseHessian | None) -> np.ndarray:
    """Return the product of the estimated inverse Hessian and the gradient (two-loop recursion)."""
    product = state.gradient.copy()
    pairs = [(s, y, np.vdot(s, y)) for s, y in zip(state.s_history, state.y_history, strict=True)]
    factors = []
    for s, y, curvature in reversed(pairs):
        factor = np.vdot(s, product) / curvature
        product -= factor * y
        factors.append(factor)
    if inverse_hessian:
        product = inverse_hessian(product)
    elif pairs:
        _, y, curvature = pairs[-1]
        product *= curvature / np.vdot(y, y)
    for (s, y, curvature), factor in zip(pairs, reversed(factors), strict=True):
        product += (factor - np.vdot(y, product) / curvature) * s
    return product
