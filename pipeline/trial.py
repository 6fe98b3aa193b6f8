"""Trials on the way to a head: what was tried, and how it did on both splits."""

from dataclasses import dataclass

import numpy as np

from pipeline import softmax
from pipeline.summaries import TRAINING, VALIDATION, Summaries


@dataclass(frozen=True)
class Trial:
    """How one solution did: cross-entropy in nats, accuracy from 0 to 1.

    Attributes:
        l2: strength that it was trained with.
        iterations: of L-BFGS, or steps of SGD, that it took.

    The figures are None where the split has no photo.
    """

    l2: float
    iterations: int
    training_cross_entropy: float | None
    training_accuracy: float | None
    validation_cross_entropy: float | None
    validation_accuracy: float | None

    @classmethod
    def of(
        cls,
        l2: float,
        iterations: int,
        training: softmax.Figures | None,
        validation: softmax.Figures | None,
    ) -> "Trial":
        """A trial with these figures of the two splits."""
        numbers: list[float | None] = []
        for figures in (training, validation):
            numbers += [figures.cross_entropy, figures.accuracy] if figures else [None, None]
        return cls(l2, iterations, *numbers)

    def badness(self) -> tuple[float, float]:
        """Best is the highest accuracy on validation and, among equals, the lowest cross-entropy.

        Cross-entropy alone would favour weak strengths, whose heads are merely surer.
        """
        return -(self.validation_accuracy or 0), self.validation_cross_entropy or 0

    def tell(self, summaries: Summaries, number: int, solution: np.ndarray) -> None:
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
class Outcome:
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
