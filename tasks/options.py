"""The options of the pipeline, with their units and defaults.

Each can be set in luigi.cfg, in the section that its class names, and overruled on the command
line: `validation_percentage` in luigi.cfg is `--validation-percentage` there. Names are
retrain.py's where it had the option.
"""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import luigi

from pipeline.bottlenecks import extraction
from pipeline.evaluation.data_checks import checks
from pipeline.export import tflite
from pipeline.files import output_store, places
from pipeline.head.settings import BALANCED, LBFGS, NONE, SGD, Settings, Sgd, parse_class_weights
from pipeline.modules import signatures
from pipeline.photos import datasets, split
from pipeline.photos.augmentation import Augmentation
from tasks.configuration import configured
from tasks.parameters import (
    FaultsParameter,
    FolderParameter,
    OutputParameter,
    PlaceParameter,
    TFLiteParameter,
)

DATA_DIR = Path("data")
SAMPLE_DIR = DATA_DIR / "digits"


def _given(options: object, kind: type) -> dict[str, Any]:
    """The options that are called as a data class's fields."""
    return {field.name: getattr(options, field.name) for field in fields(kind)}


class OutputOptions:
    """Section [data]: where everything is written."""

    output_dir = OutputParameter(
        default=cast(Path, places.parse(configured("data", "output_dir", "data/output"))),
        description="folder for everything the pipeline writes, or the URL of one (s3://, gs://); "
        "`current` in it is the last model",
    )
    work_dir = FolderParameter(
        default=Path(configured("data", "work_dir", str(output_store.WORK_DIR))),
        significant=False,
        description="folder of this machine in which an output_dir that is a URL is mirrored",
    )

    @classmethod
    def get_param_values(
        cls, params: Sequence[tuple[str, Any]], args: Any, kwargs: Any
    ) -> list[tuple[str, Any]]:
        """Luigi's, after which the output folder is one of this machine: itself, or its mirror."""
        values = dict(super().get_param_values(params, args, kwargs))  # type: ignore[misc]
        values["output_dir"] = output_store.folder(values["output_dir"], values["work_dir"])
        return list(values.items())


_DATASETS = ("", *datasets.DATASETS)


class DataOptions(OutputOptions):
    """Section [data]: the photos, and how they are split."""

    dataset = luigi.ChoiceParameter(
        default=configured("data", "dataset", "", _DATASETS),
        choices=_DATASETS,
        description="a public data set, fetched from its publisher, in place of image_dir: "
        "flower_photos, or food101 with its official split",
    )
    image_dir = PlaceParameter(
        default=places.parse(configured("data", "image_dir", str(SAMPLE_DIR))),
        description="folder with a folder of photos for each class, or the URL of one (s3://, gs://)",
    )
    split_file = luigi.StrParameter(
        default=configured("data", "split_file", ""),
        description="the data set's own split: folder with train.txt and test.txt (label/name a "
        "line), or such files with commas between; empty splits by the hash of the file name",
    )
    validation_percentage = luigi.FloatParameter(
        default=configured("data", "validation_percentage", 10.0),
        description="percent of the photos that choose between heads",
    )
    testing_percentage = luigi.FloatParameter(
        default=configured("data", "testing_percentage", 10.0),
        description="percent of the photos that measure the accuracy",
    )
    group_duplicates = luigi.BoolParameter(
        default=configured("data", "group_duplicates", False),
        description="keep files of equal content in one part of the split, whatever their names",
    )

    @classmethod
    def get_param_values(
        cls, params: Sequence[tuple[str, Any]], args: Any, kwargs: Any
    ) -> list[tuple[str, Any]]:
        """Luigi's, after which the folders are those of the data set, where one is named."""
        values = dict(super().get_param_values(params, args, kwargs))
        if values["dataset"]:
            chosen = datasets.DATASETS[values["dataset"]]
            directory = chosen.directory(values["dataset"], DATA_DIR)
            values["image_dir"] = directory / chosen.photos
            if chosen.lists and not values["split_file"]:
                values["split_file"] = str(directory / chosen.lists)
        return list(values.items())

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # An impossible value should be heard before any work, here and below.
        self.percentages = (self.validation_percentage, self.testing_percentage)
        split.SplitRule(*self.percentages)


_RANGES = tuple(signatures.RANGES)


class ModuleOptions(OutputOptions):
    """Section [module]: what turns photos into vectors."""

    tfhub_module = luigi.StrParameter(
        default=configured("module", "tfhub_module", "efficientnet-lite0"),
        description="efficientnet-lite0, -lite1 or -lite2; the folder or .tar.gz of a SavedModel; "
        "or the address of one, such as a TensorFlow Hub handle",
    )
    image_size = luigi.IntParameter(
        default=configured("module", "image_size", 0),
        description="pixels of the input's sides, for a module that leaves them open; 0 asks it",
    )
    image_range = luigi.ChoiceParameter(
        default=configured("module", "image_range", signatures.UNIT, _RANGES),
        choices=_RANGES,
        description="what the module takes a pixel for: unit is 0 to 1, the convention of "
        "TensorFlow Hub; signed is -1 to 1; byte is 0 to 255",
    )
    module_sha256 = luigi.StrParameter(
        default=configured("module", "module_sha256", ""),
        description="digest that the module must have, as the first run wrote it down; empty takes "
        "what comes",
    )


class AugmentationOptions:
    """Section [augmentation]: distorted copies of the training photos."""

    augmentations = luigi.IntParameter(
        default=configured("augmentation", "augmentations", 0),
        description="distorted copies of each training photo, computed once and kept",
    )
    flip_left_right = luigi.BoolParameter(
        default=configured("augmentation", "flip_left_right", False),
        description="mirror half of the copies",
    )
    random_crop = luigi.IntParameter(
        default=configured("augmentation", "random_crop", 0),
        description="percent that is cut off at random sides",
    )
    random_scale = luigi.IntParameter(
        default=configured("augmentation", "random_scale", 0),
        description="percent by which copies are enlarged at most",
    )
    random_brightness = luigi.IntParameter(
        default=configured("augmentation", "random_brightness", 0),
        description="percent by which copies get brighter or darker at most",
    )
    random_rotation = luigi.IntParameter(
        default=configured("augmentation", "random_rotation", 0),
        description="degrees by which copies are turned to either side at most",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.augmentation = Augmentation(**_given(self, Augmentation))


_PRECISIONS = (extraction.AUTO, extraction.FLOAT32, extraction.BFLOAT16)
_ENGINES = ("local", "ray")
_VECTOR_TYPES = ("float16", "float32")


class BottleneckOptions(AugmentationOptions, DataOptions, ModuleOptions):
    """Section [bottlenecks]: how vectors are computed and stored."""

    precision = luigi.ChoiceParameter(
        default=configured("bottlenecks", "precision", extraction.AUTO, _PRECISIONS),
        choices=_PRECISIONS,
        description="of the forward pass; auto is bfloat16 where the processor has it natively, "
        "and float16 on an NVIDIA GPU",
    )
    vector_type = luigi.ChoiceParameter(
        default=configured("bottlenecks", "vector_type", "float16", _VECTOR_TYPES),
        choices=_VECTOR_TYPES,
        description="how vectors are stored; float32 for modules whose values pass 65504",
    )
    engine = luigi.ChoiceParameter(
        default=configured("bottlenecks", "engine", _ENGINES[0], _ENGINES),
        choices=_ENGINES,
        significant=False,
        description="local: in the Luigi workers; ray: on the Ray cluster at RAY_ADDRESS, else on "
        "one that is started on this machine",
    )
    ray_actors = luigi.IntParameter(
        default=configured("bottlenecks", "ray_actors", 0),
        significant=False,
        description="how many times the module is loaded on the Ray cluster; 0: once a GPU, or "
        "once a node where there is none",
    )
    shard_size = luigi.IntParameter(
        default=configured("bottlenecks", "shard_size", 10_000),
        significant=False,
        description="vectors that a worker computes as one task, where more are missing",
    )


_OPTIMIZERS = (LBFGS, SGD)
_WEIGHTINGS = (BALANCED, NONE)


class HeadOptions(BottleneckOptions):
    """Section [head]: how the softmax layer is trained."""

    optimizer = luigi.ChoiceParameter(
        default=configured("head", "optimizer", LBFGS, _OPTIMIZERS),
        choices=_OPTIMIZERS,
        description="lbfgs: to the optimum, on all photos at once; sgd: in steps, as retrain.py",
    )
    class_weighting = luigi.ChoiceParameter(
        default=configured("head", "class_weighting", BALANCED, _WEIGHTINGS),
        choices=_WEIGHTINGS,
        description="balanced: each class counts the same; none: each photo does",
    )
    class_weights = luigi.StrParameter(
        default=configured("head", "class_weights", ""),
        description='how many times as much some classes count, as {"rose": 2}',
    )
    label_smoothing = luigi.FloatParameter(
        default=configured("head", "label_smoothing", 0.0),
        description="share of each photo's target that is spread over all classes, below 1",
    )
    l2 = luigi.FloatParameter(
        default=configured("head", "l2", 0.0),
        description="L2 strength; 0 chooses it on the validation photos (lbfgs), or is none (sgd)",
    )
    calibrate = luigi.BoolParameter(
        default=configured("head", "calibrate", False),
        description="divide the logits by the temperature that fits the validation photos",
    )
    how_many_training_steps = luigi.IntParameter(
        default=configured("head", "how_many_training_steps", 4000),
        description="sgd: steps at most; it stops where validation has long not improved",
    )
    learning_rate = luigi.FloatParameter(
        default=configured("head", "learning_rate", 0.01), description="sgd: of each step"
    )
    train_batch_size = luigi.IntParameter(
        default=configured("head", "train_batch_size", 100), description="sgd: photos a step"
    )
    eval_step_interval = luigi.IntParameter(
        default=configured("head", "eval_step_interval", 10),
        description="sgd: steps from one evaluation to the next",
    )
    validation_batch_size = luigi.IntParameter(
        default=configured("head", "validation_batch_size", 100),
        description="sgd: validation photos that an evaluation looks at; -1 is all",
    )
    random_seed = luigi.IntParameter(
        default=configured("head", "random_seed", 0), description="sgd: of what is drawn"
    )
    intermediate_store_frequency = luigi.IntParameter(
        default=configured("head", "intermediate_store_frequency", 20),
        significant=False,
        description="iterations or steps after which a training that is killed can go on; 0: none",
    )
    summaries_dir = luigi.StrParameter(
        default=configured("head", "summaries_dir", ""),
        significant=False,
        description="folder for what TensorBoard shows, a new one in it each time; empty: none",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        sgd, weights = Sgd(**_given(self, Sgd)), parse_class_weights(self.class_weights)
        how = (self.label_smoothing, self.calibrate, sgd if self.optimizer == SGD else None)
        self.settings = Settings(self.l2, self.class_weighting, weights, *how)


class CheckOptions(BottleneckOptions):
    """Section [checks]: what the data may not have."""

    fail_on = FaultsParameter(
        default=configured("checks", "fail_on", ""),
        description="kinds of faults that stop the run, with commas between: "
        + ", ".join(checks.KINDS),
    )


class EvaluationOptions(HeadOptions, CheckOptions):
    """Section [evaluation]: what is said of the result."""

    print_misclassified_test_images = luigi.BoolParameter(
        default=configured("evaluation", "print_misclassified_test_images", False),
        significant=False,
        description="name each misclassified test photo in the output of the evaluation",
    )


class ExportOptions(EvaluationOptions):
    """Section [export]: the files that come out."""

    final_tensor_name = luigi.StrParameter(
        default=configured("export", "final_tensor_name", "final_result"),
        description="name of the frozen graph's output",
    )
    tflite = TFLiteParameter(
        default=configured("export", "tflite", tflite.NONE),
        description="TFLite files for phones: none, or of float32, float16, int8, with commas",
    )
    onnx = luigi.BoolParameter(
        default=configured("export", "onnx", False),
        description="write model.onnx, for other runtimes",
    )


class PredictOptions(OutputOptions):
    """Section [predict]: an exported model, and the photos it is asked about."""

    images = luigi.StrParameter(
        default=configured("predict", "images", ""),
        description="a folder of photos, with the folders in it, its URL, or a pattern in quotes "
        "such as 'photos/**/*.jpg'",
    )
    model = luigi.StrParameter(
        default=configured("predict", "model", ""),
        description="folder of an exported model; empty takes the last one, output_dir/current",
    )


class SearchOptions(HeadOptions):
    """Section [search]: values with commas between; every combination of them is a head."""

    try_tfhub_module = luigi.StrParameter(
        default=configured("search", "try_tfhub_module", ""),
        description="modules to compare, with commas between; empty: tfhub_module alone",
    )
    try_augmentations = luigi.StrParameter(
        default=configured("search", "try_augmentations", ""),
        description="distorted copies of each training photo; empty: the option augmentations",
    )
    try_class_weighting = luigi.StrParameter(
        default=configured("search", "try_class_weighting", ", ".join(_WEIGHTINGS)),
        description="values of class_weighting to compare, with commas between",
    )
    try_label_smoothing = luigi.StrParameter(
        default=configured("search", "try_label_smoothing", "0, 0.1"),
        description="values of label_smoothing to compare, with commas between",
    )
    try_l2 = luigi.StrParameter(
        default=configured("search", "try_l2", "0"),
        description="L2 strengths to compare, with commas between; 0: the best on validation",
    )


class NightlyOptions(ExportOptions):
    """Section [nightly]: what a night's model must reach, and what is done when a run fails."""

    assert_accuracy_at_least = luigi.FloatParameter(
        default=configured("nightly", "assert_accuracy_at_least", 0.0),
        description="share of the test photos, from 0 to 1, that a model must name rightly",
    )
    tolerance = luigi.FloatParameter(
        default=configured("nightly", "tolerance", 1.0),
        description="percentage points by which a model may be worse than the current one",
    )
    page_url = luigi.StrParameter(
        default=configured("nightly", "page_url", ""),
        significant=False,
        description="where output_dir can be read in a browser; the scheduler's page links to it",
    )
    retries = luigi.IntParameter(
        default=configured("nightly", "retries", 2),
        significant=False,
        description="how often a failed run is tried again",
    )
    retry_delay = luigi.FloatParameter(
        default=configured("nightly", "retry_delay", 60.0),
        significant=False,
        description="seconds before it is",
    )


class PruneOptions(OutputOptions):
    """Section [prune]: what is kept of earlier runs."""

    keep = luigi.IntParameter(
        default=configured("prune", "keep", 30), description="runs whose results are kept"
    )
    delete = luigi.BoolParameter(
        default=False,
        description="delete; without it, only say what would be deleted",
    )
