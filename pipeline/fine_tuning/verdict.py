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
        frozen_cross_entropy, tuned_cross_entropy: each at its best temperature, in nats.
        p_value: probability of such a difference in cross-entropy if both were equally good.
        photos: number of validation photos.
    """

    better: bool
    frozen_accuracy: float
    tuned_accuracy: float
    frozen_cross_entropy: float
    tuned_cross_entropy: float
    p_value: float
    photos: int

    @property
    def summary(self) -> str:
        """What the user should know, on one line."""
        percents = f"{self.frozen_accuracy:.1%} before, {self.tuned_accuracy:.1%} after"
        photos = f"{self.photos:,} photos (p = {self.p_value:.2g})"
        measured = f"validation accuracy {percents}, {photos}"
        if self.better:
            return f"Fine-tuning has improved the module: {measured}"
        return f"Fine-tuning is not clearly better, so the module stays as it was: {measured}"


def compare(frozen: np.ndarray, tuned: np.ndarray, classes: np.ndarray) -> Verdict:
    """Compare the logits of two models for the same photos.

    The tuned one is better if its accuracy is higher, and its cross-entropy is lower in a paired
    permutation test. Accuracy alone would need hundreds of photos to show the same difference; the
    temperature removes differences in confidence, such as those due to label smoothing. Where the
    accuracy is the same, the difference is not worth new vectors, however certain it is.

    Args:
        frozen, tuned: float32 [n, classes].
        classes: int64 [n], the true classes.
    """
    before, after = _losses(frozen, classes), _losses(tuned, classes)
    frozen_accuracy, tuned_accuracy = (
        float((logits.argmax(1) == classes).mean()) for logits in (frozen, tuned)
    )
    p_value = _p_value(before - after)
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
    return float(_losses(logits, classes).mean())


def _losses(logits: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the cross-entropy of each photo at the best temperature, in nats."""
    temperature, _ = calibration.fit_temperature(logits, classes)
    losses: np.ndarray = -softmax.log_softmax(logits / np.float32(temperature))[
        np.arange(len(classes)), classes
    ]
    return losses


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
