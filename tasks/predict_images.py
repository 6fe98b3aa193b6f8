"""Predict the classes of many photos with an exported model."""

import functools
from pathlib import Path
from typing import Any

import luigi

from pipeline.errors import UserError
from pipeline.files import places
from pipeline.nightly import shared_state
from pipeline.prediction import batch
from tasks.command_options import PredictOptions
from tasks.messages import logger
from tasks.step import Pending, Result, Step

# A run uses the photos that it found at its start, however often Luigi asks for a target.
_find = functools.cache(batch.find)


class PredictImages(PredictOptions, Step):
    """Write a table with the five best labels of each photo; train nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        if not self.model:
            places.existing_output(self.output_dir)

    def output(self) -> luigi.Target:
        try:
            key = batch.key(self._model(), _find(self.images))
        except UserError:  # `work` reports the problem
            return Pending()
        return Result(self.output_dir, "predictions", key)

    def work(self) -> None:
        model, photos = self._model(), _find(self.images)
        directory = self.output_dir / "predictions" / batch.key(model, photos)
        counts = batch.write(model, photos, directory, self.reporter)
        summary, *problems = batch.summary_lines(counts)
        for line in problems:
            logger.warning(line)
        logger.info("%s, in %s", summary, directory)

    def _model(self) -> Path:
        """Return a fixed folder: `current` may move during the run."""
        model = self.model or str(self.output_dir / "current")
        return shared_state.resolve_model(model).resolve()
