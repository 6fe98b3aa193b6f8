"""The head: the softmax layer, from its training to its files."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.errors import UserError
from pipeline.head import calibration, l2_path, sgd, softmax
from pipeline.head.checkpoints import Checkpoints
from pipeline.head.dataset import BatchIterator, Examples
from pipeline.head.settings import Settings
from pipeline.head.softmax_head import Head, TrainingRecord
from pipeline.head.tensorboard import TensorBoardWriter
from pipeline.progress import Progress, silent


def train(
    training: BatchIterator,
    validation: BatchIterator,
    settings: Settings = Settings(),  # noqa: B008, it is frozen
    progress: Progress = silent,
    snapshots: Checkpoints = Checkpoints(),  # noqa: B008
    summaries: Path | None = None,
) -> tuple[Head, TrainingRecord]:
    """Train a head, and keep what does best on the validation photos.

    Args:
        training: its labels become the classes, in alphabetical order.
        validation: photos of other labels are left out.
        settings: how.
        progress: told of what is being tried.
        snapshots: where a run that is killed is gone on with.
        summaries: a new folder for what TensorBoard shows.

    Raises:
        UserError: for fewer than two classes, or settings that do not fit.
    """
    photos = Examples.read(training)
    if len(photos.labels) < 2:
        raise UserError(
            f"only {len(photos.labels)} class has training photos that could be decoded, and a "
            "classifier needs at least two; add a folder of photos for each class"
        )
    others = Examples.read(validation, like=photos)
    optimise = sgd.train if settings.sgd else l2_path.train
    with TensorBoardWriter(summaries) as written:
        outcome = optimise(photos, others, settings, progress, snapshots, written)
    logits = softmax.logits(others, outcome.measured)
    calibrated = calibration.calibrate(logits, others.classes, settings.calibrate)
    solution = outcome.final
    if calibrated.folded_in and calibrated.temperature:
        solution = solution / np.float32(calibrated.temperature)
    return _unscaled(photos, solution), TrainingRecord(
        outcome.l2, len(photos), len(others), outcome.trials, calibrated
    )


def summary_lines(training: TrainingRecord) -> Iterator[str]:
    """What a user should know of a training: one line each."""
    yield f"Head: trained on {training.training:,} photos with L2 strength {training.l2:g}"
    yield from calibration.summary_lines(training.calibration)


def warnings(training: TrainingRecord) -> Iterator[str]:
    """What a user should do something about: one line each."""
    if not training.validation:
        yield (
            "There is no validation photo to choose and calibrate the head with; add photos or "
            "raise validation_percentage"
        )


def _unscaled(examples: Examples, solution: np.ndarray) -> Head:
    """Fold the standardisation into the layer, so that it takes the features as they come."""
    weights = solution[:-1] / examples.scaling.deviation[:, None]
    bias = solution[-1] - examples.scaling.mean @ weights
    return Head(examples.labels, weights.astype(np.float32), bias.astype(np.float32))
