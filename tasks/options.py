"""The options of the steps, with their units and defaults, from the module to the exported files.

`data_options` has those of the folders and photos, `fine_tuning_options` those of augmentation and
fine-tuning, and `command_options` those of single commands.

Each option can be set in luigi.cfg, in the section that its class names, and overridden on the
command line: `validation_percentage` in luigi.cfg is `--validation-percentage` there. Where
retrain.py had the option, the name is the same.
"""

import functools
from pathlib import Path
from typing import Any

from pipeline.bottlenecks import recipe
from pipeline.errors import UserError
from pipeline.evaluation.data_checks import checks
from pipeline.export import saved_model, tflite
from pipeline.files import places
from pipeline.files.places import Place
from pipeline.head.settings import BALANCED, LBFGS, NONE, SGD, Settings, Sgd, parse_class_weights
from pipeline.modules import engines, signatures
from pipeline.pixels import decoding
from pipeline.prediction import batch
from tasks.configuration import option
from tasks.data_options import DataOptions, OutputOptions
from tasks.fine_tuning_options import FineTuningOptions, values_for
from tasks.parameters import FindingsParameter, TFLiteParameter

_IMAGE_SIZES = (16, 4096)  # pixels; photos are hardly recognizable below, and hardly larger
_RANGES = tuple(signatures.RANGES)
_INFERENCE_ENGINES = (engines.AUTO, engines.TENSORFLOW, engines.OPENVINO)


class ModuleOptions(OutputOptions):
    """Section [module]: the network that turns photos into vectors."""

    tfhub_module = option(
        "module.tfhub_module",
        "efficientnet-lite0",
        "efficientnet-lite0 (default), or -lite1 or -lite2, slower and mostly more accurate; "
        "or a Keras application, such as keras:EfficientNetV2B0, with weights from a file as "
        "keras:EfficientNetV2B0@/path/weights.h5; a .keras or .h5 file; the folder or .tar.gz of a "
        "SavedModel; or its URL, such as a TensorFlow Hub handle",
    )
    image_size = option(
        "module.image_size",
        0,
        "height and width of the input in pixels, for a module that accepts any, such as the "
        "built-in ones; 0: as the module suggests",
    )
    image_range = option(
        "module.image_range",
        signatures.UNIT,
        "pixel range that the module expects: unit is 0 to 1, TensorFlow Hub's convention; signed "
        "is -1 to 1; byte is 0 to 255",
        choices=_RANGES,
    )
    module_output = option(
        "module.module_output",
        "",
        "output to use, of a module with several; layer to use, of a Keras file; empty: the only "
        "one, `default`, or the last pooled or flattened layer",
    )
    exif_orientation = option(
        "module.exif_orientation",
        True,
        "turn photos upright, as their Exif metadata says; false: like retrain.py",
    )
    background = option(
        "module.background",
        decoding.WHITE,
        "grey level behind transparent pixels, 0 to 255",
        least=0,
        most=decoding.WHITE,
    )
    inference_engine = option(
        "module.inference_engine",
        engines.AUTO,
        "library that runs the module; auto: OpenVINO if the processor supports bfloat16, and if "
        "it is installed and computes the same vectors; TensorFlow otherwise",
        choices=_INFERENCE_ENGINES,
    )
    module_sha256 = option(
        "module.module_sha256",
        "",
        "digest that the module must have, as recorded by the first run; empty: any",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        least, most = _IMAGE_SIZES
        if self.image_size and not least <= self.image_size <= most:
            raise UserError(
                f"image_size is {self.image_size}; it must be from {least} to {most}, or 0 for the "
                "size that the module suggests"
            )
        engines.candidate(self.inference_engine)


_PRECISIONS = (engines.AUTO, engines.FLOAT32, engines.BFLOAT16)
_ENGINES = ("local", "ray")


class BottleneckOptions(FineTuningOptions, DataOptions, ModuleOptions):
    """Section [bottlenecks]: how vectors are computed and stored."""

    precision = option(
        "bottlenecks.precision",
        engines.AUTO,
        "precision of the forward pass; auto: bfloat16 if the processor supports it natively, and "
        "float16 on an NVIDIA GPU",
        choices=_PRECISIONS,
    )
    vector_type = option(
        "bottlenecks.vector_type",
        recipe.VECTOR_TYPES[0],
        "type of stored vectors; float32 for modules whose values exceed 65504 or are all below "
        "0.00001",
        choices=recipe.VECTOR_TYPES,
    )
    engine = option(
        "bottlenecks.engine",
        _ENGINES[0],
        "local: in the Luigi workers; ray: on the Ray cluster at RAY_ADDRESS, or else on one "
        "started on this machine",
        choices=_ENGINES,
        significant=False,
    )
    ray_actors = option(
        "bottlenecks.ray_actors",
        0,
        "number of Ray actors, each of which loads the module; 0: one per GPU, or one per node if "
        "there is no GPU",
        least=0,
        significant=False,
    )
    shard_size = option(
        "bottlenecks.shard_size",
        10_000,
        "vectors that a worker computes as one task, if more are missing",
        least=1,
        significant=False,
    )


_OPTIMIZERS = (LBFGS, SGD)
WEIGHTINGS = (BALANCED, NONE)


class HeadOptions(BottleneckOptions):
    """Section [head]: how the softmax layer is trained."""

    optimizer = option(
        "head.optimizer",
        LBFGS,
        "lbfgs: to the optimum, on all photos at once; sgd: in steps, like retrain.py",
        choices=_OPTIMIZERS,
    )
    class_weighting = option(
        "head.class_weighting",
        BALANCED,
        "balanced: all classes count equally; none: all photos count equally",
        choices=WEIGHTINGS,
    )
    class_weights = option(
        "head.class_weights", "", 'weights of classes as JSON, such as {"rose": 2}; default 1'
    )
    other_class = option(
        "head.other_class",
        "",
        "class of unknown photos, which is trained but never returned as an answer; empty: none",
    )
    label_smoothing = option(
        "head.label_smoothing",
        0.0,
        "share of each target, below 1, that is spread evenly over all classes",
    )
    l2 = option(
        "head.l2", 0.0, "L2 strength; 0: chosen on the validation photos (lbfgs), or none (sgd)"
    )
    calibrate = option(
        "head.calibrate",
        False,
        "divide the logits by the temperature that fits the validation photos",
    )
    how_many_training_steps = option(
        "head.how_many_training_steps",
        4000,
        "sgd: maximum number of steps; stops early when validation stops improving",
    )
    learning_rate = option("head.learning_rate", 0.01, "sgd: learning rate")
    train_batch_size = option("head.train_batch_size", 100, "sgd: photos per step")
    eval_step_interval = option("head.eval_step_interval", 10, "sgd: steps between evaluations")
    validation_batch_size = option(
        "head.validation_batch_size", 100, "sgd: validation photos per evaluation; -1: all"
    )
    random_seed = option("head.random_seed", 0, "sgd: seed of the random batches")
    intermediate_store_frequency = option(
        "head.intermediate_store_frequency",
        20,
        "iterations or steps between checkpoints of the training; 0: none",
        least=0,
        significant=False,
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        sgd = Sgd(**values_for(self, Sgd))
        self.settings = Settings(
            l2=self.l2,
            class_weighting=self.class_weighting,
            class_weights=parse_class_weights(self.class_weights),
            label_smoothing=self.label_smoothing,
            calibrate=self.calibrate,
            sgd=sgd if self.optimizer == SGD else None,
            other_class=self.other_class,
        )


class CheckOptions(BottleneckOptions):
    """Section [checks]: the data checks."""

    fail_on = option(
        "checks.fail_on",
        "",
        "kinds of findings that stop the run, separated by commas: " + ", ".join(checks.KINDS),
        kind=FindingsParameter,
    )


class UnknownOptions:
    """Section [evaluation]: photos that belong to no class."""

    unknown_dir = option(
        "evaluation.unknown_dir",
        "",
        "folder of photos that belong to no class, or its URL; the evaluation measures how many "
        "would pass as known; empty: none",
    )


@functools.cache  # tasks are created often
def _refuse_unknown_dir(unknown_dir: str, image_dir: Place) -> None:
    """Check that a local unknown_dir has files, and that none of its photos is of a class.

    Raises:
        UserError: if not.
    """
    place = places.parse(unknown_dir)
    if places.is_inside(place, image_dir) or places.is_inside(image_dir, place):
        raise UserError(
            f"unknown_dir: {unknown_dir} and image_dir ({image_dir}) contain the same photos; set "
            "unknown_dir to a folder of other photos"
        )
    if isinstance(place, Path):
        batch.find(unknown_dir, "unknown_dir")


class EvaluationOptions(UnknownOptions, HeadOptions, CheckOptions):
    """Section [evaluation]: the output of the evaluation."""

    unknown_rate = option(
        "evaluation.unknown_rate",
        0.05,
        "share of the photos of known classes that may be rejected as unknown, from 0 to below 1",
    )
    print_misclassified_test_images = option(
        "evaluation.print_misclassified_test_images",
        False,
        "print every misclassified test photo",
        significant=False,
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not 0 <= self.unknown_rate < 1:
            raise UserError(
                f"unknown_rate is {self.unknown_rate:g}; it must be at least 0 and below 1"
            )
        if self.unknown_dir:
            _refuse_unknown_dir(self.unknown_dir, self.image_dir)


class ExportOptions(EvaluationOptions):
    """Section [export]: the exported files."""

    final_tensor_name = option(
        "export.final_tensor_name", "final_result", "name of the frozen graph's output tensor"
    )
    tflite = option(
        "export.tflite",
        tflite.NONE,
        "TFLite files: none, or any of float32, float16, int8, separated by commas",
        kind=TFLiteParameter,
    )
    onnx = option("export.onnx", False, "write model.onnx")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        saved_model.refuse_name(self.final_tensor_name)


def given(task: Any) -> dict[str, str]:
    """Return the options of a task that `make train` has too, if they differ from the defaults.

    The folders of photos and results are left out.
    """
    return {
        name: parameter.serialize(getattr(task, name))
        for name, parameter in task.get_params()
        if hasattr(ExportOptions, name)
        and name not in ("image_dir", "output_dir", "work_dir")
        and getattr(task, name) != parameter._default
    }
