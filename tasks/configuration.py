"""The configuration in luigi.cfg: values of options, checked, and names that nobody knows."""

import difflib
from configparser import InterpolationError
from typing import Any, TypeVar

from luigi.cmdline_parser import CmdlineParser
from luigi.configuration import get_config
from luigi.task_register import Register

from pipeline.errors import UserError

T = TypeVar("T", str, int, float, bool)

_known: dict[str, list[str]] = {}
# Sections that no class of Luigi's stands for.
_LUIGIS = ("cors", "logging", "resources", "retcode", "task_history")


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
    try:
        value = _as_bool(text) if isinstance(default, bool) else type(default)(text)
    except ValueError:
        kind = _KINDS[type(default)]
        raise UserError(f"luigi.cfg: [{section}] {name} is {text!r}, which is not {kind}") from None
    if choices and value not in choices:
        named = ", ".join(map(str, choices))
        raise UserError(f"luigi.cfg: [{section}] {name} is {text!r}; it can be {named}")
    return value


_KINDS = {bool: "true or false", int: "a whole number", float: "a number"}


def _as_bool(text: str) -> bool:
    values = {"true": True, "false": False}
    if text.lower() not in values:
        raise ValueError(text)
    return values[text.lower()]


def refuse_unknown() -> list[str]:
    """Name the options and sections in luigi.cfg that do not exist: misspelt ones mostly.

    Luigi itself names the options in its own sections that it does not have.

    Returns:
        A line for each section that nobody here knows. It may be of another pipeline: Luigi also
        reads the settings of the whole machine.

    Raises:
        UserError: for an option that does not exist, or a section called almost as one of ours.
    """
    config = get_config()
    strange = []
    for section in config.sections():
        if section in _known or section in _LUIGIS or section in Register.task_names():
            continue
        close = difflib.get_close_matches(section, _known, 1)
        if close:
            raise UserError(
                f"luigi.cfg: there is no section [{section}]; did you mean [{close[0]}]?"
            )
        strange.append(f"luigi.cfg: nothing here reads the section [{section}]; it is ignored")
    for section, names in _known.items():
        for name in config.options(section) if config.has_section(section) else []:
            if name not in names:
                close = difflib.get_close_matches(name, names, 1)
                meant = f"did you mean {close[0]}?" if close else f"it has {', '.join(names)}"
                raise UserError(f"luigi.cfg: [{section}] has no option {name}; {meant}")
    return strange


def asked(arguments: list[str]) -> Any:
    """The task that a command line asks for.

    Raises:
        UserError: where an option has a wrong value.
    """
    try:
        with CmdlineParser.global_instance(arguments) as parser:
            return parser.get_task_obj()
    except ValueError as error:
        raise UserError(f"an option on the command line has a wrong value: {error}") from None
