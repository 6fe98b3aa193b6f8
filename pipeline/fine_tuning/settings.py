"""Settings of fine-tuning, validated."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.errors import UserError
from pipeline.pixels.augmentation import Augmentation

# Unless the user sets distortions. A crop of seven eighths of the photo and mirroring suit most
# photographs; copies are made anew for each epoch, so their number does not matter.
DISTORTIONS = Augmentation(augmentations=1, flip_left_right=True, random_crop=15)
_COUNT = {"augmentations"}
_FEW = 80  # validation photos, which prove a gain of 3 points in about half of all cases


@dataclass(frozen=True)
class Settings:
    """Everything but the module and the photos that determines a fine-tuned module.

    Attributes:
        fine_tune_epochs: maximum number of passes over the training photos.
        fine_tune_learning_rate: the highest learning rate of the schedule.
        fine_tune_batch_size: photos per step.
        fine_tune_percentage: percentage of the module's variables that are trained, counted from
            its output.
        fine_tune_label_smoothing: share of each target that is spread evenly over all classes.
        fine_tune_minutes: time that the epochs must fit into; 0: any.
        fine_tune_seed: seed of the order of the photos.
    """

    fine_tune_epochs: int
    fine_tune_learning_rate: float = 3e-4
    fine_tune_batch_size: int = 32
    fine_tune_percentage: float = 100
    fine_tune_label_smoothing: float = 0.1
    fine_tune_minutes: float = 0
    fine_tune_seed: int = 0

    def __post_init__(self) -> None:
        rate, minutes = self.fine_tune_learning_rate, self.fine_tune_minutes
        checks = {
            "fine_tune_epochs": (self.fine_tune_epochs >= 0, "at least 0"),
            # AdamW changes each variable by about the rate per step, whatever its gradient is.
            "fine_tune_learning_rate": (0 < rate <= 1, "above 0, up to 1; 0.0003 is usual"),
            "fine_tune_batch_size": (self.fine_tune_batch_size >= 1, "at least 1"),
            "fine_tune_percentage": (0 < self.fine_tune_percentage <= 100, "above 0, up to 100"),
            "fine_tune_label_smoothing": (
                0 <= self.fine_tune_label_smoothing < 1,
                "at least 0 and below 1",
            ),
            "fine_tune_minutes": (0 <= minutes < math.inf, "0, for any time, or positive"),
            "fine_tune_seed": (self.fine_tune_seed >= 0, "at least 0"),
        }
        for name, (valid, allowed) in checks.items():
            if not valid:
                raise UserError(f"{name} is {getattr(self, name):g}; it must be {allowed}")


def advice_lines(settings: Settings, photos: int, validation: int) -> Iterator[str]:
    """Yield what a user should know about settings that do not suit the number of photos.

    Args:
        settings: the settings.
        photos, validation: number of training and validation photos.
    """
    if validation < _FEW:
        yield (
            f"there are only {validation:,} validation photos, which can prove nothing but a large "
            "gain of fine-tuning; add photos, or raise validation_percentage"
        )
    if settings.fine_tune_batch_size > photos:
        yield (
            f"fine_tune_batch_size is {settings.fine_tune_batch_size}, and there are {photos:,} "
            "training photos: each epoch is a single step on all of them; to train in more steps, "
            f"set it to {max(1, photos // 4):,}"
        )


def distortions(options: dict[str, Any]) -> Augmentation:
    """Return the distortions that the values of the augmentation options name, or the default."""
    one = options | {"augmentations": 1}
    return Augmentation(**one) if any(one[name] for name in one.keys() - _COUNT) else DISTORTIONS
