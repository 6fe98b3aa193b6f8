"""What cron or systemd runs: tonight's retrain, tried again where it fails, with a mail at the end.

    python -m tasks.nightly --image-dir photos --scheduler-url http://127.0.0.1:8082

takes the options of NightlyRetrain and of the luigi command.
"""

import html
import logging
import multiprocessing
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection

import luigi
from luigi import notifications
from luigi.retcodes import run_with_retcodes

from pipeline.errors import RETRYABLE, OutageError, UserError
from pipeline.files import locks
from pipeline.nightly import history, history_page, shared_state
from pipeline.nightly.history import Night
from tasks import NightlyRetrain, configuration

# Exit codes beside Luigi's own, which luigi.cfg names.
DONE, MISTAKE, REFUSED, ALREADY_RUNNING, INTERRUPTED = 0, 2, 3, 10, 130


@dataclass(frozen=True)
class Attempt:
    """How one try ended: its exit code, and what failed in it."""

    code: int
    failures: tuple[str, ...]

    def __str__(self) -> str:
        killed = f"killed by {signal.Signals(-self.code).name}" if self.code < 0 else ""
        return "; ".join(filter(None, (*self.failures, killed))) or _MEANING.get(
            self.code, f"exit code {self.code}"
        )


_MEANING = {
    10: "another run is working on these photos",
    25: "the scheduler lost sight of the run",
    40: "the scheduler does not answer, or Luigi itself failed",
}


def main() -> None:
    """Run the night, and exit with a code that says what became of it: see docs/nightly.md."""
    arguments = ["--module", "tasks", "NightlyRetrain", *sys.argv[1:]]
    try:
        task = configuration.asked(arguments)
        with locks.try_exclusive(task.output_dir / locks.NIGHTLY) as held:
            if held is None:
                _say(f"Another nightly run is at work on {task.output_dir}; this one leaves")
                sys.exit(ALREADY_RUNNING)
            # Under one name for each folder, as the lock sees to it that there is but one run: the
            # scheduler gives a run that was killed its work back at once.
            arguments += ["--worker-id", f"nightly run on {task.output_dir}"]
            shared_state.pull(task.output_dir)
            code = _night(task, arguments)
            history_page.write(task.output_dir)
            sys.exit(code)
    except UserError as error:
        _say(str(error))
        sys.exit(MISTAKE)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _night(task: NightlyRetrain, arguments: list[str]) -> int:
    before = len(history.nights(task.output_dir))
    for attempt in range(1 + task.retries):
        if attempt:
            _say(f"Trying again in {task.retry_delay:g} s ({attempt} of {task.retries})")
            time.sleep(task.retry_delay)
        tried = _try(arguments)
        if tried.code in (DONE, MISTAKE, INTERRUPTED):
            break
        _say(f"Failed: {tried}")
    if tried.code == DONE:
        return _ended(task, before)
    if tried.code != INTERRUPTED:
        code = tried.code if tried.code > 0 else 128 - tried.code  # of a signal, as shells do
        reason = str(tried).splitlines()[0]
        history.add(task.output_dir, Night(task.date.isoformat(), history.FAILED, reason))
        try:
            shared_state.share_history(task.output_dir)
        except OutageError as error:  # it may be the very reason
            _say(str(error))
        text = f"{tried}\n\nThe current model stays. Exit code {code}.\n"
        _mail(f"{task.date}: failed", text)
        return code
    return INTERRUPTED


def _ended(task: NightlyRetrain, before: int) -> int:
    """Tell of a run that came to its end, and mail what somebody should look at."""
    nights = history.nights(task.output_dir)
    night = next(n for n in reversed(nights) if n.date == task.date.isoformat())
    summary = f"{night.date}: {night.outcome} ({night.reason})"
    if len(nights) == before:
        _say(f"Nothing to do. {summary}")
    else:
        _say("\n".join([summary, *night.flags]))
        if night.outcome == history.REFUSED or night.flags:
            subject = f"{night.date}: {night.outcome}{', look at it' if night.flags else ''}"
            _mail(subject, "\n".join([summary, *night.flags, "", *history.lines(nights[-14:])]))
    return REFUSED if night.outcome == history.REFUSED else DONE


def _try(arguments: list[str]) -> Attempt:
    """One run of Luigi in a process of its own, which may die of whatever it likes."""
    context = multiprocessing.get_context("fork")  # it holds the lock on, should this one be killed
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(arguments, sender))
    process.start()
    sender.close()
    failures = []
    try:
        while True:
            failures.append(receiver.recv())
    except EOFError:
        process.join()
    assert process.exitcode is not None
    return Attempt(process.exitcode, tuple(failures))


def _run(arguments: list[str], sender: Connection) -> None:
    mistakes = []

    @luigi.Task.event_handler(luigi.Event.FAILURE)
    def failed(task: luigi.Task, error: BaseException) -> None:
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        sender.send(f"{task.task_family}: {kind}{error}")
        if isinstance(error, UserError) and not isinstance(error, RETRYABLE):
            mistakes.append(error)

    try:
        run_with_retcodes(arguments)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except SystemExit as end:
        sys.exit(MISTAKE if mistakes else end.code)


def _mail(subject: str, text: str) -> None:
    """Send a mail to [email] receiver, if luigi.cfg names one; not from a terminal."""
    logging.getLogger("luigi-interface").addHandler(logging.StreamHandler())
    if notifications.email().format == "html":
        text = f"<pre>{html.escape(text)}</pre>"
    notifications.send_error_email(f"Retrain {subject}", text)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
