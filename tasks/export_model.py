"""Export the model: the end of the pipeline."""

import luigi

from pipeline import contract, export, fidelity, history, lock, promotion, storage, tflite
from tasks.compute_bottlenecks import ComputeBottlenecks
from tasks.evaluate_model import EvaluateModel
from tasks.messages import logger
from tasks.options import ExportOptions
from tasks.split_dataset import SplitDataset
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
        return {
            "manifest": self.clone(SplitDataset),
            "evaluation": self.clone(EvaluateModel),
            "head": self.clone(TrainHead),
        }

    def output(self) -> luigi.Target:
        evaluated = self.clone(EvaluateModel).output()
        if isinstance(evaluated, Pending):
            return evaluated
        options = self._options()
        made_of = (options.final_tensor_name, options.tflite, options.onnx, export.FORMAT_VERSION)
        key = storage.digest(path(evaluated).name, *made_of)
        return luigi.LocalTarget(self.output_dir / "models" / key)

    def complete(self) -> bool:
        if not self.output().exists():
            return False
        current = promotion.current(self.output_dir)
        return not self.promote or current == path(self.output()).resolve()

    def work(self) -> None:
        inputs, recipe = self.input(), self.clone(ComputeBottlenecks).recipe()
        assert recipe is not None
        source = export.Source(
            path(inputs["head"]),
            path(inputs["evaluation"]),
            recipe,
            path(inputs["manifest"]),
            self.image_dir,
        )
        model = path(self.output())
        export.publish(source, self._options(), model)
        for line in fidelity.remarks(contract.answers(model), recipe.precision):
            logger.warning(line)
        if self.promote:
            with lock.turn(self.output_dir / lock.PROMOTION):
                move = promotion.promote(self.output_dir, model, promotion.BY_HAND)
                history.add(self.output_dir, promotion=move)
            logger.info("The model is in %s", self.output_dir / "current")

    def _options(self) -> export.Options:
        return export.Options(self.final_tensor_name, tflite.parse(self.tflite), self.onnx)
