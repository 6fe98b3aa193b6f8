"""How a head is trained: the settings that change it, checked."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import UserError
from pipeline.head.dataset import Examples

LBFGS, SGD = "lbfgs", "sgd"
BALANCED, NONE = "balanced", "none"


@dataclass(frozen=True)
class Sgd:
    """How stochastic gradient descent goes, under retrain.py's names.

    Attributes:
        how_many_training_steps: at most; it stops when validation has long not improved.
        learning_rate: of each step, on standardised features.
        train_batch_size: photos a step.
        eval_step_interval: steps from one evaluation to the next.
        validation_batch_size: validation photos that an evaluation looks at; -1: all of them.
        random_seed: of what is drawn.
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
        good = 0 < self.learning_rate < math.inf
        _check("learning_rate", self.learning_rate, good, "a positive number")
        size = self.validation_batch_size
        _check("validation_batch_size", size, size >= 1 or size == -1, "at least 1, or -1 for all")
        _check("random_seed", self.random_seed, self.random_seed >= 0, "at least 0")


@dataclass(frozen=True)
class Settings:
    """All that makes a head, besides the photos.

    Attributes:
        l2: strength; 0 chooses it on the validation photos, or leaves it out with SGD.
        class_weighting: balanced gives each class the same weight in the loss, none each photo.
        class_weights: (label, factor): how many times as much a class counts then.
        label_smoothing: share of each target that is spread over all classes.
        calibrate: whether the fitted temperature is folded into the head.
        sgd: stochastic gradient descent in place of L-BFGS.
    """

    l2: float = 0
    class_weighting: str = BALANCED
    class_weights: tuple[tuple[str, float], ...] = ()
    label_smoothing: float = 0
    calibrate: bool = False
    sgd: Sgd | None = None

    def __post_init__(self) -> None:
        good = 0 <= self.l2 < math.inf
        _check("l2", self.l2, good, "0, which chooses it, or a positive number")
        good = 0 <= self.label_smoothing < 1
        _check("label_smoothing", self.label_smoothing, good, "at least 0 and below 1")

    def refuse_unknown(self, labels: Sequence[str]) -> None:
        """See that `class_weights` names only classes that are there.

        Raises:
            UserError: where there is no such class.
        """
        for label, _ in self.class_weights:
            if label not in labels:
                raise UserError(
                    f"class_weights names {label!r}, which is no class with training photos; "
                    "write it as its folder is called"
                )

    def photo_weights(self, examples: Examples) -> np.ndarray:
        """What each photo counts in the loss, float32 [n], in sum 1.

        Raises:
            UserError: where `class_weights` names a class that has no photos here.
        """
        labels = examples.labels
        counts = np.bincount(examples.classes, minlength=len(labels))
        balanced = self.class_weighting == BALANCED
        of_class = 1 / counts if balanced else np.ones(len(labels))
        self.refuse_unknown(labels)
        for label, factor in self.class_weights:
            of_class[labels.index(label)] *= factor
        weights = of_class[examples.classes]
        shares: np.ndarray = (weights / weights.sum()).astype(np.float32)
        return shares


def parse_class_weights(text: str) -> tuple[tuple[str, float], ...]:
    """Read the option `class_weights`: JSON such as {"rose": 2}, or nothing.

    Raises:
        UserError: where it is no such table of positive numbers.
    """
    try:
        table = json.loads(text or "{}")
        pairs = tuple(sorted((str(label), float(weight)) for label, weight in table.items()))
    except (ValueError, TypeError, AttributeError, RecursionError):
        pairs = (("", 0.0),)
    if not all(0 < weight < math.inf for _, weight in pairs):
        raise UserError(
            f'class_weights is {text}; it must be labels with positive numbers, as {{"rose": 2}}'
        )
    return pairs


def _check(name: str, value: float, good: bool, wanted: str) -> None:
    if not good:
        raise UserError(f"{name} is {value:g}; it must be {wanted}")
