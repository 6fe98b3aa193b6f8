"""Export the model: the end of the pipeline."""

import luigi

from pipeline import export, history, promotion, storage
from tasks.compute_bottlenecks import ComputeBottlenecks
from tasks.evaluate_model import EvaluateModel
from tasks.messages import logger
from tasks.options import ExportOptions
from tasks.step import Pending, Step, path
from tasks.train_head import TrainHead


class ExportModel(ExportOptions, Step):
    """Write the model's files, and let `current` lead to them."""

    promote = luigi.BoolParameter(
        default=True,
        parsing=luigi.BoolParameter.EXPLICIT_PARSING,
        description="whether `current` is to lead to the model; NightlyRetrain decides that later",
    )

    def requires(self) -> dict[str, luigi.Task]:
        return {"evaluation": self.clone(EvaluateModel), "head": self.clone(TrainHead)}

    def output(self) -> luigi.Target:
        evaluated = self.clone(EvaluateModel).output()
        if isinstance(evaluated, Pending):
            return evaluated
        made_of = (path(evaluated).name, self.final_tensor_name, export.FORMAT_VERSION)
        return luigi.LocalTarget(self.output_dir / "models" / storage.digest(*made_of))

    def complete(self) -> bool:
        if not self.output().exists():
            return False
        current = promotion.current(self.output_dir)
        return not self.promote or current == path(self.output()).resolve()

    def work(self) -> None:
        inputs, recipe = self.input(), self.clone(ComputeBottlenecks).recipe()
        assert recipe is not None
        export.publish(
            path(inputs["head"]),
            recipe,
            path(inputs["evaluation"]),
            self.final_tensor_name,
            path(self.output()),
        )
        if self.promote:
            move = promotion.promote(self.output_dir, path(self.output()), promotion.BY_HAND)
            history.add(self.output_dir, promotion=move)
            logger.info("The model is in %s", self.output_dir / "current")
