"""Trials on the way to a head: what was tried, and how it did on both splits."""

from dataclasses import dataclass

import numpy as np

from pipeline.head import calibration, softmax
from pipeline.head.dataset import Examples
from pipeline.head.tensorboard import TRAINING, VALIDATION, TensorBoardWriter


@dataclass(frozen=True)
class Trial:
    """How one solution did: cross-entropy in nats, accuracy from 0 to 1.

    Attributes:
        l2: strength that it was trained with.
        iterations: of L-BFGS, or steps of SGD, that it took.
        calibrated_cross_entropy: on validation, at the temperature that fits best.

    Figures of validation are None where it has no photo.
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
        """A trial with these figures on training, and those of the solution on validation."""
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

    def badness(self) -> float:
        """The best has the lowest calibrated cross-entropy.

        Accuracy jumps from photo to photo and ties; cross-entropy itself asks how sure a head is
        as well, which the temperature puts right.
        """
        return self.calibrated_cross_entropy or 0

    def tell(self, summaries: TensorBoardWriter, number: int, solution: np.ndarray) -> None:
        """Write it and its solution as a point of TensorBoard's curves."""
        summaries.figures(
            TRAINING,
            number,
            cross_entropy=self.training_cross_entropy,
            accuracy=self.training_accuracy,
            l2=self.l2,
        )
        summaries.figures(
            VALIDATION,
            number,
            cross_entropy=self.validation_cross_entropy,
            accuracy=self.validation_accuracy,
        )
        summaries.weights(number, solution)


@dataclass(frozen=True)
class OptimizationResult:
    """What an optimiser came to.

    Attributes:
        measured: the best solution that has seen the training photos alone: what is said of the
            validation photos is true of this one.
        final: the solution to export, which may have seen the validation photos as well.
        trials: what was tried, in order.
        l2: strength that was kept.
    """

    measured: np.ndarray
    final: np.ndarray
    trials: tuple[Trial, ...]
    l2: float
