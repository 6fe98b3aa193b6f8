"""The options of augmentation and fine-tuning, for `options`."""

from dataclasses import fields
from typing import Any

from pipeline.fine_tuning import settings as fine_tuning
from pipeline.fine_tuning.settings import Settings
from pipeline.head import tensorboard
from pipeline.pixels.augmentation import Augmentation
from tasks.configuration import option


def values_for(options: object, kind: type) -> dict[str, Any]:
    """Return the values of the options that are named like the fields of a data class."""
    return {field.name: getattr(options, field.name) for field in fields(kind)}


# What the distortions must be without anything that they apply to.
NO_DISTORTIONS = {f.name: f.default for f in fields(Augmentation) if f.name != "augmentations"}


class AugmentationOptions:
    """Section [augmentation]: augmented copies of the training photos."""

    augmentations = option(
        "augmentation.augmentations",
        0,
        "augmented copies of each training photo, computed once and kept",
    )
    flip_left_right = option("augmentation.flip_left_right", False, "mirror half of the copies")
    random_crop = option("augmentation.random_crop", 0, "percentage to crop at random sides")
    random_scale = option("augmentation.random_scale", 0, "maximum enlargement, in percent")
    random_brightness = option(
        "augmentation.random_brightness", 0, "maximum change of brightness, in percent"
    )
    random_rotation = option(
        "augmentation.random_rotation", 0, "maximum rotation to either side, in degrees"
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.augmentation = self._copies()

    def _copies(self) -> Augmentation:
        return Augmentation(**values_for(self, Augmentation))


class SummaryOptions:
    """Section [head]: TensorBoard summaries, which fine-tuning writes as well."""

    summaries_dir = option(
        "head.summaries_dir",
        "",
        "folder for TensorBoard summaries, in a new folder per training; empty: none",
        significant=False,
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.summaries_dir:
            tensorboard.require()


class FineTuningOptions(SummaryOptions, AugmentationOptions):
    """Section [fine_tuning]: training the module itself."""

    fine_tune_epochs = option(
        "fine_tuning.fine_tune_epochs",
        0,
        "maximum number of passes over the training photos in which the module itself is trained; "
        "0: the module stays as it is",
    )
    fine_tune_learning_rate = option(
        "fine_tuning.fine_tune_learning_rate", 3e-4, "highest learning rate of the schedule"
    )
    fine_tune_batch_size = option("fine_tuning.fine_tune_batch_size", 32, "photos per step")
    fine_tune_percentage = option(
        "fine_tuning.fine_tune_percentage",
        100.0,
        "percentage of the module's variables that are trained, counted from its output",
    )
    fine_tune_label_smoothing = option(
        "fine_tuning.fine_tune_label_smoothing",
        0.1,
        "share of each target, below 1, that is spread evenly over all classes",
    )
    fine_tune_minutes = option(
        "fine_tuning.fine_tune_minutes",
        0.0,
        "time that the epochs must fit into, in minutes; fewer are planned if need be; 0: any",
    )
    fine_tune_seed = option("fine_tuning.fine_tune_seed", 0, "seed of the order of the photos")
    fine_tune_cache_gb = option(
        "fine_tuning.fine_tune_cache_gb",
        4.0,
        "GB of decoded photos that are kept during fine-tuning; others are decoded in each epoch",
        least=0,
        significant=False,
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tuning = Settings(**values_for(self, Settings))
        self.distortions = fine_tuning.distortions(values_for(self, Augmentation))

    def _copies(self) -> Augmentation:
        """Return the augmented copies; without any, distortions are for fine-tuning alone."""
        tuning_only = self.fine_tune_epochs and not self.augmentations
        return Augmentation() if tuning_only else super()._copies()
