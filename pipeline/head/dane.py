"""DANE: the direction to the optimum of all photos, computed on a sample of them.

"Communication-efficient distributed optimization using an approximate Newton-type method" (Shamir,
Srebro and Zhang, 2014). Each step needs one pass over all photos, and a few such steps suffice
where L-BFGS alone needs a hundred.
"""

import numpy as np

from pipeline.head import lbfgs
from pipeline.head.lbfgs import Function

_MAX_ITERATIONS = 1000
_TOLERANCE = 0.05  # of the gradient, at which the minimization on the sample stops


def inverse_hessian_product(
    sample_loss: Function, point: np.ndarray, gradient: np.ndarray
) -> np.ndarray:
    """Return the product of a gradient and the inverse Hessian at a point, judging by a sample.

    The sample's loss is tilted until its gradient at the point equals `gradient`. The result is the
    way from the point back from the minimum of that function, which also accounts for the loss not
    being quadratic.

    Args:
        sample_loss: loss and gradient of the sample.
        point: float32, any shape.
        gradient: gradient of the loss of all photos at this point.
    """
    loss, sample_gradient = sample_loss(point)
    tilt = gradient - sample_gradient

    def tilted(at: np.ndarray) -> tuple[float, np.ndarray]:
        loss, slope = sample_loss(at)
        return loss + float(np.vdot(tilt, at - point)), slope + tilt

    state = lbfgs.State(point, loss, gradient)
    small = _TOLERANCE * float(np.linalg.norm(gradient))
    for _ in range(_MAX_ITERATIONS):
        if np.linalg.norm(state.gradient) <= small:
            break
        following = lbfgs.step(tilted, state)
        if following is None:
            break
        state = following
    product: np.ndarray = point - state.point
    return product
