"""Search for the best head."""

from collections.abc import Callable
from itertools import product
from typing import Any

import luigi

from pipeline.bottlenecks import extraction
from pipeline.errors import UserError
from pipeline.files import naming
from pipeline.head import search
from pipeline.head.search import Candidate
from pipeline.modules import speed
from tasks.command_options import SearchOptions
from tasks.compute_bottlenecks import ComputeBottlenecks
from tasks.fine_tuning_options import NO_DISTORTIONS
from tasks.messages import logger
from tasks.options import WEIGHTINGS
from tasks.step import Pending, Result, Step, fetch, local_path
from tasks.train_head import TrainHead

# The options that a search compares, with the functions that convert their values.
_KINDS: dict[str, Callable[[str], object]] = {
    "tfhub_module": str,
    "image_size": int,
    "augmentations": int,
    "class_weighting": lambda value: WEIGHTINGS[WEIGHTINGS.index(value)],
    "label_smoothing": float,
    "l2": float,
}


class SearchHead(SearchOptions, Step):
    """Train a head for each combination of some options, and rank them on validation."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heads = {self._head(options): options for options in self._options()}

    def requires(self) -> list[luigi.Task]:
        return list(self.heads)

    def output(self) -> luigi.Target:
        targets = [head.output() for head in self.heads]
        if any(isinstance(target, Pending) for target in targets):
            return Pending()
        key = naming.digest([local_path(target).name for target in targets], search.FORMAT_VERSION)
        return Result(self.output_dir, "searches", f"{key}.csv")

    def work(self) -> None:
        seconds = self._seconds_per_photo()
        candidates = [
            Candidate(options, fetch(head.output()), seconds.get(head, 0.0))
            for head, options in self.heads.items()
        ]
        table = search.rank(candidates)
        search.write(table, local_path(self.output()))
        for line in search.summary_lines(table):
            logger.info(line)
        (best, *_) = (c.options for c in candidates if str(c.directory) == table["head"][0])
        texts = self.to_str_params()
        command = search.command(texts["image_dir"], texts["output_dir"], best)
        logger.info("Export the best head with %s", command)
        logger.info("Ranking of the heads: %s", local_path(self.output()))

    def _seconds_per_photo(self) -> dict[TrainHead, float]:
        """Measure how long the module of each head takes per photo, if there are several."""
        recipes = {head: head.clone(ComputeBottlenecks).ready(self.reporter) for head in self.heads}
        modules = list(dict.fromkeys(recipe.module for recipe in recipes.values()))
        if len(modules) < 2:
            return {}
        (precision,) = {recipe.precision for recipe in recipes.values()}
        measured = speed.seconds_per_photo(modules, precision, extraction.BATCH)
        seconds = dict(zip(modules, measured, strict=True))
        return {head: seconds[recipe.module] for head, recipe in recipes.items()}

    def _head(self, options: dict[str, object]) -> TrainHead:
        # Without augmented copies and fine-tuning, the options of [augmentation] have no effect.
        distorts = options["augmentations"] or self.fine_tune_epochs
        without = {} if distorts else NO_DISTORTIONS
        head: TrainHead = self.clone(TrainHead, **options, **without)
        return head

    def _options(self) -> list[dict[str, object]]:
        """Return the options of each head."""
        lists = {name: self._values(name, kind) for name, kind in _KINDS.items()}
        return [dict(zip(lists, values, strict=True)) for values in product(*lists.values())]

    def _values(self, name: str, kind: Callable[[str], object]) -> list[object]:
        """Return the values of an option to compare; without a list, that of the option."""
        text = getattr(self, f"try_{name}") or str(getattr(self, name))
        try:
            values = [kind(value.strip()) for value in text.split(",") if value.strip()]
        except ValueError:
            values = []
        if not values:
            raise UserError(f"try_{name} is {text!r}; it must list values of {name}")
        return values
