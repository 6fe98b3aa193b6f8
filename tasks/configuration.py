"""The configuration in luigi.cfg: option values, checked, and names that do not exist."""

import datetime
import math
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from configparser import InterpolationError
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import luigi
from luigi import interface
from luigi.cmdline_parser import CmdlineParser
from luigi.configuration import get_config
from luigi.configuration.cfg_parser import InterpolationMissingEnvvarError
from luigi.parameter import ParameterException
from luigi.task_register import Register

from pipeline.errors import UserError
from pipeline.files import naming

T = TypeVar("T", str, int, float, bool)

_options: dict[str, dict[str, Any]] = {}  # our options with their defaults, by section
# Luigi's sections that are not named after one of its classes.
_LUIGI_SECTIONS = ("cors", "logging", "resources", "retcode", "task_history")
_PARAMETERS: dict[type, Callable[..., Any]] = {
    # Both `--onnx` and `--onnx false` are possible.
    bool: partial(luigi.BoolParameter, parsing=luigi.BoolParameter.EXPLICIT_PARSING),
    int: luigi.IntParameter,
    float: luigi.FloatParameter,
    str: luigi.StrParameter,
}
# Luigi's own options wherever a command starts, with or without a luigi.cfg that overrides them.
LUIGI_DEFAULTS = {
    "core": {"local_scheduler": "true", "log_level": "INFO"},
    "worker": {"check_complete_on_run": "true", "send_failure_email": "false"},
    "retcode": {
        "already_running": "10",
        "missing_data": "20",
        "not_run": "25",
        "task_failed": "30",
        "scheduling_error": "35",
        "unhandled_exception": "40",
    },
}
_TYPE_NAMES: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    datetime.date: "a date, such as 2026-01-31",
    datetime.timedelta: "a duration, such as 30 seconds",
}


def set_luigi_defaults(arguments: Sequence[str]) -> None:
    """Set Luigi's own options that neither luigi.cfg nor the command line sets.

    Args:
        arguments: the command line. If it or luigi.cfg names a scheduler, the default is not the
            local one.
    """
    config = get_config()
    if any(argument.startswith("--scheduler-") for argument in arguments):
        config.set("core", "local_scheduler", "false")
    core = config.options("core") if config.has_section("core") else []
    if any("scheduler" in name and not name.startswith("local") for name in core):
        config.set("core", "local_scheduler", config.get("core", "local_scheduler", "false"))
    # Luigi refuses a command that is running already. By default, it takes the same command in
    # another folder for the same one, and its folder of locks belongs to the first user.
    locks = Path(tempfile.gettempdir(), f"luigi-{os.getuid()}-{naming.digest(str(Path.cwd()))}")
    defaults = LUIGI_DEFAULTS | {"core": LUIGI_DEFAULTS["core"] | {"lock_pid_dir": str(locks)}}
    for section, values in defaults.items():
        for name, value in values.items():
            if not config.has_option(section, name):
                config.set(section, name, value)
    # The metrics in luigi.cfg are for luigid; a local scheduler must not require prometheus-client.
    config.set("scheduler", "metrics_collector", "default")


def config_default(section: str, name: str, default: T, choices: tuple[T, ...] = ()) -> T:
    """Return the value of an option in luigi.cfg, or the default.

    Raises:
        UserError: if the value is not of the default's type, or not one of the choices.
    """
    _options.setdefault(section, {})[name] = default
    text = _text(section, name)
    if text is None:
        return default
    convert = _as_bool if isinstance(default, bool) else type(default)
    return _parse(text, convert, default, choices, f"luigi.cfg: [{section}] {name}")


def _text(section: str, name: str) -> str | None:
    try:
        text: str | None = get_config().get(section, name, None)
    except InterpolationMissingEnvvarError as error:  # its message may contain a password
        variable = re.sub(r".*variable (.*)\. Section .*", r"\1", str(error), flags=re.DOTALL)
        raise UserError(
            f"luigi.cfg: [{section}] {name}: there is no environment variable {variable}; set it"
        ) from None
    except InterpolationError:
        raise UserError(f"luigi.cfg: [{section}] {name}: write a % sign as %%") from None
    return text


def _parse(text: str, convert: Any, default: T, choices: tuple[T, ...], option: str) -> T:
    """Convert the text of an option's value; raise a UserError that names it if invalid."""
    if choices:
        requirement = "choose from " + ", ".join(str(choice) for choice in choices if choice != "")
    else:
        requirement = f"it must be {_TYPE_NAMES.get(type(default), 'valid')}"
    with suppress(ValueError, ParameterException):
        value: T = convert(text)
        if not choices or value in choices:
            return value
    raise UserError(f"{option} is {text!r}; {requirement}")


def option(
    path: str,
    default: T,
    description: str,
    *,
    choices: tuple[T, ...] = (),
    least: float = -math.inf,
    most: float = math.inf,
    significant: bool = True,
    kind: type[luigi.Parameter[Any]] | None = None,
) -> T:
    """Declare an option that luigi.cfg can set.

    Args:
        path: its section and name in luigi.cfg, such as "head.l2"; the class attribute has the
            same name.
        default: value where luigi.cfg does not set it; its type is that of the option.
        description: text for `--help`, with units.
        choices: allowed values; empty allows all.
        least, most: the smallest and the largest number allowed.
        significant: whether the value is part of a task's identity.
        kind: Luigi parameter class, if not the usual one for the type.

    Returns:
        The Luigi parameter. Its type here is that of the values that tasks see.
    """
    section, _, name = path.partition(".")
    value: Any = config_default(section, name, default, choices)
    arguments: dict[str, Any] = {"description": description, "significant": significant}
    if choices:
        parameter: Any = luigi.ChoiceParameter(default=value, choices=choices, **arguments)
    else:
        parameter = (kind or _PARAMETERS[type(default)])(default=value, **arguments)
    # Luigi's own errors name neither the option nor the type.
    flag = f"--{name.replace('_', '-')}"
    parameter.parse = partial(
        _parse, convert=parameter.parse, default=default, choices=choices, option=flag
    )
    if isinstance(default, int | float) and not isinstance(default, bool):
        parameter.normalize = partial(_within, least=least, most=most, name=name)
    return parameter  # type: ignore[no-any-return]


def _within(value: float, least: float, most: float, name: str) -> float:
    """Return a number that is in its range; raise a UserError that names the option if not."""
    if math.isfinite(value) and least <= value <= most:
        return value
    if math.isinf(least):
        raise UserError(f"{name} is {value:g}; it must be a number")
    bounds = f"at least {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"
    raise UserError(f"{name} is {value:g}; it must be {bounds}")


def built_in(name: str) -> Any:
    """Return the value of an option that neither luigi.cfg nor the command line sets."""
    return next(defaults[name] for defaults in _options.values() if name in defaults)


def _as_bool(text: str) -> bool:
    values = {"true": True, "false": False}
    if text.lower() not in values:
        raise ValueError(text)
    return values[text.lower()]


def check_names() -> list[str]:
    """Find sections and options in luigi.cfg that do not exist, most of which are misspelt.

    Luigi itself reports unknown options in its own sections.

    Returns:
        A warning for each unknown section. It may belong to another pipeline: Luigi also reads the
        system-wide configuration.

    Raises:
        UserError: for an unknown option, or for a section whose name is close to one of ours.
    """
    config = get_config()
    warnings = []
    for section in config.sections():
        if section in _options or section in _LUIGI_SECTIONS or section in Register.task_names():
            continue
        if close := naming.nearest(section, _options):
            raise UserError(f"luigi.cfg: there is no section [{section}]; did you mean [{close}]?")
        warnings.append(f"luigi.cfg: ignoring unknown section [{section}]")
    for section, names in _options.items():
        for name in config.options(section) if config.has_section(section) else []:
            if name not in names:
                close = naming.nearest(name, names)
                hint = f"did you mean {close}?" if close else f"it has {', '.join(names)}"
                raise UserError(f"luigi.cfg: [{section}] has no option {name}; {hint}")
    return warnings


def check_luigi_options() -> None:
    """Check the values in Luigi's own sections of luigi.cfg, most of which are used much later.

    Raises:
        UserError: if one is invalid.
    """
    config = get_config()
    tasks = set(Register.task_names())
    for section in sorted((tasks | set(_LUIGI_SECTIONS)).intersection(config.sections())):
        parameters = dict(Register.get_task_cls(section).get_params()) if section in tasks else {}
        for name in config.options(section):
            text, parameter = _text(section, name), parameters.get(name)
            if text is not None and parameter:
                check_value(text, parameter, f"luigi.cfg: [{section}] {name}")


def check_value(text: str, parameter: Any, option: str) -> None:
    """Check the text of an option's value, which Luigi itself parses later.

    Raises:
        UserError: if it is invalid; the message names the option.
    """
    choices = tuple(sorted(getattr(parameter, "_choices", ())))
    default = 0 if isinstance(parameter, luigi.IntParameter) else parameter._default
    value = _parse(text, parameter.parse, default, choices, option)
    if parameter in (interface.core.workers, interface.core.lock_size):  # 0 permits no run
        _within(value, 1, math.inf, option)
    if parameter is interface.core.logging_conf_file and value and not Path(value).is_file():
        raise UserError(f"{option}: there is no file {value}; correct the path")


def parse_task(arguments: list[str]) -> Any:
    """Return the task that a command line asks for."""
    with CmdlineParser.global_instance(arguments) as parser:
        return parser.get_task_obj()
