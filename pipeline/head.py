"""The head: the softmax layer, from its training to its files."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from pipeline import calibration, l2_path, sgd, softmax, storage
from pipeline.calibration import Calibration
from pipeline.errors import UserError
from pipeline.examples import Examples, Pass
from pipeline.head_settings import Settings
from pipeline.progress import Progress, silent
from pipeline.snapshots import Snapshots
from pipeline.summaries import Summaries
from pipeline.trial import Trial

FORMAT_VERSION = 4  # raise it when training changes, so that heads are trained again


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
        logits = features @ self.weights + self.bias
        probabilities: np.ndarray = np.exp(softmax.log_softmax(logits))
        return probabilities


@dataclass(frozen=True)
class Training:
    """How a head came about.

    Attributes:
        l2: the strength of the head that was kept.
        training, validation: photos of each split.
        path: the strengths tried, in order.
        calibration: what the validation photos say of its probabilities.
    """

    l2: float
    training: int
    validation: int
    path: tuple[Trial, ...]
    calibration: Calibration = field(default_factory=Calibration)


def train(
    training: Pass,
    validation: Pass,
    settings: Settings = Settings(),  # noqa: B008, it is frozen
    progress: Progress = silent,
    snapshots: Snapshots = Snapshots(),  # noqa: B008
    summaries: Path | None = None,
) -> tuple[Head, Training]:
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
    with Summaries(summaries) as written:
        outcome = optimise(photos, others, settings, progress, snapshots, written)
    logits = softmax.logits(others, outcome.measured)
    calibrated = calibration.calibrate(logits, others.classes, settings.calibrate)
    solution = outcome.final
    if calibrated.folded_in and calibrated.temperature:
        solution = solution / np.float32(calibrated.temperature)
    return _unscaled(photos, solution), Training(
        outcome.l2, len(photos), len(others), outcome.trials, calibrated
    )


def write(head: Head, training: Training, directory: Path) -> None:
    """Write a head as `head.npz`, and as JSON how it came about (`training.json`) and how far its
    probabilities can be trusted (`calibration.json`).
    """
    with storage.publish(directory) as temporary:
        temporary.mkdir()
        np.savez(
            temporary / "head.npz",
            labels=np.array(head.labels),
            weights=head.weights,
            bias=head.bias,
        )
        facts = asdict(training)
        del facts["calibration"]
        (temporary / "training.json").write_text(json.dumps(facts, indent=2) + "\n")
        calibration.write(training.calibration, temporary)


def read(directory: Path) -> Head:
    """Read what `write` wrote.

    Raises:
        UserError: where it is damaged.
    """
    path = directory / "head.npz"
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            labels = tuple(str(label) for label in arrays["labels"])
            return Head(labels, arrays["weights"], arrays["bias"])
    except (BadZipFile, ValueError, LookupError, EOFError) as error:
        raise UserError(f"{path} is damaged ({error}); delete {directory}, and run again") from None


def remarks(training: Training) -> Iterator[str]:
    """What a user should know of a training: one line each."""
    yield f"Head: trained on {training.training:,} photos with L2 strength {training.l2:g}"
    yield from calibration.remarks(training.calibration)


def warnings(training: Training) -> Iterator[str]:
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
