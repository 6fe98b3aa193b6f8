"""The command line: after an unknown option or task, one line names the nearest that exists.

Luigi's own parser accepts any unambiguous beginning of an option, and prints the usage of all tasks
after a mistake.
"""

import argparse
import difflib
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

from luigi.cmdline_parser import CmdlineParser
from luigi.task_register import Register

_EXIT_CODE = 2  # as argparse, and as user errors of the nightly command


def refuse_unknown() -> None:
    """Make Luigi refuse options that do not exist in full."""
    build: Any = CmdlineParser._build_parser

    def build_strict(root_task: str | None = None, help_all: bool = False) -> Any:
        if root_task and root_task not in Register.task_names():
            _exit(f"there is no task {root_task}{_nearest(root_task, Register.task_names())}")
        parser = build(root_task, help_all)
        parser.allow_abbrev = False
        parser.error = lambda message: _exit(_reason(message, parser))
        return parser

    CmdlineParser._build_parser = staticmethod(build_strict)  # type: ignore[method-assign]


def _reason(message: str, parser: argparse.ArgumentParser) -> str:
    """Return what is wrong in a command line.

    Args:
        message: that of argparse.
        parser: the parser that refused the command line.
    """
    unknown = message.removeprefix("unrecognized arguments: ")
    if unknown == message:
        return message.removeprefix("argument ")
    word = next((w for w in unknown.split() if w.startswith("-")), unknown.split()[0])
    name = word.partition("=")[0]
    if not name.startswith("-"):
        return f"unexpected argument {name!r}; quote values that contain spaces"
    return f"there is no option {name}{_nearest(name, parser._option_string_actions)}"


def _nearest(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, names, 1)
    return f"; did you mean {close[0]}?" if close else ""


def _exit(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise SystemExit(_EXIT_CODE)
