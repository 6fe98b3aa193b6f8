"""The head: softmax regression on bottlenecks, trained to its optimum.

The loss is convex, so there is one best head for each L2 strength, and L-BFGS finds it (Liu and
Nocedal, "On the limited memory BFGS method for large scale optimization", 1989). The strengths are
tried from the strongest to the weakest, each from where the last one ended, and the validation
split decides between them.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pipeline import storage
from pipeline.errors import UserError
from pipeline.progress import Progress, silent
from pipeline.rows import Rows

FORMAT_VERSION = 1  # raise it when training changes, so that heads are trained again
L2_PATH = (1, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
DEFAULT_L2 = 0.01  # where no validation photo can decide; in the middle of what gets chosen
_PATIENCE = 3  # strengths that may do worse than the best one before the path is left
# L-BFGS: pairs remembered, and when to stop.
_MEMORY = 10
_MOST_ITERATIONS = 1000
_FLAT = 1e-6  # largest entry of the gradient
_GAIN = 1e-6  # of an iteration, as a share of the loss
BALANCED, NONE = "balanced", "none"


@dataclass(frozen=True)
class Head:
    """A trained softmax layer: probabilities = softmax(features @ weights + bias).

    Attributes:
        labels: of the classes, in the order of the outputs.
        weights: float32 [features, classes].
        bias: float32 [classes].
    """

    labels: tuple[str, ...]
    weights: np.ndarray
    bias: np.ndarray

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """float32 [n, features] -> float32 [n, classes]."""
        probabilities: np.ndarray = np.exp(_log_softmax(features @ self.weights + self.bias))
        return probabilities


@dataclass(frozen=True)
class Step:
    """How one L2 strength did: cross-entropy in nats, accuracy from 0 to 1.

    The validation figures are None where there is no validation photo.
    """

    l2: float
    iterations: int
    training_cross_entropy: float | None
    training_accuracy: float | None
    validation_cross_entropy: float | None
    validation_accuracy: float | None


@dataclass(frozen=True)
class Training:
    """How a head came about.

    Attributes:
        l2: the strength of the head that was kept.
        training, validation: photos of each split.
        path: the strengths tried, in order.
    """

    l2: float
    training: int
    validation: int
    path: tuple[Step, ...]


def train(
    training: Rows,
    validation: Rows,
    class_weighting: str = BALANCED,
    l2: float = 0,
    progress: Progress = silent,
) -> tuple[Head, Training]:
    """Train a head on one L2 strength after the other, and keep the best.

    Best is the highest accuracy on the validation split and, among equals, the lowest
    cross-entropy. Cross-entropy alone would favour weak strengths, whose heads are merely surer.

    Args:
        training: its labels become the classes, in alphabetical order.
        validation: rows of other labels are left out.
        class_weighting: balanced gives each class the same weight in the loss, none each photo.
        l2: fixes the strength; 0 chooses it.
        progress: told of the strengths tried.

    Raises:
        UserError: for fewer than two classes, or an impossible strength.
    """
    if not (0 <= l2 < np.inf):
        raise UserError(f"l2 is {l2:g}; it must be 0, which chooses it, or a positive number")
    labels = tuple(sorted(set(training.labels)))
    if len(labels) < 2:
        raise UserError(
            f"only {len(labels)} class has training photos that could be decoded, and a classifier "
            "needs at least two; add a folder of photos for each class"
        )
    validation = validation.of(labels)
    classes = np.searchsorted(labels, training.labels)
    strengths = (l2,) if l2 else L2_PATH if validation.paths else (DEFAULT_L2,)
    mean, scale = _scaling(training.vectors)
    vectors = (training.vectors - mean) / scale
    weights = _photo_weights(classes, len(labels), class_weighting)
    solution = np.zeros((vectors.shape[1] + 1, len(labels)), np.float32)
    best: Head | None = None
    steps: list[Step] = []
    for number, strength in enumerate(strengths):
        progress(number, len(strengths), f"head with L2 strength {strength:g}")
        solution, iterations = fit(vectors, classes, weights, strength, solution)
        head = _unscaled(labels, solution, mean, scale)
        step = Step(strength, iterations, *_measure(head, training), *_measure(head, validation))
        steps.append(step)
        chosen = min(steps, key=_badness)
        if chosen is step:
            best = head
        elif len(steps) - steps.index(chosen) > _PATIENCE:
            break
    progress(len(strengths), len(strengths), f"head with L2 strength {chosen.l2:g} is the best")
    assert best is not None
    return best, Training(chosen.l2, len(training.paths), len(validation.paths), tuple(steps))


def fit(
    vectors: np.ndarray, classes: np.ndarray, weights: np.ndarray, l2: float, start: np.ndarray
) -> tuple[np.ndarray, int]:
    """Minimise sum(weights * cross-entropy) + l2 / 2 * |W|^2; the bias goes free.

    Args:
        vectors: float32 [n, features].
        classes: int64 [n].
        weights: float32 [n] that sum to 1.
        l2: strength.
        start: float32 [features + 1, classes], where to begin; the last row is the bias.

    Returns:
        The optimum, shaped as `start`, and the number of iterations.
    """
    each = np.arange(len(classes))

    def loss_and_gradient(solution: np.ndarray) -> tuple[float, np.ndarray]:
        log_p = _log_softmax(vectors @ solution[:-1] + solution[-1])
        loss = -np.dot(weights, log_p[each, classes])
        error = np.exp(log_p)
        error[each, classes] -= 1
        error *= weights[:, None]
        gradient = np.empty_like(solution)
        np.matmul(vectors.T, error, out=gradient[:-1])
        gradient[:-1] += l2 * solution[:-1]
        gradient[-1] = error.sum(0)
        return float(loss + l2 / 2 * np.vdot(solution[:-1], solution[:-1])), gradient

    return _minimise(loss_and_gradient, start)


def _minimise(
    loss_and_gradient: Callable[[np.ndarray], tuple[float, np.ndarray]], solution: np.ndarray
) -> tuple[np.ndarray, int]:
    """L-BFGS in float32, for a convex loss: the optimum, and the number of iterations.

    SciPy's works in float64, with linear algebra whose threads get in the way of NumPy's: it took
    twice as long on 1,430 photos of 50 classes.
    """
    loss, gradient = loss_and_gradient(solution)
    history: deque[tuple[np.ndarray, np.ndarray, float]] = deque(maxlen=_MEMORY)
    for iteration in range(_MOST_ITERATIONS):
        if np.abs(gradient).max() < _FLAT:
            return solution, iteration
        direction = -_scaled_by_curvature(gradient, history)
        slope = float(np.vdot(gradient, direction))
        step = 1.0 if history else min(1.0, 1 / float(np.abs(gradient).sum()))
        while True:
            moved = solution + step * direction
            new_loss, new_gradient = loss_and_gradient(moved)
            if new_loss <= loss + 1e-4 * step * slope:  # Armijo's condition
                break
            step /= 2
            if step < 1e-6:  # what is left to gain is below the precision of float32
                return solution, iteration
        change, turn = moved - solution, new_gradient - gradient
        curvature = float(np.vdot(change, turn))
        if curvature > 0:
            history.append((change, turn, curvature))
        gained = loss - new_loss
        solution, loss, gradient = moved, new_loss, new_gradient
        if gained < _GAIN * max(loss, _GAIN):
            return solution, iteration + 1
    return solution, _MOST_ITERATIONS


def _scaled_by_curvature(
    gradient: np.ndarray, history: deque[tuple[np.ndarray, np.ndarray, float]]
) -> np.ndarray:
    """The gradient times an estimate of the inverse Hessian (the two-loop recursion)."""
    scaled = gradient.copy()
    factors = []
    for change, turn, curvature in reversed(history):
        factor = np.vdot(change, scaled) / curvature
        scaled -= factor * turn
        factors.append(factor)
    if history:
        _, turn, curvature = history[-1]
        scaled *= curvature / np.vdot(turn, turn)
    for (change, turn, curvature), factor in zip(history, reversed(factors), strict=True):
        scaled += (factor - np.vdot(turn, scaled) / curvature) * change
    return scaled


def write(head: Head, training: Training, directory: Path) -> None:
    """Write a head as `head.npz`, and how it came about as `training.json`."""
    with storage.publish(directory) as temporary:
        temporary.mkdir()
        np.savez(
            temporary / "head.npz",
            labels=np.array(head.labels),
            weights=head.weights,
            bias=head.bias,
        )
        (temporary / "training.json").write_text(json.dumps(asdict(training), indent=2) + "\n")


def read(directory: Path) -> Head:
    """Read what `write` wrote."""
    with np.load(directory / "head.npz") as arrays:
        labels = tuple(str(label) for label in arrays["labels"])
        return Head(labels, arrays["weights"], arrays["bias"])


def remarks(training: Training) -> Iterator[str]:
    """What a user should know of a training: one line each."""
    yield f"Head: trained on {training.training:,} photos with L2 strength {training.l2:g}"
    if not training.validation:
        yield (
            "There is no validation photo to choose the L2 strength with; add photos or raise "
            "validation_percentage"
        )


def _scaling(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature; features that never vary are left alone."""
    mean, deviation = vectors.mean(0, dtype=np.float64), vectors.std(0, dtype=np.float64)
    deviation[deviation < 1e-6] = 1
    return mean.astype(np.float32), deviation.astype(np.float32)


def _photo_weights(classes: np.ndarray, number: int, weighting: str) -> np.ndarray:
    counts = np.bincount(classes, minlength=number)
    weights = 1 / (number * counts[classes]) if weighting == BALANCED else 1 / len(classes)
    return np.broadcast_to(weights, classes.shape).astype(np.float32)


def _unscaled(
    labels: tuple[str, ...], solution: np.ndarray, mean: np.ndarray, scale: np.ndarray
) -> Head:
    """Fold the standardisation into the layer, so that it takes the features as they come."""
    weights = solution[:-1] / scale[:, None]
    bias = solution[-1] - mean @ weights
    return Head(labels, weights.astype(np.float32), bias.astype(np.float32))


def _measure(head: Head, rows: Rows) -> tuple[float | None, float | None]:
    """Cross-entropy, in nats, and accuracy; None where there are no rows."""
    n = len(rows.labels)
    if not n:
        return None, None
    log_p = _log_softmax(rows.vectors @ head.weights + head.bias)
    classes = np.searchsorted(head.labels, rows.labels)
    right = log_p.argmax(1) == classes
    return -float(log_p[np.arange(n), classes].mean()), float(right.mean())


def _badness(step: Step) -> tuple[float, float]:
    return -(step.validation_accuracy or 0), step.validation_cross_entropy or 0


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(1, keepdims=True)
    log_p: np.ndarray = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return log_p
