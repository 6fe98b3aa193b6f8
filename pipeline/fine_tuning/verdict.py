"""The verdict: whether a fine-tuned module is better than the frozen one beyond noise."""

from dataclasses import dataclass

import numpy as np

from pipeline.head import calibration, softmax

LEVEL = 0.05  # a difference this likely by chance is noise
_RESAMPLES = 9_999


@dataclass(frozen=True)
class Verdict:
    """A comparison on the validation photos.

    Attributes:
        better: whether the fine-tuned module is the result.
        frozen_accuracy, tuned_accuracy: from 0 to 1.
        frozen_probability, tuned_probability: mean probability of the true class, from 0 to 1.
        p_value: probability of such a difference in it if both were equally good.
        photos: number of validation photos.
    """

    better: bool
    frozen_accuracy: float
    tuned_accuracy: float
    frozen_probability: float
    tuned_probability: float
    p_value: float
    photos: int

    @property
    def summary(self) -> str:
        """What the user should know, on one line."""
        measured = (
            f"accuracy {self.frozen_accuracy:.1%} before, {self.tuned_accuracy:.1%} after; "
            f"probability of the true class {self.frozen_probability:.1%} before, "
            f"{self.tuned_probability:.1%} after (p = {self.p_value:.2g}), "
            f"on {self.photos:,} validation photos"
        )
        if self.better:
            return f"Fine-tuning has improved the module: {measured}"
        worse = (
            self.tuned_accuracy < self.frozen_accuracy
            and self.tuned_probability < self.frozen_probability
        )
        result = "made the module worse" if worse else "not clearly improved the module"
        return f"Fine-tuning has {result}, so it stays as it was: {measured}"


def compare(frozen: np.ndarray, tuned: np.ndarray, classes: np.ndarray) -> Verdict:
    """Compare the logits of two models for the same photos.

    The tuned one is better if its accuracy is higher, and the probability that it gives to the true
    class is higher in a paired permutation test, each at its best temperature. For calibrated
    models, the mean of this probability is one minus the Brier score, but it varies far less from
    photo to photo than that score, the accuracy or the cross-entropy (decision 31). Where the
    accuracy is the same, the difference is not worth new vectors, however certain it is.

    Args:
        frozen, tuned: float32 [n, classes].
        classes: int64 [n], the true classes.
    """
    before, after = (np.exp(_log_probabilities(logits, classes)) for logits in (frozen, tuned))
    frozen_accuracy, tuned_accuracy = (
        float((logits.argmax(1) == classes).mean()) for logits in (frozen, tuned)
    )
    p_value = _p_value(after - before)
    return Verdict(
        tuned_accuracy > frozen_accuracy and p_value < LEVEL,
        frozen_accuracy,
        tuned_accuracy,
        float(before.mean()),
        float(after.mean()),
        p_value,
        len(classes),
    )


def calibrated_cross_entropy(logits: np.ndarray, classes: np.ndarray) -> float:
    """Return the cross-entropy at the best temperature, by which epochs are compared."""
    return -float(_log_probabilities(logits, classes).mean())


def _log_probabilities(logits: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the logarithm of the true class's probability, at the best temperature."""
    temperature, _ = calibration.fit_temperature(logits, classes)
    found: np.ndarray = softmax.log_softmax(logits / np.float32(temperature))[
        np.arange(len(classes)), classes
    ]
    return found


def _p_value(gains: np.ndarray) -> float:
    """Return the one-sided p-value of the hypothesis that the gains have a random sign."""
    from scipy.stats import permutation_test

    result = permutation_test(
        (gains, np.zeros_like(gains)),
        lambda a, b, axis: (a - b).mean(axis),
        permutation_type="samples",
        alternative="greater",
        n_resamples=_RESAMPLES,
        rng=np.random.default_rng(0),
        vectorized=True,
        batch=100,
    )
    return float(result.pvalue)
