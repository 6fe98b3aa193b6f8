"""Search for the best head."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import luigi

from pipeline.bottlenecks import extraction
from pipeline.errors import UserError
from pipeline.evaluation import search
from pipeline.evaluation.search import Candidate
from pipeline.files import naming
from pipeline.head import calibration
from pipeline.modules import preparation, speed
from tasks.command_options import SearchOptions
from tasks.compute_bottlenecks import ComputeBottlenecks
from tasks.fine_tuning_options import NO_DISTORTIONS
from tasks.messages import logger
from tasks.options import WEIGHTINGS, given
from tasks.prepare_module import PrepareModule
from tasks.split_dataset import SplitDataset
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
    """Train a head for each combination of some options, and rank them on validation.

    A module that cannot be prepared, alone or with one of the input sizes, is left out of the
    ranking. The search then counts as complete only in this run: the next one tries it again.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.all_heads = {self._head(options): options for options in self._options()}
        self.left_out: dict[PrepareModule, str] = {}  # with the reason
        self._ranked = False

    @property
    def heads(self) -> dict[TrainHead, dict[str, object]]:
        """The heads whose module can run, with their options."""
        heads = self.all_heads
        return {h: heads[h] for h in heads if h.clone(PrepareModule) not in self.left_out}

    def requires(self) -> list[luigi.Task]:
        return [self.clone(SplitDataset)]

    def run(self) -> Iterator[list[TrainHead]]:  # type: ignore[override]
        """Prepare the modules, require the heads of those that can run, and rank these heads."""
        for handle in self._values("tfhub_module", str):
            preparation.refuse_mistyped(str(handle))
            preparation.fingerprint(str(handle))  # raises an error if there is nothing
        # If PrepareModule were required, one that fails would keep Luigi from running this step.
        for module in dict.fromkeys(head.clone(PrepareModule) for head in self.all_heads):
            if module not in self.left_out:
                try:
                    module.run()
                except UserError as error:
                    self.left_out[module] = str(error)
        if not self.heads:
            raise UserError("; ".join(dict.fromkeys(self.left_out.values())))
        yield list(self.heads)
        super().run()

    def output(self) -> luigi.Target:
        targets = [head.output() for head in self.heads]
        if any(isinstance(target, Pending) for target in targets):
            return Pending()
        key = naming.digest([local_path(target).name for target in targets], search.FORMAT_VERSION)
        return Result(self.output_dir, "searches", f"{key}.csv")

    def complete(self) -> bool:
        return (self._ranked or not self.left_out) and self.output().exists()

    def work(self) -> None:
        candidates = self._candidates()
        table = search.rank(list(candidates.values()))
        search.write(table, local_path(self.output()))
        self._ranked = True
        for line in search.summary_lines(table):
            logger.info(line)
        best = candidates[table["head"][0]]
        for line in calibration.summary_lines(calibration.read(best.directory)):
            logger.info(line)
        logger.info("Export the best head with %s", best.command)
        if found := search.faster(table):
            head, sentence = found
            logger.info("%s. Export its head with %s", sentence, candidates[head].command)
        for module, reason in self.left_out.items():
            size = f" with image_size {module.image_size}" if module.image_size else ""
            logger.warning("Left out: %s%s: %s", module.tfhub_module, size, reason)
        logger.info("Ranking of the heads: %s", local_path(self.output()))

    def _candidates(self) -> dict[str, Candidate]:
        """Return the heads by folder; two are the same if one sets the size that 0 stands for."""
        recipes = {head: head.clone(ComputeBottlenecks).ready(self.reporter) for head in self.heads}
        modules = list(dict.fromkeys(recipe.module for recipe in recipes.values()))
        seconds = dict.fromkeys(modules, 0.0)
        if len(modules) > 1:
            (precision,) = {recipe.precision for recipe in recipes.values()}
            measured = speed.seconds_per_photo(modules, precision, extraction.BATCH)
            seconds = dict(zip(modules, measured, strict=True))
        texts, candidates = self.to_str_params(), dict[str, Candidate]()
        folders = texts["image_dir"], texts["output_dir"]
        for head, options in self.heads.items():
            module, directory = recipes[head].module, fetch(head.output())
            size = f"{module.height} x {module.width}"
            command = search.command(*folders, given(head) | options)
            candidate = Candidate(options, directory, size, command, seconds[module])
            candidates.setdefault(str(directory), candidate)
        return candidates

    def _head(self, options: dict[str, object]) -> TrainHead:
        # Without augmented copies and fine-tuning, the options of [augmentation] have no effect.
        distorts = options["augmentations"] or self.fine_tune_epochs
        without = {} if distorts else NO_DISTORTIONS
        head: TrainHead = self.clone(TrainHead, **options, **without, in_search=True)
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
