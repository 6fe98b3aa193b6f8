"""Softmax regression: loss, gradient and metrics, computed block by block.

A solution is float32 [features + 1, classes] for standardized features; its last row is the bias.
Products are computed in float32, and sums over blocks in float64.
"""

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.head.dataset import Examples
from pipeline.head.lbfgs import Function


@dataclass(frozen=True)
class Metrics:
    """Unweighted cross-entropy in nats, and accuracy from 0 to 1."""

    cross_entropy: float
    accuracy: float


def objective(
    examples: Examples,
    weights: np.ndarray,
    l2: float,
    smoothing: float,
    center: np.ndarray | None = None,
) -> Function:
    """Return the function sum(weights * cross-entropy) + l2 / 2 * |W - center|^2 of a solution.

    The bias is not regularized.

    Args:
        examples: the training photos.
        weights: float32 [n], weights of the photos with the sum 1.
        l2: L2 strength.
        smoothing: share of each target that is spread evenly over all classes.
        center: the solution that the L2 penalty pulls towards; by default 0.
    """
    number = len(examples.labels)
    logits_buffer = np.empty((examples.blocking.rows, number), np.float32)
    features = len(examples.scaling.mean)
    product = np.empty((features, number), np.float32)

    def loss_and_gradient(solution: np.ndarray) -> tuple[float, np.ndarray]:
        away = solution[:-1] if center is None else solution[:-1] - center[:-1]
        loss = l2 / 2 * float(np.vdot(away, away))
        gradient = np.zeros(solution.shape)
        # While Arrow reads with all cores, a BLAS thread that waits for work would occupy one.
        streamed = examples.cached is None
        with threadpool_limits(1, "blas") if streamed else nullcontext():
            for rows, vectors in examples.blocks():
                logits = np.matmul(vectors, solution[:-1], out=logits_buffer[: len(vectors)])
                logits += solution[-1]
                loss += block_loss(logits, examples.classes[rows], weights[rows], smoothing)
                gradient[:-1] += np.matmul(vectors.T, logits, out=product)
                gradient[-1] += logits.sum(0)
        gradient[:-1] += l2 * away
        return loss, gradient.astype(np.float32)

    return loss_and_gradient


def block_loss(
    logits: np.ndarray, classes: np.ndarray, weights: np.ndarray, smoothing: float
) -> float:
    """Return the weighted loss of photos, and replace `logits` by its gradient.

    Args:
        logits: float32 [n, classes]; afterwards, the gradient of the loss.
        classes: int64 [n], the true classes.
        weights: float32 [n].
        smoothing: as in `objective`.
    """
    each = np.arange(len(logits))
    logits -= logits.max(1, keepdims=True)
    right = (1 - smoothing) * logits[each, classes]
    if smoothing:
        right += smoothing * logits.mean(1)
    np.exp(logits, out=logits)
    total = logits.sum(1)
    loss = float(np.vdot(weights.astype(np.float64), np.log(total) - right))
    logits /= total[:, None]
    logits[each, classes] -= 1 - smoothing
    if smoothing:
        logits -= smoothing / logits.shape[1]
    logits *= weights[:, None]
    return loss


def logits(examples: Examples, solution: np.ndarray) -> np.ndarray:
    """Return the logits of all photos, float32 [n, classes]."""
    answers = np.empty((len(examples), len(examples.labels)), np.float32)
    for rows, vectors in examples.blocks():
        np.matmul(vectors, solution[:-1], out=answers[rows])
        answers[rows] += solution[-1]
    return answers


def measure(examples: Examples, solution: np.ndarray) -> Metrics | None:
    """Return the metrics of a solution; None if there are no photos."""
    if not len(examples):
        return None
    scores = [
        _score(vectors @ solution[:-1] + solution[-1], examples.classes[rows])
        for rows, vectors in examples.blocks()
    ]
    return Metrics(*(sum(column) / len(examples) for column in zip(*scores, strict=True)))


def metrics(logits: np.ndarray, classes: np.ndarray) -> Metrics:
    """Return the metrics of logits, float32 [n, classes], for the true classes, int64 [n]."""
    loss, correct = _score(logits, classes)
    return Metrics(loss / len(logits), correct / len(logits))


def _score(logits: np.ndarray, classes: np.ndarray) -> tuple[float, int]:
    """Return the sum of the cross-entropies and the number of correct answers."""
    log_p = log_softmax(logits)
    loss = -float(log_p[np.arange(len(log_p)), classes].sum(dtype=np.float64))
    return loss, int((log_p.argmax(1) == classes).sum())


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return the logarithms of the probabilities, [n, classes]."""
    shifted = logits - logits.max(1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(1, keepdims=True))
    log_p: np.ndarray = shifted
    return log_p
