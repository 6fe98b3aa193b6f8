"""Messages to the user: log lines, a progress bar, and the status on luigid's page."""

import errno
import functools
import logging
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import luigi
from luigi.cmdline_parser import CmdlineParser
from luigi.rpc import RPCError
from tqdm import tqdm

from pipeline.errors import UserError
from pipeline.files import network
from tasks import environment, scheduler, unused_options

logger = logging.getLogger("luigi-interface")

# Prefixes of Luigi's own log lines that repeat what its summary says per class.
_NOISE = (
    "Informed scheduler",
    "Running Worker",
    "Did not schedule",
    "There are no more tasks",
    "There are %s pending tasks",
    "Worker ",
    "[pid %s] Worker",
)
# System errors that a user can resolve, with the remedy.
_REMEDIES = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room, or ask for a larger quota",
    errno.EROFS: "choose a writable output_dir",
    errno.EACCES: "grant this user the permission, or choose another folder",
    errno.EMFILE: "raise the limit: ulimit -n 4096",
    errno.ENFILE: "close other programs",
    errno.ENOMEM: "free memory, or raise the limit of this user or container",
}
# Texts of errors without an errno: TensorFlow, shutil, SQLite and the dynamic loader raise them.
_ERRNO_BY_TEXT = {os.strerror(number): number for number in _REMEDIES} | {
    "database or disk is full": errno.ENOSPC,
    "attempt to write a readonly database": errno.EROFS,
    "failed to map segment from shared object": errno.ENOMEM,
    "can't start new thread": errno.ENOMEM,
    "std::bad_alloc": errno.ENOMEM,
}
# Luigi passes on an error in complete() only as the text of its traceback.
_USER_ERROR = re.compile(rf"^{re.escape(UserError.__module__)}\.\w+: (.*)", re.M | re.S)
_OS_ERROR = re.compile(r"^\w+: \[Errno (\d+)\] (.*)", re.M)
_QUOTED_PATH = re.compile(r"'(/[^']*)'")  # Arrow quotes file names so
_UPDATE_S = 1.0  # seconds between two messages to luigid
_LOG_S = 30.0  # seconds between two log lines where there is no terminal


def tidy(record: logging.LogRecord) -> bool:
    """Filter Luigi's log: drop noise, and tracebacks of problems that the user can resolve."""
    error = record.exc_info[1] if record.exc_info else None
    reason = _reason(error, record)
    if reason:
        record.levelno, record.levelname = logging.ERROR, "ERROR"
        record.msg, record.args = "%s", (reason,)
        record.exc_info = record.exc_text = None
    if str(record.msg).startswith("Failed connecting"):  # the next line says that Luigi retries
        record.msg = f"{record.msg}; if it is not running, start it with make luigid"
        record.exc_info = record.exc_text = None
    if record.msg == "Done scheduling tasks":  # every run logs it once
        _log_settings()
        return False
    return record.levelno > logging.INFO or not str(record.msg).startswith(_NOISE)


@functools.cache  # once, although a worker schedules again and again
def _log_settings() -> None:
    """Log where the options come from that the command line does not set, and unused options."""
    paths = " and ".join(map(str, environment.luigi_cfgs()))
    logger.info(f"Options from {paths}" if paths else f"No luigi.cfg in {Path.cwd()}: defaults")
    if command := CmdlineParser.get_instance():
        for line in unused_options.lines(command.get_task_obj()):
            logger.warning(line)


def _reason(error: BaseException | None, record: logging.LogRecord) -> str:
    """Return what the user can do about an error; empty if only the traceback can tell."""
    if isinstance(error, UserError):
        return str(error)
    if user_error := _USER_ERROR.search(str(record.msg)):
        return user_error[1].strip()
    os_error = _OS_ERROR.search(str(record.msg))
    if os_error and not error:
        error = OSError(int(os_error[1]), os_error[2])
    if isinstance(error, RPCError):
        return f"the scheduler does not answer; {network.reason(error) or scheduler.REMEDY}"
    if number := _resolvable_errno(error):
        places = [getattr(error, "filename", None), *getattr(error, "__notes__", ())]
        places += _QUOTED_PATH.findall(str(error))
        prefix = next((f"{place}: " for place in places if place), "")
        remedy = f"{_REMEDIES[number]}, and run again: finished work is kept"
        return f"{prefix}{os.strerror(number)}; {remedy}"
    if str(error).startswith("Unfulfilled dependenc"):  # raised by Luigi
        return (
            "an input disappeared during the run, for example because a damaged file was deleted; "
            "run again to rebuild it"
        )
    if "Uncaught exception in luigi" in str(record.msg) and (reason := network.reason(error)):
        return f"the scheduler cannot be reached: {reason}"
    return ""


def _resolvable_errno(error: BaseException | None) -> int:
    """Return the errno of a system error that has a remedy, or 0."""
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    number = getattr(error, "errno", None)
    if number is None and isinstance(error, Exception):
        number = next((n for text, n in _ERRNO_BY_TEXT.items() if text in str(error)), 0)
    return number if number in _REMEDIES else 0


class TerminatedError(KeyboardInterrupt):
    """SIGTERM, as an exception that ends everything that Ctrl-C ends."""


def handle_termination() -> None:
    """Make SIGTERM end this process like Ctrl-C, and the processes that it started.

    A handler that exists already stays.
    """
    main, is_main_thread = os.getpid(), threading.current_thread() is threading.main_thread()

    def terminate(number: int, _frame: object) -> None:
        for child in multiprocessing.active_children():
            child.terminate()
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() == main:
            raise TerminatedError
        os.kill(os.getpid(), number)

    if is_main_thread and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, terminate)


def log_interrupt(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Exception hook that replaces the traceback of Ctrl-C, which loses almost nothing."""
    if issubclass(kind, TerminatedError):
        logger.warning("Terminated. Finished work is kept: run again to continue")
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)  # the exit code tells the reason
    elif issubclass(kind, KeyboardInterrupt):
        logger.warning("Interrupted. Finished work is kept: run again to continue")
    else:
        sys.__excepthook__(kind, error, trace)


def log_summary(lines: Iterable[str], prefix: str = "") -> None:
    """Log the first line of a step's summary as information, and the others as warnings."""
    summary, *warnings = lines
    logger.info("%s%s", prefix, summary)
    for line in warnings:
        logger.warning(line)


class Reporter:
    """Show a task's progress on luigid's page, and as a bar on a terminal or else in the log.

    A step may count one thing after another, or resume in the middle; the rate is that of what is
    counted now, since its first report.
    """

    def __init__(self, task: luigi.Task) -> None:
        self._task: Any = task
        self._bar: Any = None  # a tqdm
        self._start, self._first = time.monotonic(), 0
        self._done, self._total = 0, 0
        self._last, self._last_log = -_UPDATE_S, self._start

    def __call__(self, done: int, total: int, message: str) -> None:
        """Implement `pipeline.progress.Progress`."""
        now = time.monotonic()
        counts_anew = total != self._total or done < self._done
        if counts_anew:
            self._start, self._first = now, done
        self._done, self._total = done, total
        unit = " MB" if message.startswith("MB ") else ""
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = tqdm(total=total, dynamic_ncols=True)
            self._bar.unit = unit
            if counts_anew:
                self._bar.reset(total)
                self._bar.n = self._bar.initial = done
            self._bar.set_description(message, refresh=False)
            self._bar.update(done - self._bar.n)
        if now - self._last < _UPDATE_S and done < total:
            return
        self._last = now
        text = f"{done:,} of {total:,} {message}"
        if done > self._first and now > self._start:
            rate = (done - self._first) / (now - self._start)
            speed = f"{rate:,.0f}{unit} a second" if rate >= 1 else f"{1 / rate:,.0f} s each"
            text += f", {speed}, {(total - done) / rate:,.0f} s left"
        if self._bar is None and now - self._last_log > _LOG_S:
            self._last_log = now
            logger.info(text)
        # Luigi's worker sets these while it runs the task.
        if self._task.set_status_message:
            try:
                self._task.set_status_message(text)
                self._task.set_progress_percentage(100 * done // max(total, 1))
            except RPCError:
                logger.warning("The scheduler does not answer; the work continues")

    def close(self) -> None:
        """Finish the bar."""
        if self._bar is not None:
            self._bar.close()
