"""Softmax regression: its loss and gradient, and how good its answers are, block by block.

A solution is float32 [features + 1, classes] for standardised features; its last row is the bias.
Products are in float32, sums over blocks in float64.
"""

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.head.dataset import BLOCK_ROWS, Examples
from pipeline.head.lbfgs import Function


@dataclass(frozen=True)
class Metrics:
    """Cross-entropy in nats and accuracy from 0 to 1, each photo counting the same."""

    cross_entropy: float
    accuracy: float


def objective(examples: Examples, weights: np.ndarray, l2: float, smoothing: float) -> Function:
    """sum(weights * cross-entropy) + l2 / 2 * |W|^2 as a function of the solution.

    The bias goes free.

    Args:
        examples: to train on.
        weights: float32 [n], of the photos, that sum to 1.
        l2: strength.
        smoothing: share of each photo's target that is spread evenly over all classes.
    """
    number = len(examples.labels)
    logits_buffer = np.empty((BLOCK_ROWS, number), np.float32)
    features = len(examples.scaling.mean)
    product = np.empty((features, number), np.float32)

    def loss_and_gradient(solution: np.ndarray) -> tuple[float, np.ndarray]:
        loss = l2 / 2 * float(np.vdot(solution[:-1], solution[:-1]))
        gradient = np.zeros(solution.shape)
        # While Arrow reads with all cores, a BLAS thread that waits for work takes one from it.
        streamed = examples.kept is None
        with threadpool_limits(1, "blas") if streamed else nullcontext():
            for rows, vectors in examples.blocks():
                logits = np.matmul(vectors, solution[:-1], out=logits_buffer[: len(vectors)])
                logits += solution[-1]
                loss += block_loss(logits, examples.classes[rows], weights[rows], smoothing)
                gradient[:-1] += np.matmul(vectors.T, logits, out=product)
                gradient[-1] += logits.sum(0)
        gradient[:-1] += l2 * solution[:-1]
        return loss, gradient.astype(np.float32)

    return loss_and_gradient


def block_loss(
    logits: np.ndarray, classes: np.ndarray, weights: np.ndarray, smoothing: float
) -> float:
    """The weighted loss of some photos; `logits` are replaced by its gradient with respect to them.

    Args:
        logits: float32 [n, classes].
        classes: int64 [n], the right ones.
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
    """float32 [n, classes]."""
    answers = np.empty((len(examples), len(examples.labels)), np.float32)
    for rows, vectors in examples.blocks():
        np.matmul(vectors, solution[:-1], out=answers[rows])
        answers[rows] += solution[-1]
    return answers


def measure(examples: Examples, solution: np.ndarray) -> Metrics | None:
    """How good a solution is; None where there is no photo."""
    if not len(examples):
        return None
    scores = [
        _score(vectors @ solution[:-1] + solution[-1], examples.classes[rows])
        for rows, vectors in examples.blocks()
    ]
    return Metrics(*(sum(column) / len(examples) for column in zip(*scores, strict=True)))


def metrics(logits: np.ndarray, classes: np.ndarray) -> Metrics:
    """How good some answers are, float32 [n, classes], where int64 [n] are right."""
    loss, right = _score(logits, classes)
    return Metrics(loss / len(logits), right / len(logits))


def _score(logits: np.ndarray, classes: np.ndarray) -> tuple[float, int]:
    """Sum of the cross-entropies, and number of right answers."""
    log_p = log_softmax(logits)
    loss = -float(log_p[np.arange(len(log_p)), classes].sum(dtype=np.float64))
    return loss, int((log_p.argmax(1) == classes).sum())


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithms of the probabilities, [n, classes]."""
    shifted = logits - logits.max(1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(1, keepdims=True))
    log_p: np.ndarray = shifted
    return log_p
