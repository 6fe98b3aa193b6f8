"""Retrain on tonight's photos, and decide about the model."""

import datetime
import functools
from typing import Any

import luigi

from pipeline.nightly import history, night, tuning_plan
from pipeline.nightly.promotion_gate import Gate
from pipeline.nightly.tuning_plan import TuningPlan
from tasks.command_options import NightlyOptions
from tasks.compute_bottlenecks import ComputeBottlenecks
from tasks.evaluate_model import EvaluateModel
from tasks.export_model import ExportModel
from tasks.fine_tuning_options import NO_DISTORTIONS
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
        return [self._tonight(ExportModel, promote=False), *self._tonight(TrainHead).requires()]

    def output(self) -> luigi.Target:
        key = self.key()
        if not key:
            return Pending()
        row = NightInHistory(self.output_dir / history.FILE)
        row.key = key
        return row

    def key(self) -> str:
        """Return the key of the night in the history; empty until its model is known."""
        model = self._tonight(ExportModel, promote=False).output()
        if isinstance(model, Pending):
            return ""
        return night.key(self.date, local_path(model), self._gate())

    def work(self) -> None:
        if self.page_url and self.set_tracking_url:
            self.set_tracking_url(f"{self.page_url.rstrip('/')}/history.html")
        bottlenecks, dataset = self._tonight(ComputeBottlenecks), self.clone(SplitDataset)
        recipe = bottlenecks.recipe()
        assert recipe is not None
        results = night.Results(
            image_dir=self.image_dir,
            output_dir=self.output_dir,
            manifest=fetch(dataset.output()),
            classes=fetch_all(bottlenecks.output()),
            recipe=recipe,
            head=fetch(self._tonight(TrainHead).output()),
            evaluation=fetch(self._tonight(EvaluateModel).output()),
            model=fetch(self._tonight(ExportModel, promote=False).output()),
            handle=self.tfhub_module,
            tuned=self._plan.tune,
            corrected=dataset.corrected(),
        )
        decided = night.decide(results, self.date, self._gate())
        logger.info(decided.summary)
        for flag in decided.flags:
            logger.warning(flag)

    @functools.cached_property
    def _plan(self) -> TuningPlan:
        """What tonight does about the module. It is made once, as tonight's row changes it."""
        if not self.fine_tune_epochs:
            return TuningPlan(self.tfhub_module, tune=False)
        return tuning_plan.plan(
            self.output_dir, self.date, self.fine_tune_every, self.tfhub_module, self.image_size
        )

    def _tonight(self, step: type[luigi.Task], **options: object) -> Any:
        """Return another step, with tonight's module."""
        changes: dict[str, object] = {}
        if self._plan.handle != self.tfhub_module:
            changes |= {"tfhub_module": self._plan.handle, "module_sha256": ""}
        if self.fine_tune_epochs and not self._plan.tune:
            changes |= {"fine_tune_epochs": 0} | ({} if self.augmentations else NO_DISTORTIONS)
        return self.clone(step, **changes, **options)

    def _gate(self) -> Gate:
        return Gate(self.assert_accuracy_at_least, self.tolerance / 100)
