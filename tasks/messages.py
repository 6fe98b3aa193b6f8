"""What the user gets to see: log lines, a progress bar, and the status on luigid's page."""

import errno
import logging
import os
import re
import sys
import time
from collections.abc import Iterable
from typing import Any

import luigi
from luigi.rpc import RPCError
from tqdm import tqdm

from pipeline.errors import UserError

logger = logging.getLogger("luigi-interface")

# How Luigi's own lines begin that say no more than the summary does, one for each class.
_NOISE = (
    "Informed scheduler",
    "Running Worker",
    "Done scheduling",
    "Did not schedule",
    "There are no more tasks",
    "There are %s pending tasks",
    "Worker ",
    "[pid %s] Worker",
)
# What the machine may refuse, and the remedy.
_REFUSALS = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room, or ask for a larger quota",
    errno.EROFS: "choose an output_dir that can be written to",
    errno.EACCES: "give this user the permission, or choose another folder",
    errno.EMFILE: "raise the limit: ulimit -n 4096",
    errno.ENFILE: "close other programs",
    errno.ENOMEM: "free some memory, or raise the limit of this user or container",
}
# Who says it in words, and not with a number: TensorFlow, shutil, SQLite, the loader of libraries.
_WORDS = {os.strerror(number): number for number in _REFUSALS} | {
    "database or disk is full": errno.ENOSPC,
    "attempt to write a readonly database": errno.EROFS,
    "failed to map segment from shared object": errno.ENOMEM,
    "can't start new thread": errno.ENOMEM,
    "std::bad_alloc": errno.ENOMEM,
}
_ASKED = re.compile(r"^pipeline\.errors\.\w+: (.*)", re.M | re.S)  # the end of a traceback
_REFUSED = re.compile(r"^\w+: \[Errno (\d+)\] (.*)", re.M)  # the same, from the machine
_QUOTED = re.compile(r"'(/[^']*)'")  # how Arrow names a file
_SECONDS = 1.0  # between two messages to luigid
_SECONDS_OF_LOG = 30.0  # between two lines of a log that no terminal shows


def tidy(record: logging.LogRecord) -> bool:
    """Filter of Luigi's log: no noise, and no traceback for what the user can put right."""
    error = record.exc_info[1] if record.exc_info else None
    reason = _reason(error, record)
    if reason:
        record.levelno, record.levelname = logging.ERROR, "ERROR"
        record.msg, record.args = "%s", (reason,)
        record.exc_info = record.exc_text = None
    if str(record.msg).startswith("Failed connecting"):  # what Luigi does about it comes next
        record.exc_info = record.exc_text = None
    return record.levelno > logging.INFO or not str(record.msg).startswith(_NOISE)


def _reason(error: BaseException | None, record: logging.LogRecord) -> str:
    """What the user can do about an error; empty where the traceback has to tell."""
    if isinstance(error, UserError):
        return str(error)
    looking = _ASKED.search(str(record.msg))  # for results, as in a store that is silent
    if looking:
        return looking[1].strip()
    refused = _REFUSED.search(str(record.msg))
    if refused and not error:
        error = OSError(int(refused[1]), refused[2])
    if isinstance(error, RPCError):
        return "the scheduler does not answer; start it with make luigid, or run without SCHEDULER"
    refusal = _refusal(error)
    if refusal:
        where = [getattr(error, "filename", None), *getattr(error, "__notes__", ())]
        where += _QUOTED.findall(str(error))
        named = next((f"{place}: " for place in where if place), "")
        remedy = _REFUSALS[refusal]
        return f"{named}{os.strerror(refusal)}; {remedy}, and run again: what is done is kept"
    if str(error).startswith("Unfulfilled dependenc"):  # Luigi's
        return "what this step needs has gone meanwhile, as a damaged file does; it is made again"
    if isinstance(error, ValueError) and "Uncaught exception in luigi" in str(record.msg):
        return f"an option on the command line has a wrong value: {error}"  # from parsing them
    return ""


def _refusal(error: BaseException | None) -> int:
    """The number of what the machine has refused; 0 where it was something else."""
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    number = getattr(error, "errno", None)
    if number is None and isinstance(error, Exception):
        number = next((of for words, of in _WORDS.items() if words in str(error)), 0)
    return number if number in _REFUSALS else 0


def interrupted(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Exception hook: Ctrl-C is no mistake, and loses next to nothing."""
    if issubclass(kind, KeyboardInterrupt):
        logger.warning("Interrupted. What was computed is kept: run it again to go on")
    else:
        sys.__excepthook__(kind, error, trace)


def tell(remarks: Iterable[str], of: str = "") -> None:
    """Log what a step has done, and, as warnings, what a user should know of it."""
    done, *warnings = remarks
    logger.info("%s%s", of, done)
    for line in warnings:
        logger.warning(line)


class Reporter:
    """Shows the progress of a task: a bar on a terminal, else a log line; and on luigid's page."""

    def __init__(self, task: luigi.Task) -> None:
        self._task: Any = task
        self._bar: Any = None  # a tqdm
        self._start = time.monotonic()
        self._last, self._last_log = -_SECONDS, self._start

    def __call__(self, done: int, total: int, message: str) -> None:
        """Implements `pipeline.progress.Progress`."""
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = tqdm(total=total, unit="", dynamic_ncols=True)
            self._bar.set_description(message, refresh=False)
            self._bar.update(done - self._bar.n)
        now = time.monotonic()
        if now - self._last < _SECONDS and done < total:
            return
        self._last = now
        text = f"{done:,} of {total:,} {message}"
        if done and now > self._start:
            rate = done / (now - self._start)
            text += f", {rate:,.0f} a second, {(total - done) / rate:,.0f} s left"
        if self._bar is None and now - self._last_log > _SECONDS_OF_LOG:
            self._last_log = now
            logger.info(text)
        # Luigi's worker puts these in place while it runs the task.
        if self._task.set_status_message:
            try:
                self._task.set_status_message(text)
                self._task.set_progress_percentage(100 * done // max(total, 1))
            except RPCError:
                logger.warning("The scheduler does not answer; the work goes on")

    def close(self) -> None:
        """End the bar's line."""
        if self._bar is not None:
            self._bar.close()
