"""The trained head: its arrays, and the files that hold it."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from pipeline.errors import UserError
from pipeline.files import atomic
from pipeline.head import calibration, familiarity, softmax
from pipeline.head.calibration import Calibration
from pipeline.head.familiarity import Familiarity
from pipeline.head.trial import Trial

FILE = "head.npz"
FORMAT_VERSION = 6  # raise it when training changes, so that heads are trained again


@dataclass(frozen=True)
class Head:
    """A trained softmax layer: probabilities = softmax(features @ weights + bias).

    Attributes:
        labels: the classes, in the order of the outputs.
        weights: float32 [features, classes].
        bias: float32 [classes].
        familiarity: the score of how well a photo fits the training photos; None for a head of an
            earlier version.
    """

    labels: tuple[str, ...]
    weights: np.ndarray
    bias: np.ndarray
    familiarity: Familiarity | None = None

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return logits, float32 [n, classes], for features, float32 [n, features]."""
        logits: np.ndarray = features @ self.weights + self.bias
        return logits

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Return probabilities, float32 [n, classes], for features, float32 [n, features]."""
        probabilities: np.ndarray = np.exp(softmax.log_softmax(self.logits(features)))
        return probabilities


@dataclass(frozen=True)
class TrainingRecord:
    """The result of a training, apart from the head itself.

    Attributes:
        l2: L2 strength of the head.
        training, validation: number of photos of each split.
        path: the L2 strengths tried, in order.
        calibration: calibration of its probabilities on the validation photos.
    """

    l2: float
    training: int
    validation: int
    path: tuple[Trial, ...]
    calibration: Calibration = field(default_factory=Calibration)


def write(head: Head, record: TrainingRecord, directory: Path) -> None:
    """Write `head.npz`, `familiarity.npz`, `training.json` (the record) and `calibration.json`."""
    with atomic.write(directory) as temporary:
        temporary.mkdir()
        write_layer(head, temporary)
        facts = asdict(record)
        del facts["calibration"]
        (temporary / "training.json").write_text(json.dumps(facts, indent=2) + "\n")
        calibration.write(record.calibration, temporary)
        if head.familiarity:
            familiarity.write(head.familiarity, temporary)


def write_layer(head: Head, directory: Path) -> None:
    """Write `head.npz`, which is all that `read` needs."""
    labels = np.array(head.labels)
    np.savez(directory / FILE, labels=labels, weights=head.weights, bias=head.bias)


def read(directory: Path) -> Head:
    """Read a head.

    Raises:
        UserError: if the file is damaged.
    """
    path = directory / FILE
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            labels = tuple(str(label) for label in arrays["labels"])
            return Head(labels, arrays["weights"], arrays["bias"], familiarity.read(directory))
    except (BadZipFile, ValueError, LookupError, EOFError) as error:
        raise UserError(f"{path} is damaged ({error}); delete {directory}, and run again") from None
