"""The whole pipeline on tonight's photos, and the decision about its model."""

import datetime

import luigi

from pipeline.files import locks
from pipeline.nightly import history, night, shared_state
from pipeline.nightly.promotion_gate import Gate
from tasks.compute_bottlenecks import ComputeBottlenecks
from tasks.evaluate_model import EvaluateModel
from tasks.export_model import ExportModel
from tasks.messages import logger
from tasks.options import NightlyOptions
from tasks.split_dataset import SplitDataset
from tasks.step import Pending, Result, Step, path, paths, place
from tasks.train_head import TrainHead


class NightInHistory(luigi.LocalTarget):
    """The row of one night in the history."""

    key = ""

    def exists(self) -> bool:
        shared_state.pull(place(self).parent)
        return history.is_recorded(place(self).parent, self.key)


class NightlyRetrain(NightlyOptions, Step):
    """Train on tonight's photos; let `current` lead to the model if it passes the gate."""

    date = luigi.DateParameter(
        default=datetime.date.today(),
        description="of the night, in this machine's time zone; today unless told",
    )

    def requires(self) -> list[luigi.Task]:
        # The gate reads the bottlenecks again, which a finished model can do without.
        return [self.clone(ExportModel, promote=False), *self.clone(TrainHead).requires()]

    def output(self) -> luigi.Target:
        model = self.clone(ExportModel, promote=False).output()
        if isinstance(model, Pending):
            return model
        row = NightInHistory(self.output_dir / history.FILE)
        row.key = night.key(self.date, place(model), self._gate())
        return row

    def work(self) -> None:
        if self.page_url and self.set_tracking_url:
            self.set_tracking_url(f"{self.page_url.rstrip('/')}/history.html")
        nights = history.nights(self.output_dir)[-2 * night.DRIFT_DAYS :]
        paths(Result(self.output_dir, "manifests", n.manifest) for n in nights if n.manifest)
        computed = self.clone(ComputeBottlenecks)
        recipe = computed.recipe()
        assert recipe is not None
        results = night.Results(
            image_dir=self.image_dir,
            output_dir=self.output_dir,
            manifest=path(self.clone(SplitDataset).output()),
            classes=paths(computed.output()),
            recipe=recipe,
            head=path(self.clone(TrainHead).output()),
            evaluation=path(self.clone(EvaluateModel).output()),
            model=path(self.clone(ExportModel, promote=False).output()),
        )
        with locks.exclusive(
            self.output_dir / locks.PROMOTION
        ):  # the model compared with stays current
            closed = night.decide(results, self.date, self._gate())
            shared_state.share_model(self.output_dir)
            shared_state.share_history(self.output_dir)
        logger.info("%s: %s (%s)", closed.date, closed.outcome, closed.reason)
        for flag in closed.flags:
            logger.warning(flag)

    def _gate(self) -> Gate:
        return Gate(self.assert_accuracy_at_least, self.tolerance / 100)
