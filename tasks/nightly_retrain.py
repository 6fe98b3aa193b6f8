"""Retrain on tonight's photos, and decide about the model."""

import datetime

import luigi

from pipeline.nightly import history, night
from pipeline.nightly.promotion_gate import Gate
from tasks.command_options import NightlyOptions
from tasks.compute_bottlenecks import ComputeBottlenecks
from tasks.evaluate_model import EvaluateModel
from tasks.export_model import ExportModel
from tasks.messages import logger
from tasks.split_dataset import SplitDataset
from tasks.step import Pending, Step, fetch, fetch_all, local_path
from tasks.train_head import TrainHead


class NightInHistory(luigi.LocalTarget):
    """The row of one night in the history."""

    key = ""

    def exists(self) -> bool:
        return night.is_decided(local_path(self).parent, self.key)


class NightlyRetrain(NightlyOptions, Step):
    """Train on tonight's photos; make the model current if it passes the gate."""

    date = luigi.DateParameter(
        default=datetime.date.today(),
        description="date of the night, in local time; default: today",
    )

    def requires(self) -> list[luigi.Task]:
        # The gate reads the bottlenecks again, even if the model exists already.
        return [self.clone(ExportModel, promote=False), *self.clone(TrainHead).requires()]

    def output(self) -> luigi.Target:
        model = self.clone(ExportModel, promote=False).output()
        if isinstance(model, Pending):
            return model
        row = NightInHistory(self.output_dir / history.FILE)
        row.key = night.key(self.date, local_path(model), self._gate())
        return row

    def work(self) -> None:
        if self.page_url and self.set_tracking_url:
            self.set_tracking_url(f"{self.page_url.rstrip('/')}/history.html")
        bottlenecks, dataset = self.clone(ComputeBottlenecks), self.clone(SplitDataset)
        recipe = bottlenecks.recipe()
        assert recipe is not None
        results = night.Results(
            image_dir=self.image_dir,
            output_dir=self.output_dir,
            manifest=fetch(dataset.output()),
            classes=fetch_all(bottlenecks.output()),
            recipe=recipe,
            head=fetch(self.clone(TrainHead).output()),
            evaluation=fetch(self.clone(EvaluateModel).output()),
            model=fetch(self.clone(ExportModel, promote=False).output()),
            corrected=dataset.corrected(),
        )
        decided = night.decide(results, self.date, self._gate())
        logger.info(decided.summary)
        for flag in decided.flags:
            logger.warning(flag)

    def _gate(self) -> Gate:
        return Gate(self.assert_accuracy_at_least, self.tolerance / 100)
