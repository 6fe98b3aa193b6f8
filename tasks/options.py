"""The options of the pipeline, with their units and defaults.

Each can be set in luigi.cfg, in the section that its class names, and overruled on the command
line: `validation_percentage` in luigi.cfg is `--validation-percentage` there. Names are
retrain.py's where it had the option.
"""

import difflib
from configparser import InterpolationError
from pathlib import Path
from typing import TypeVar

import luigi
from luigi.configuration import get_config
from luigi.parameter import ParameterVisibility

from pipeline import features, head
from pipeline.errors import UserError

T = TypeVar("T", str, bool, int, float)

SAMPLE_DIR = Path("data/digits")

_known: dict[str, list[str]] = {}


def configured(section: str, name: str, default: T, choices: tuple[T, ...] = ()) -> T:
    """The value of an option in luigi.cfg, or the default.

    Raises:
        UserError: where the value is not of the default's type, or none of the choices.
    """
    _known.setdefault(section, []).append(name)
    try:
        text = get_config().get(section, name, None)
    except InterpolationError:
        raise UserError(f"luigi.cfg: [{section}] {name}: for a % sign, write %%") from None
    if text is None:
        return default
    kinds: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number"}
    try:
        value = _parse_bool(text) if isinstance(default, bool) else type(default)(text)
    except ValueError:
        kind = kinds[type(default)]
        raise UserError(f"luigi.cfg: [{section}] {name} is {text!r}, which is not {kind}") from None
    if choices and value not in choices:
        named = ", ".join(map(str, choices))
        raise UserError(f"luigi.cfg: [{section}] {name} is {text!r}; it can be {named}")
    return value


def _parse_bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


class FolderParameter(luigi.PathParameter):
    """A folder, in which `~` stands for the user's own."""

    def normalize(self, x: str | Path) -> Path:
        return Path(x).expanduser()


class OutputOptions:
    """Section [data]: where everything is written."""

    output_dir = FolderParameter(
        default=Path(configured("data", "output_dir", "data/output")),
        description="folder for everything the pipeline writes; `current` in it is the last model",
    )


class DataOptions(OutputOptions):
    """Section [data]: the photos, and how they are split."""

    image_dir = FolderParameter(
        default=Path(configured("data", "image_dir", str(SAMPLE_DIR))),
        description="folder with a folder of photos for each class",
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


class ModuleOptions(OutputOptions):
    """Section [module]: what turns photos into vectors."""

    tfhub_module = luigi.StrParameter(
        default=configured("module", "tfhub_module", "efficientnet-lite0"),
        description="efficientnet-lite0, -lite1 or -lite2; the folder of a SavedModel; or a "
        "TensorFlow Hub handle",
    )
    image_size = luigi.IntParameter(
        default=configured("module", "image_size", 0),
        description="pixels of the input's sides, for a module that leaves them open; 0 asks it",
    )


_PRECISIONS = (features.AUTO, features.FLOAT32, features.BFLOAT16)
_VECTOR_TYPES = ("float16", "float32")


class BottleneckOptions(DataOptions, ModuleOptions):
    """Section [bottlenecks]: how vectors are computed and stored."""

    precision = luigi.ChoiceParameter(
        default=configured("bottlenecks", "precision", features.AUTO, _PRECISIONS),
        choices=_PRECISIONS,
        description="of the forward pass; auto is bfloat16 where the processor has it natively",
    )
    vector_type = luigi.ChoiceParameter(
        default=configured("bottlenecks", "vector_type", "float16", _VECTOR_TYPES),
        choices=_VECTOR_TYPES,
        description="how vectors are stored; float32 for modules whose values pass 65504",
    )


_WEIGHTINGS = (head.BALANCED, head.NONE)


class HeadOptions(BottleneckOptions):
    """Section [head]: how the softmax layer is trained."""

    class_weighting = luigi.ChoiceParameter(
        default=configured("head", "class_weighting", head.BALANCED, _WEIGHTINGS),
        choices=_WEIGHTINGS,
        description="balanced: each class counts the same; none: each photo does",
    )
    l2 = luigi.FloatParameter(
        default=configured("head", "l2", 0.0),
        description="L2 strength; 0 chooses it on the validation photos",
    )


class CheckOptions(BottleneckOptions):
    """Section [checks]: what the data may not have."""

    fail_on = luigi.StrParameter(
        default=configured("checks", "fail_on", ""),
        description="kinds of faults that stop the run, with commas between: leak, conflict, "
        "label, unreadable, format, duplicate, near_duplicate, outlier, tiny, greyscale, "
        "small_class, imbalance",
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
        visibility=ParameterVisibility.HIDDEN,
        description="where output_dir can be read in a browser; the scheduler's page links to it",
    )
    retries = luigi.IntParameter(
        default=configured("nightly", "retries", 2),
        significant=False,
        visibility=ParameterVisibility.HIDDEN,
        description="how often a failed run is tried again",
    )
    retry_delay = luigi.FloatParameter(
        default=configured("nightly", "retry_delay", 60.0),
        significant=False,
        visibility=ParameterVisibility.HIDDEN,
        description="seconds before it is",
    )


class PruneOptions(OutputOptions):
    """Section [prune]: what is kept of earlier runs."""

    keep = luigi.IntParameter(
        default=configured("prune", "keep", 30),
        description="runs whose results are kept",
    )
    delete = luigi.BoolParameter(
        default=False,
        description="delete; without it, only say what would be deleted",
    )


def refuse_unknown() -> None:
    """Name the options and sections in luigi.cfg that do not exist: misspelt ones mostly.

    Raises:
        UserError: where there is one.
    """
    config = get_config()
    for section in config.sections():
        close = difflib.get_close_matches(section, _known, 1)
        if close and section not in _known:  # others may be Luigi's
            raise UserError(
                f"luigi.cfg: there is no section [{section}]; did you mean [{close[0]}]?"
            )
    for section, names in _known.items():
        for name in config.options(section) if config.has_section(section) else []:
            if name not in names:
                close = difflib.get_close_matches(name, names, 1)
                meant = f"did you mean {close[0]}?" if close else f"it has {', '.join(names)}"
                raise UserError(f"luigi.cfg: [{section}] has no option {name}; {meant}")
