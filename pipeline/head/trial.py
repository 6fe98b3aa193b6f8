"""Trials: the candidates for a head, and their metrics on both splits."""

from dataclasses import dataclass

import numpy as np

from pipeline.head import calibration, softmax
from pipeline.head.dataset import Examples
from pipeline.head.tensorboard import TRAINING, VALIDATION, TensorBoardWriter


@dataclass(frozen=True)
class Trial:
    """The metrics of one solution: cross-entropy in nats, accuracy from 0 to 1.

    Attributes:
        l2: its L2 strength.
        iterations: iterations of L-BFGS, or steps of SGD.
        calibrated_cross_entropy: on validation, at the best temperature.

    Validation metrics are None if there are no validation photos.
    """

    l2: float
    iterations: int
    training_cross_entropy: float | None = None
    training_accuracy: float | None = None
    validation_cross_entropy: float | None = None
    validation_accuracy: float | None = None
    calibrated_cross_entropy: float | None = None

    @classmethod
    def of(
        cls,
        l2: float,
        iterations: int,
        solution: np.ndarray,
        training: softmax.Metrics | None,
        validation: Examples,
    ) -> "Trial":
        """Create a trial from metrics on training, and measure the solution on validation."""
        loss, accuracy = (training.cross_entropy, training.accuracy) if training else (None, None)
        if not len(validation):
            return cls(l2, iterations, loss, accuracy)
        logits = softmax.logits(validation, solution)
        unseen = softmax.metrics(logits, validation.classes)
        _, calibrated = calibration.fit_temperature(logits, validation.classes)
        return cls(
            l2,
            iterations,
            loss,
            accuracy,
            unseen.cross_entropy,
            unseen.accuracy,
            calibrated,
        )

    def objective(self) -> float:
        """Return the calibrated cross-entropy, by which trials are compared; lower is better.

        Accuracy is coarse and often ties. Plain cross-entropy also depends on how confident a head
        is, which the temperature corrects.
        """
        return self.calibrated_cross_entropy or 0

    def log(self, summaries: TensorBoardWriter, number: int, solution: np.ndarray) -> None:
        """Write the metrics and the solution to TensorBoard."""
        summaries.metrics(
            TRAINING,
            number,
            cross_entropy=self.training_cross_entropy,
            accuracy=self.training_accuracy,
            l2=self.l2,
        )
        summaries.metrics(
            VALIDATION,
            number,
            cross_entropy=self.validation_cross_entropy,
            accuracy=self.validation_accuracy,
        )
        summaries.weights(number, solution)


@dataclass(frozen=True)
class OptimizationResult:
    """The result of an optimizer.

    Attributes:
        measured: the best solution trained only on training photos, to which all metrics on
            validation photos refer.
        final: the solution to export, which may be trained on validation photos as well.
        trials: all trials, in order.
        l2: the chosen L2 strength.
    """

    measured: np.ndarray
    final: np.ndarray
    trials: tuple[Trial, ...]
    l2: float
