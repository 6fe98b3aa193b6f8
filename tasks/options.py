"""The options of the pipeline, with their units and defaults.

Each can be set in luigi.cfg, in the section that its class names, and overruled on the command
line: `validation_percentage` in luigi.cfg is `--validation-percentage` there. Names are
retrain.py's where it had the option.
"""

import difflib
from configparser import InterpolationError
from pathlib import Path
from typing import Any, TypeVar

import luigi
from luigi.configuration import get_config

from pipeline import features, head_settings
from pipeline.errors import UserError
from pipeline.head_settings import Settings, Sgd

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


_OPTIMIZERS = (head_settings.LBFGS, head_settings.SGD)
_WEIGHTINGS = (head_settings.BALANCED, head_settings.NONE)


class HeadOptions(BottleneckOptions):
    """Section [head]: how the softmax layer is trained."""

    optimizer = luigi.ChoiceParameter(
        default=configured("head", "optimizer", head_settings.LBFGS, _OPTIMIZERS),
        choices=_OPTIMIZERS,
        description="lbfgs: to the optimum, on all photos at once; sgd: in steps, as retrain.py",
    )
    class_weighting = luigi.ChoiceParameter(
        default=configured("head", "class_weighting", head_settings.BALANCED, _WEIGHTINGS),
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
        self.settings = self._settings()  # an impossible value should be heard before any work

    def _settings(self) -> Settings:
        sgd = Sgd(
            self.how_many_training_steps,
            self.learning_rate,
            self.train_batch_size,
            self.eval_step_interval,
            self.validation_batch_size,
            self.random_seed,
        )
        return Settings(
            self.l2,
            self.class_weighting,
            head_settings.parse_class_weights(self.class_weights),
            self.label_smoothing,
            self.calibrate,
            sgd if self.optimizer == head_settings.SGD else None,
        )


class ExportOptions(HeadOptions):
    """Section [export]: the files that come out."""

    final_tensor_name = luigi.StrParameter(
        default=configured("export", "final_tensor_name", "final_result"),
        description="name of the frozen graph's output",
    )


class SearchOptions(HeadOptions):
    """Section [search]: values with commas between; every combination of them is a head."""

    try_tfhub_module = luigi.StrParameter(
        default=configured("search", "try_tfhub_module", ""),
        description="modules to compare, with commas between; empty: tfhub_module alone",
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
