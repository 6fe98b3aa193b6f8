"""Training the head, the softmax layer on top of the module."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.errors import UserError
from pipeline.head import calibration, familiarity, l2_path, sgd, softmax
from pipeline.head.checkpoints import Checkpoints
from pipeline.head.dataset import BatchIterator, Blocking, Examples
from pipeline.head.settings import Settings
from pipeline.head.softmax_head import Head, TrainingRecord
from pipeline.head.tensorboard import TensorBoardWriter
from pipeline.progress import Progress, silent


def train(
    training: BatchIterator,
    validation: BatchIterator,
    settings: Settings = Settings(),  # noqa: B008, it is frozen
    progress: Progress = silent,
    checkpoints: Checkpoints = Checkpoints(),  # noqa: B008
    summaries: Path | None = None,
    blocking: Blocking = Blocking(),  # noqa: B008
    tuned: Head | None = None,
) -> tuple[Head, TrainingRecord]:
    """Train a head, keeping the best one on the validation photos.

    Args:
        training: training photos; their labels, sorted, become the classes.
        validation: validation photos; those with other labels are ignored.
        settings: how to train.
        progress: reports what is being tried.
        checkpoints: where a killed training resumes.
        summaries: new folder for TensorBoard.
        blocking: how vectors are held in memory.
        tuned: the head that was trained together with the module. A fine-tuned module separates
            the photos that it was trained on almost perfectly, so they tell little about the best
            head. The L2 penalty therefore pulls towards this head, not towards 0 (L2-SP; Li,
            Grandvalet and Davoine, "Explicit inductive bias for transfer learning with
            convolutional networks", 2018).

    Raises:
        UserError: if there are fewer than two classes, the settings do not match them, or all
            vectors are equal.
    """
    photos = _read(training, blocking)
    validation_photos = Examples.read(validation, like=photos)
    optimize = sgd.train if settings.sgd else l2_path.train
    with TensorBoardWriter(summaries) as writer:
        center = _solution(photos, tuned) if tuned else None
        result = optimize(
            photos, validation_photos, settings, progress, checkpoints, writer, center
        )
    logits = softmax.logits(validation_photos, result.measured)
    calibrated = calibration.calibrate(logits, validation_photos.classes, settings.calibrate)
    solution = result.final
    if calibrated.folded_in and calibrated.temperature:
        solution = solution / np.float32(calibrated.temperature)
        logits = logits / np.float32(calibrated.temperature)
    other = settings.other_index(photos.labels)
    fitted = familiarity.fit(photos, validation_photos, logits, other)
    return replace(_unscaled(photos, solution), familiarity=fitted), TrainingRecord(
        l2=result.l2,
        training=len(photos),
        validation=len(validation_photos),
        path=result.trials,
        calibration=calibrated,
    )


def probe(
    training: BatchIterator,
    validation: BatchIterator,
    progress: Progress = silent,
    tuned: Head | None = None,
) -> tuple[Head, np.ndarray]:
    """Train a head on the training photos alone, with the default settings.

    Args:
        training, validation, progress, tuned: as in `train`.

    Returns:
        The head, and its logits for the validation photos of its classes, float32 [n, classes].

    Raises:
        UserError: as `train`.
    """
    photos = _read(training)
    validation_photos = Examples.read(validation, like=photos)
    result = l2_path.train(
        photos,
        validation_photos,
        Settings(),
        progress,
        Checkpoints(),
        TensorBoardWriter(),
        _solution(photos, tuned) if tuned else None,
    )
    logits = softmax.logits(validation_photos, result.measured)
    return _unscaled(photos, result.measured), logits


def summary_lines(record: TrainingRecord, settings: Settings) -> Iterator[str]:
    """Yield what users should know about a training, one line each."""
    photos, validation = record.training, f"{record.validation:,} validation photos"
    if settings.sgd or not record.validation:
        text = f"trained on {photos:,} photos"
    else:
        text = f"trained on {photos + record.validation:,} photos, including {validation}"
    chosen = (
        "" if settings.sgd or settings.l2 or not record.validation else f", chosen on {validation}"
    )
    yield f"Head: {text}; L2 strength {record.l2:g}{chosen}"
    yield from calibration.summary_lines(record.calibration)


def warnings(record: TrainingRecord) -> Iterator[str]:
    """Yield what users should act on, one line each."""
    if not record.validation:
        yield (
            "There are no validation photos for choosing and calibrating the head; add photos or "
            "raise validation_percentage"
        )


def _read(training: BatchIterator, blocking: Blocking = Blocking()) -> Examples:  # noqa: B008
    photos = Examples.read(training, blocking=blocking)
    if len(photos.labels) < 2:
        raise UserError(
            f"only {len(photos.labels)} class has training photos that can be decoded, and a "
            "classifier needs at least two; add a folder of photos for each class"
        )
    if photos.scaling.all_equal:
        raise UserError(
            f"the vectors of all {len(photos):,} training photos are equal, so the classes cannot "
            "be told apart; use another tfhub_module or image_range, or set vector_type to "
            "float32: float16 rounds to three digits"
        )
    return photos


def _solution(examples: Examples, head: Head) -> np.ndarray:
    """Return a head as a solution for standardized features; 0 for classes that it lacks."""
    solution, scaling = examples.zeros(), examples.scaling
    for column, label in enumerate(examples.labels):
        if label in head.labels:
            number = head.labels.index(label)
            weights = head.weights[:, number]
            solution[:-1, column] = weights * scaling.deviation
            solution[-1, column] = head.bias[number] + scaling.mean @ weights
    return solution


def _unscaled(examples: Examples, solution: np.ndarray) -> Head:
    """Fold the standardization into the layer, so that it takes unscaled features."""
    weights = solution[:-1] / examples.scaling.deviation[:, None]
    bias = solution[-1] - examples.scaling.mean @ weights
    return Head(examples.labels, weights.astype(np.float32), bias.astype(np.float32))
