"""The command line: after a mistake, one line says what is wrong, and the exit code is 2.

Luigi's own parser accepts any unambiguous beginning of an option, prints the usage of all tasks
after a mistake, and takes an invalid value for an error of its own.
"""

import argparse
import contextlib
import io
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from luigi import lock
from luigi.cmdline_parser import CmdlineParser
from luigi.task_register import Register

from pipeline.errors import UserError
from pipeline.files import naming
from tasks import configuration

_EXIT_CODE = 2  # as argparse, and as user errors of the nightly command
_MAIN_TASK = "ExportModel"  # has the options of every step that leads to a model


def refuse_mistakes() -> None:
    """Make Luigi refuse unknown tasks and options, and invalid values, with one line."""
    build: Any = CmdlineParser._build_parser
    get_task: Any = CmdlineParser.get_task_obj

    def build_strict(root_task: str | None = None, help_all: bool = False) -> Any:
        if root_task and root_task not in Register.task_names():
            _exit(_unknown_task(root_task))
        parser = build(root_task, help_all)
        parser.allow_abbrev = False
        parser.error = lambda message: _exit(_reason(message, parser, root_task or ""))
        _check_values(parser, root_task)
        return parser

    def get_task_strict(parser: CmdlineParser) -> Any:
        try:
            return get_task(parser)
        except UserError as error:
            _exit(str(error))

    CmdlineParser._build_parser = staticmethod(build_strict)  # type: ignore[method-assign]
    CmdlineParser.get_task_obj = get_task_strict  # type: ignore[method-assign]


def explain_lock() -> None:
    """Make Luigi say in one clear line that the same command is running already."""
    acquire: Any = lock.acquire_for

    def acquire_or_explain(pid_dir: str, num_available: int = 1, kill_signal: Any = None) -> bool:
        if kill_signal is not None:  # --take-lock
            return bool(acquire(pid_dir, num_available, kill_signal))
        with contextlib.redirect_stdout(io.StringIO()) as said:
            acquired = bool(acquire(pid_dir, num_available))
        if not acquired:
            pids = " ".join(re.findall(r"\d+", said.getvalue()))
            print(
                f"the same command is already running in {Path.cwd()} (process {pids}); wait until "
                f"it ends, or end it with: kill {pids}",
                file=sys.stderr,
            )
        return acquired

    lock.acquire_for = acquire_or_explain


def _check_values(parser: argparse.ArgumentParser, root_task: str | None) -> None:
    """Make a parser check the values that Luigi itself parses later, with a traceback."""

    def checked(text: str, parameter: Any, option: str) -> str:
        try:
            configuration.check_value(text, parameter, option)
        except UserError as error:
            _exit(str(error))
        return text

    actions = {action.dest: action for action in parser._actions}
    for task, _, name, parameter in Register.get_all_params():
        for dest in (f"{task}_{name}", *([name] if task == root_task else [])):
            option = actions[dest].option_strings[0]
            actions[dest].type = partial(checked, parameter=parameter, option=option)


def _reason(message: str, parser: argparse.ArgumentParser, task: str) -> str:
    """Return what is wrong in a command line.

    Args:
        message: that of argparse.
        parser: the parser that refused the command line.
        task: the task that it asks for.
    """
    unknown = message.removeprefix("unrecognized arguments: ")
    if unknown == message:
        return message.removeprefix("argument ")
    word = next((w for w in unknown.split() if w.startswith("-")), unknown.split()[0])
    name = word.partition("=")[0]
    if not name.startswith("-"):
        return f"unexpected argument {name!r}; quote values that contain spaces"
    owners = _owners()
    if name in owners:
        return f"{task} has no option {name}; it is an option of {owners[name]}"
    # Every option of every task exists as --Task-option, too, which hardly anybody means.
    own = [known for known in parser._option_string_actions if not known[2:3].isupper()]
    if close := naming.nearest(name, [*own, *owners]):
        elsewhere = "" if close in own else f", an option of {owners[close]}"
        return f"there is no option {name}; did you mean {close}{elsewhere}?"
    return f"there is no option {name}"


def _owners() -> dict[str, str]:
    """Return a task for each option: the main one if it has it, or else the one with the fewest."""
    parameters = {task: Register.get_task_cls(task).get_params() for task in _tasks()}
    owners: dict[str, str] = {}
    for task in sorted(parameters, key=lambda task: (task != _MAIN_TASK, len(parameters[task]))):
        for name, _ in parameters[task]:
            owners.setdefault(f"--{name.replace('_', '-')}", task)
    return owners


def _unknown_task(name: str) -> str:
    close = naming.nearest(name, Register.task_names())
    remedy = f"did you mean {close}?" if close else f"choose from {', '.join(_tasks())}"
    return f"there is no task {name}; {remedy}"


def _tasks() -> list[str]:
    """Return the names of the steps, without those of Luigi's own tasks."""
    names = (name for name in Register.task_names() if name != "Step")  # their base class
    return [n for n in names if Register.get_task_cls(n).__module__.startswith("tasks.")]


def _exit(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise SystemExit(_EXIT_CODE)
