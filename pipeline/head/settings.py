"""Settings of the head, validated."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import UserError, lost_quotes
from pipeline.head.dataset import Examples
from pipeline.photos.file_names import composed

LBFGS, SGD = "lbfgs", "sgd"
BALANCED, NONE = "balanced", "none"


@dataclass(frozen=True)
class Sgd:
    """Settings of stochastic gradient descent, under retrain.py's names.

    Attributes:
        how_many_training_steps: maximum; training stops early when validation stops improving.
        learning_rate: learning rate for standardized features.
        train_batch_size: photos per step.
        eval_step_interval: steps between evaluations.
        validation_batch_size: validation photos per evaluation; -1: all of them.
        random_seed: seed of the random batches.
    """

    how_many_training_steps: int = 4000
    learning_rate: float = 0.01
    train_batch_size: int = 100
    eval_step_interval: int = 10
    validation_batch_size: int = 100
    random_seed: int = 0

    def __post_init__(self) -> None:
        for name in ("how_many_training_steps", "train_batch_size", "eval_step_interval"):
            _check(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        valid = 0 < self.learning_rate < math.inf
        _check("learning_rate", self.learning_rate, valid, "a positive number")
        size = self.validation_batch_size
        _check("validation_batch_size", size, size >= 1 or size == -1, "at least 1, or -1 for all")
        _check("random_seed", self.random_seed, self.random_seed >= 0, "at least 0")


@dataclass(frozen=True)
class Settings:
    """Everything but the photos that determines a head.

    Attributes:
        l2: L2 strength; 0 chooses it on the validation photos, or means none with SGD.
        class_weighting: `balanced` gives all classes the same weight in the loss, `none` gives all
            photos the same weight.
        class_weights: pairs of label and factor, by which the weight of a class is multiplied.
        label_smoothing: share of each target that is spread evenly over all classes.
        calibrate: whether the fitted temperature is folded into the head.
        sgd: stochastic gradient descent instead of L-BFGS.
    """

    l2: float = 0
    class_weighting: str = BALANCED
    class_weights: tuple[tuple[str, float], ...] = ()
    label_smoothing: float = 0
    calibrate: bool = False
    sgd: Sgd | None = None

    def __post_init__(self) -> None:
        valid = 0 <= self.l2 < math.inf
        _check("l2", self.l2, valid, "0, to choose it automatically, or a positive number")
        valid = 0 <= self.label_smoothing < 1
        _check("label_smoothing", self.label_smoothing, valid, "at least 0 and below 1")

    def refuse_unknown(self, labels: Sequence[str]) -> None:
        """Check that `class_weights` names only existing classes.

        Raises:
            UserError: if there is no such class.
        """
        for label, _ in self.class_weights:
            if label not in labels:
                raise UserError(
                    f"class_weights names {label!r}, which is not a class with training photos; "
                    "use the folder name"
                )

    def photo_weights(self, examples: Examples) -> np.ndarray:
        """Return the weight of each photo in the loss, float32 [n], with the sum 1.

        Raises:
            UserError: if `class_weights` names a class without photos.
        """
        labels = examples.labels
        counts = np.bincount(examples.classes, minlength=len(labels))
        balanced = self.class_weighting == BALANCED
        class_weights = 1 / counts if balanced else np.ones(len(labels))
        self.refuse_unknown(labels)
        for label, factor in self.class_weights:
            class_weights[labels.index(label)] *= factor
        weights = class_weights[examples.classes]
        shares: np.ndarray = (weights / weights.sum()).astype(np.float32)
        return shares


def parse_class_weights(text: str) -> tuple[tuple[str, float], ...]:
    """Parse the option `class_weights`: JSON such as {"rose": 2}, or an empty string.

    Raises:
        UserError: if it is not a table of positive numbers.
    """
    try:
        table = json.loads(text or "{}")
        pairs = tuple(
            sorted((composed(str(label)), float(weight)) for label, weight in table.items())
        )
    except (ValueError, TypeError, AttributeError, RecursionError):
        pairs = (("", 0.0),)
    if not all(0 < weight < math.inf for _, weight in pairs):
        raise UserError(
            f'class_weights is {text}; it must map labels to positive numbers, as in {{"rose": 2}}'
            + lost_quotes(text)
        )
    return pairs


def _check(name: str, value: float, valid: bool, allowed: str) -> None:
    if not valid:
        raise UserError(f"{name} is {value:g}; it must be {allowed}")
