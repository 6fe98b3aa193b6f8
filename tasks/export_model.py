"""Export the model: the end of the pipeline."""

import luigi

from pipeline.export import model_folder, model_json, parity, tflite
from pipeline.files import naming
from pipeline.nightly import promotion
from pipeline.photos import manifest, remarks
from tasks.compute_bottlenecks import ComputeBottlenecks
from tasks.evaluate_model import EvaluateModel
from tasks.messages import logger
from tasks.options import ExportOptions
from tasks.split_dataset import SplitDataset
from tasks.step import Pending, Result, Step, fetch, local_path
from tasks.train_head import TrainHead

_PROGRESS = "files of the model written and tried on test photos"


class ExportModel(ExportOptions, Step):
    """Write the model's files, and make it the current model."""

    promote = luigi.BoolParameter(
        default=True,
        parsing=luigi.BoolParameter.EXPLICIT_PARSING,
        description="make the model the current one; NightlyRetrain leaves that to its gate",
    )
    _promoted = False  # by this run; another run may promote its own model right after

    def requires(self) -> dict[str, luigi.Task]:
        return {
            "manifest": self.clone(SplitDataset),
            "evaluation": self.clone(EvaluateModel),
            "head": self.clone(TrainHead),
        }

    def output(self) -> luigi.Target:
        evaluation = self.clone(EvaluateModel).output()
        if isinstance(evaluation, Pending):
            return evaluation
        options = self._options()
        made_of = (
            options.final_tensor_name,
            options.tflite,
            options.onnx,
            model_folder.FORMAT_VERSION,
        )
        key = naming.digest(local_path(evaluation).name, *made_of)
        return Result(self.output_dir, "models", key)

    def complete(self) -> bool:
        if not self.output().exists():
            return False
        if not self.promote or self._promoted:
            return True
        return promotion.is_current(self.output_dir, local_path(self.output()))

    def work(self) -> None:
        inputs, recipe = self.input(), self.clone(ComputeBottlenecks).ready(self.reporter)
        source = model_folder.Source(
            head=fetch(inputs["head"]),
            evaluation=fetch(inputs["evaluation"]),
            recipe=recipe,
            manifest=fetch(inputs["manifest"]),
            image_dir=self.image_dir,
        )
        model = local_path(self.output())
        options = self._options()
        # Besides the optional files, a SavedModel and a frozen graph.
        files = 2 + len(options.tflite) + options.onnx
        self.reporter(0, files, _PROGRESS)
        if options.tflite or options.onnx:
            logger.info("Converting the model, which can take a minute")
        model_folder.write(source, options, model)
        self.reporter(files, files, _PROGRESS)
        for line in parity.summary_lines(model_json.parity_results(model), recipe.precision):
            logger.warning(line)
        classes = manifest.read_summary(fetch(inputs["manifest"])).classes
        for line in remarks.left_out_lines(classes, model_json.read(model)["labels"]):
            logger.warning(line)
        if self.promote:
            self.upload()
            promotion.promote_manually(self.output_dir, model)
            self._promoted = True
            logger.info("The model is in %s", self.output_dir / "current")

    def _options(self) -> model_folder.Options:
        return model_folder.Options(
            final_tensor_name=self.final_tensor_name,
            tflite=tflite.parse(self.tflite),
            onnx=self.onnx,
        )
