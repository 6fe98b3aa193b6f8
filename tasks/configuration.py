"""The configuration in luigi.cfg: values of options, checked, and names that nobody knows."""

import difflib
from configparser import InterpolationError
from typing import TypeVar

from luigi.configuration import get_config

from pipeline.errors import UserError

T = TypeVar("T", str, int, float, bool)

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
