"""Softmax regression by stochastic gradient descent, as in retrain.py.

For each photo of a batch, a class is drawn and then one of its photos. Unlike retrain.py, features
are standardized, the best solution on validation is kept, and training stops early.
"""

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np

from pipeline.errors import UserError
from pipeline.head import softmax
from pipeline.head.checkpoints import Checkpoints
from pipeline.head.dataset import Examples
from pipeline.head.settings import Settings, Sgd
from pipeline.head.tensorboard import TRAINING, TensorBoardWriter
from pipeline.head.trial import OptimizationResult, Trial
from pipeline.progress import Progress

_PATIENCE = 100  # evaluations without improvement before training stops
_DRAWN_ROWS = 65_536  # photos that are read at once, for several steps: 336 MB of 1,280


def train(
    training: Examples,
    validation: Examples,
    settings: Settings,
    progress: Progress,
    checkpoints: Checkpoints,
    summaries: TensorBoardWriter,
    center: np.ndarray | None = None,
) -> OptimizationResult:
    """Train, and keep the solution with the best evaluation, or the last one without validation.

    Args:
        training, validation: the two splits.
        settings: settings of the head, including `sgd`.
        progress: counts the steps.
        checkpoints: where the state is saved.
        summaries: receives the metrics of each evaluation.
        center: the solution to start from, which the L2 penalty pulls towards; by default 0.

    Raises:
        UserError: if the learning rate is so high that the loss diverges.
    """
    sgd, l2 = settings.sgd, settings.l2
    assert sgd is not None
    sample = _sample(validation, sgd)
    center = training.zeros() if center is None else center
    solution = center.copy()
    best, best_trial, first = center, Trial(l2, 0), 0
    saved = checkpoints.load()
    if saved:
        facts, arrays = saved
        solution, best = arrays["solution"], arrays["best"]
        best_trial, first = Trial(**facts["best"]), facts["steps"]
    batch_weights = np.full(sgd.train_batch_size, 1 / sgd.train_batch_size, np.float32)
    weights = settings.photo_weights(training)
    for number, vectors, classes in _batches(training, weights, sgd, first):
        with np.errstate(over="ignore", invalid="ignore"):
            error = vectors @ solution[:-1] + solution[-1]
            loss = softmax.block_loss(error, classes, batch_weights, settings.label_smoothing)
            pull = l2 * (solution[:-1] - center[:-1])
            solution[:-1] -= sgd.learning_rate * (vectors.T @ error + pull)
            solution[-1] -= sgd.learning_rate * error.sum(0)
        if not np.isfinite(solution).all():
            raise UserError(
                f"learning_rate is {sgd.learning_rate:g}, with which the loss diverges; choose a "
                "lower one"
            )
        last = number == sgd.how_many_training_steps
        if last or number % sgd.eval_step_interval == 0:
            progress(number, sgd.how_many_training_steps, "steps of the head")
            on_batch = softmax.metrics(vectors @ solution[:-1] + solution[-1], classes)
            trial = Trial.of(l2, number, solution, on_batch, sample)
            summaries.metrics(TRAINING, number, loss=loss)
            trial.log(summaries, number, solution)
            if not best_trial.iterations or trial.objective() <= best_trial.objective():
                best, best_trial = solution.copy(), trial
            if number - best_trial.iterations >= _PATIENCE * sgd.eval_step_interval:
                break
        if checkpoints.due(number):
            facts = {"steps": number, "best": asdict(best_trial)}
            checkpoints.save(facts, {"solution": solution, "best": best})
    on_all = softmax.measure(training, best)
    kept = Trial.of(l2, best_trial.iterations, best, on_all, validation)
    return OptimizationResult(measured=best, final=best, trials=(kept,), l2=l2)


def _sample(validation: Examples, sgd: Sgd) -> Examples:
    """Return the validation photos for evaluations: always the same, for comparability."""
    if sgd.validation_batch_size == -1 or sgd.validation_batch_size >= len(validation):
        return validation
    generator = np.random.default_rng(sgd.random_seed)
    return validation.subset(generator.choice(len(validation), sgd.validation_batch_size, False))


def _batches(
    training: Examples, weights: np.ndarray, sgd: Sgd, first: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield the number, vectors and classes of each batch after step `first`.

    The photos of a step depend only on the seed and its number.
    """
    class_weights = np.bincount(training.classes, weights)
    share = class_weights / class_weights.sum()
    counts = np.bincount(training.classes)
    by_class, starts = np.argsort(training.classes, kind="stable"), np.cumsum(counts) - counts

    def draw(number: int) -> np.ndarray:
        generator = np.random.default_rng([sgd.random_seed, number])
        classes = generator.choice(len(share), sgd.train_batch_size, p=share)
        rows: np.ndarray = by_class[starts[classes] + generator.integers(counts[classes])]
        return rows

    numbers = range(first + 1, sgd.how_many_training_steps + 1)
    steps_at_once = max(1, _DRAWN_ROWS // sgd.train_batch_size)
    for start in range(0, len(numbers), steps_at_once):
        steps = numbers[start : start + steps_at_once]
        drawn = [draw(number) for number in steps]
        vectors = training.gather(np.concatenate(drawn)).reshape(
            len(steps), sgd.train_batch_size, -1
        )
        for number, rows, batch in zip(steps, drawn, vectors, strict=True):
            yield number, batch, training.classes[rows]
