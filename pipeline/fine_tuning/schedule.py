"""The schedule: the learning rate of each step, and how many epochs fit into a time budget."""

import math

from pipeline.errors import UserError

_WARM_UP = 0.1  # share of the steps in which the rate rises: the head's first gradients are large


def rate(step: int, steps: int, peak: float) -> float:
    """Return the learning rate of a step, which rises linearly and falls along a cosine to 0.

    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017.
    """
    rising = max(1, round(_WARM_UP * steps))
    if step < rising:
        return peak * (step + 1) / rising
    return peak * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising))) / 2


def epochs_within(minutes: float, epochs: int, seconds_per_epoch: float) -> int:
    """Return how many of the epochs fit into a time budget; 0 minutes fit all.

    Raises:
        UserError: if not even one does.
    """
    if not minutes:
        return epochs
    fitting = int(60 * minutes / seconds_per_epoch)
    if not fitting:
        raise UserError(
            f"fine_tune_minutes is {minutes:g}, but one epoch takes about "
            f"{seconds_per_epoch / 60:.2g} minutes; raise it, or lower fine_tune_percentage"
        )
    return min(epochs, fitting)
