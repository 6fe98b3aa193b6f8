"""Ask an exported model what is on many photos."""

import functools
from pathlib import Path

import luigi

from pipeline.errors import UserError
from pipeline.nightly import shared_state
from pipeline.prediction import batch
from tasks.messages import logger
from tasks.options import PredictOptions
from tasks.step import Pending, Result, Step

# A run works on the photos as they were at its start, however often Luigi asks for a target.
_find = functools.cache(batch.find)


class PredictImages(PredictOptions, Step):
    """Write a table with the five best labels for each photo; train nothing."""

    def output(self) -> luigi.Target:
        try:
            key = batch.key(self._model(), _find(self.images))
        except UserError:  # `work` will say what is wrong
            return Pending()
        return Result(self.output_dir, "predictions", key)

    def work(self) -> None:
        model, found = self._model(), _find(self.images)
        directory = self.output_dir / "predictions" / batch.key(model, found)
        counts = batch.write(model, found, directory, self.reporter)
        counted, *bad = batch.summary_lines(counts)
        for line in bad:
            logger.warning(line)
        logger.info("%s, in %s", counted, directory)

    def _model(self) -> Path:
        """A fixed folder: `current` may move on meanwhile."""
        return shared_state.resolve_model(self.model or str(self.output_dir / "current")).resolve()
