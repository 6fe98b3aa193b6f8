"""Export the model: the end of the pipeline."""

import luigi

from pipeline.export import model_folder, model_json, parity, tflite
from pipeline.files import locks, naming
from pipeline.nightly import current_model, history, promotion, shared_state
from tasks.compute_bottlenecks import ComputeBottlenecks
from tasks.evaluate_model import EvaluateModel
from tasks.messages import logger
from tasks.options import ExportOptions
from tasks.split_dataset import SplitDataset
from tasks.step import Pending, Result, Step, path, place
from tasks.train_head import TrainHead


class ExportModel(ExportOptions, Step):
    """Write the model's files, and let `current` lead to them."""

    promote = luigi.BoolParameter(
        default=True,
        parsing=luigi.BoolParameter.EXPLICIT_PARSING,
        description="whether `current` is to lead to the model; NightlyRetrain decides that later",
    )
    _promoted = False  # by this run; another one may promote its own model right after

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
        made_of = (
            options.final_tensor_name,
            options.tflite,
            options.onnx,
            model_folder.FORMAT_VERSION,
        )
        key = naming.digest(place(evaluated).name, *made_of)
        return Result(self.output_dir, "models", key)

    def complete(self) -> bool:
        if not self.output().exists():
            return False
        if not self.promote or self._promoted:
            return True
        shared_state.pull(self.output_dir)
        return current_model.get(self.output_dir) == place(self.output()).resolve()

    def work(self) -> None:
        inputs, recipe = self.input(), self.clone(ComputeBottlenecks).ready(self.reporter)
        source = model_folder.Source(
            path(inputs["head"]),
            path(inputs["evaluation"]),
            recipe,
            path(inputs["manifest"]),
            self.image_dir,
        )
        model = place(self.output())
        model_folder.write(source, self._options(), model)
        for line in parity.summary_lines(model_json.parity_results(model), recipe.precision):
            logger.warning(line)
        if self.promote:
            self._upload()
            with locks.exclusive(self.output_dir / locks.PROMOTION):
                shared_state.pull(self.output_dir)
                move = promotion.promote(self.output_dir, model, promotion.MANUAL)
                history.add(self.output_dir, promotion=move)
                shared_state.share_model(self.output_dir)
                shared_state.share_history(self.output_dir)
            self._promoted = True
            logger.info("The model is in %s", self.output_dir / "current")

    def _options(self) -> model_folder.Options:
        return model_folder.Options(self.final_tensor_name, tflite.parse(self.tflite), self.onnx)
