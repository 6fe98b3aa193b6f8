"""Train the softmax layer."""

import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import luigi

from pipeline.files import naming
from pipeline.fine_tuning import result
from pipeline.head import softmax_head, training
from pipeline.head.checkpoints import Checkpoints
from pipeline.head.softmax_head import Head
from pipeline.photos import split
from tasks.compute_bottlenecks import ComputeBottlenecks
from tasks.messages import logger
from tasks.options import HeadOptions
from tasks.split_dataset import SplitDataset
from tasks.step import Pending, Result, Step, local_path


class TrainHead(HeadOptions, Step):
    """Train a head on the bottlenecks of all classes, and keep the best on validation."""

    in_search = luigi.BoolParameter(
        default=False,
        significant=False,
        description="set only by SearchHead, which reports on the best head itself",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        named = self.settings.class_weights or self.settings.other_class
        if named and (labels := self.clone(SplitDataset).labels()):
            self.settings.refuse_unknown(labels)  # now rather than hours later

    def requires(self) -> list[luigi.Task]:
        bottlenecks: ComputeBottlenecks = self.clone(ComputeBottlenecks)
        return bottlenecks.per_class()

    def output(self) -> luigi.Target:
        summary = self.clone(SplitDataset).summary()
        recipe = self.clone(ComputeBottlenecks).recipe()
        if summary is None or recipe is None:
            return Pending()
        vectors = (recipe.key, asdict(recipe.augmentation))
        made_of = (summary.digest, vectors, asdict(self.settings), softmax_head.FORMAT_VERSION)
        return Result(self.output_dir, "heads", naming.digest(*made_of))

    def work(self) -> None:
        bottlenecks, target = self.clone(ComputeBottlenecks), local_path(self.output())
        unfinished = target.with_name(f".{target.name}.unfinished.npz")
        checkpoints = Checkpoints(unfinished, self.intermediate_store_frequency)
        head, record = training.train(
            partial(bottlenecks.read_split(split.TRAINING).labelled, copies=True),
            bottlenecks.read_split(split.VALIDATION).labelled,
            self.settings,
            self.reporter,
            checkpoints,
            self._summaries(target.name),
            tuned=self._tuned_head(),
        )
        softmax_head.write(head, record, target)
        checkpoints.clear()
        if self.in_search:
            return
        for line in training.summary_lines(record, self.settings):
            logger.info(line)
        for line in training.warnings(record):
            logger.warning(line)

    def _tuned_head(self) -> Head | None:
        """Return the head that was fine-tuned together with the module, if any."""
        bottlenecks: ComputeBottlenecks = self.clone(ComputeBottlenecks)
        recipe = bottlenecks.recipe()
        if recipe is None or not recipe.module.tuned_from:
            return None
        return result.head_of(bottlenecks.ready(self.reporter).module)

    def _summaries(self, key: str) -> Path | None:
        if not self.summaries_dir:
            return None
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{key}"
        return Path(self.summaries_dir).expanduser() / name
