"""Unused options: those that a command sets, although its other options leave them no effect."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import luigi

from pipeline.fine_tuning import settings as fine_tuning
from pipeline.head.settings import SGD, Sgd
from tasks import configuration


@dataclass(frozen=True)
class Group:
    """Options that have no effect in the same situations.

    Attributes:
        names: names of the options.
        unless: when they have no effect, in words.
        used: whether an option has an effect, given the task and its name.
    """

    names: tuple[str, ...]
    unless: str
    used: Callable[[Any, str], bool]


_SGD = tuple(field.name for field in fields(Sgd))
_TUNING = tuple(f.name for f in fields(fine_tuning.Settings) if f.name != "fine_tune_epochs")
_SEARCHED = (
    *("tfhub_module", "image_size", "augmentations"),
    *("class_weighting", "label_smoothing", "l2"),
)
_GROUPS = (
    Group(_SGD, "without --optimizer sgd", lambda task, _: task.optimizer == SGD),
    Group(
        (*_TUNING, "fine_tune_cache_gb", "fine_tune_every"),
        "without --fine-tune-epochs",
        lambda task, _: task.fine_tune_epochs > 0,
    ),
    Group(("ray_actors",), "without --engine ray", lambda task, _: task.engine == "ray"),
    Group(
        ("testing_percentage",),
        "with a predefined split",
        lambda task, _: not (task.split_file or task.split_folders),
    ),
    Group(
        _SEARCHED,
        "in a search, which tries the values of try_... instead",
        lambda task, name: not getattr(task, f"try_{name}", ""),
    ),
)


def lines(task: luigi.Task) -> Iterator[str]:
    """Yield one line per group of options that are set in luigi.cfg or on the command line."""
    options = dict(task.get_params())
    for group in _GROUPS:
        unused = [
            name
            for name in group.names
            if name in options
            and getattr(task, name) != configuration.built_in(name)
            and not group.used(task, name)
        ]
        if unused:
            have = "has" if len(unused) == 1 else "have"
            yield f"{', '.join(unused)} {have} no effect {group.unless}"
