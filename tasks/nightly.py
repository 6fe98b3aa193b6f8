"""Tonight's run, for cron or systemd: retries after a failure, and a mail about the result.

    python -m tasks.nightly --image-dir photos --scheduler-url http://127.0.0.1:8082

Takes the options of NightlyRetrain and of the luigi command. docs/nightly.md lists the exit codes.
"""

import html
import logging
import multiprocessing
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import luigi
from luigi import notifications
from luigi.retcodes import run_with_retcodes

from pipeline.errors import RETRYABLE, OutageError, UserError
from pipeline.files import locks
from pipeline.nightly import current_model, history, history_page, promotion, shared_state, timeline
from pipeline.nightly.history import Night
from tasks import NightlyRetrain, configuration, scheduler
from tasks.messages import log_interrupt

# Exit codes besides Luigi's own, which luigi.cfg sets.
DONE, MISTAKE, REJECTED, ALREADY_RUNNING, INTERRUPTED = 0, 2, 3, 10, 130
_EXIT_CODE_TEXTS = {
    10: "another run is using these photos",
    25: "the scheduler denied the run",
    40: "the scheduler does not answer, or Luigi itself failed",
}


@dataclass(frozen=True)
class Attempt:
    """The end of one attempt.

    Attributes:
        code: its exit code, which is -n if signal n killed it.
        failures: what failed.
        key: key of the night that it decided, or found decided; empty if it failed.
    """

    code: int
    failures: tuple[str, ...]
    key: str = ""

    def __str__(self) -> str:
        killed = f"killed by {signal.Signals(-self.code).name}" if self.code < 0 else ""
        return "; ".join(filter(None, (*self.failures, killed))) or _EXIT_CODE_TEXTS.get(
            self.code, f"exit code {self.code}"
        )


def main() -> None:
    """Run the night, and exit with a code that tells its outcome."""
    arguments = ["--module", "tasks", "NightlyRetrain", *sys.argv[1:]]
    try:
        task = configuration.parse_task(arguments)
        with locks.try_exclusive(task.output_dir / locks.NIGHTLY) as lock:
            if lock is None:
                _print(f"Another nightly run is active on {task.output_dir}; exiting")
                sys.exit(ALREADY_RUNNING)
            # The lock permits one run per folder, so one worker name per folder is unique. With a
            # fixed name, the scheduler returns the work of a killed run at once.
            arguments += ["--worker-id", f"nightly run on {task.output_dir}"]
            shared_state.pull(task.output_dir)
            code = _run_night(task, arguments)
            history_page.write(task.output_dir)
            sys.exit(code)
    except UserError as error:
        _print(str(error))
        sys.exit(MISTAKE)
    except KeyboardInterrupt as error:
        log_interrupt(type(error), error, None)
        sys.exit(INTERRUPTED)


def _run_night(task: NightlyRetrain, arguments: list[str]) -> int:
    try:
        scheduler.require(arguments)
    except OutageError as error:
        _print(str(error))
        return _report_failure(task, Attempt(scheduler.EXIT_CODE, (str(error),)))
    nights_before = len(history.nights(task.output_dir))
    for retry in range(1 + task.retries):
        if retry:
            _print(f"Trying again in {task.retry_delay:g} s (retry {retry} of {task.retries})")
            time.sleep(task.retry_delay)
        attempt = _attempt(task, arguments)
        if attempt.code in (DONE, MISTAKE, INTERRUPTED):
            break
        _print(f"Failed: {attempt}")
    if attempt.code == DONE:
        return _report_result(task, attempt.key, nights_before)
    if attempt.code == INTERRUPTED:
        return INTERRUPTED
    return _report_failure(task, attempt)


def _report_failure(task: NightlyRetrain, attempt: Attempt) -> int:
    """Record and mail a night without a result; return the exit code."""
    code = attempt.code if attempt.code > 0 else 128 - attempt.code  # of a signal, as in shells
    reason = str(attempt).splitlines()[0]
    history.add(task.output_dir, Night(task.date.isoformat(), history.FAILED, reason))
    try:
        shared_state.share_history(task.output_dir)
    except OutageError as error:  # possibly the reason of the failure
        _print(str(error))
    text = f"{attempt}\n\nThe current model stays. Exit code {code}.\n"
    _mail(f"{task.date}: failed", text)
    return code


def _report_result(task: NightlyRetrain, key: str, nights_before: int) -> int:
    """Print the night's outcome, and mail it if it needs attention; return the exit code."""
    nights = history.nights(task.output_dir)
    night = next(n for n in reversed(nights) if n.key == key)
    if len(nights) == nights_before:
        return _report_earlier(task.output_dir, night)
    _print("\n".join([night.summary, *night.flags]))
    if night.outcome == history.REFUSED or night.flags:
        attention = ", needs attention" if night.flags else ""
        subject = f"{night.date}: {night.outcome_name}{attention}"
        recent = history.lines(timeline.read(task.output_dir)[-14:])
        _mail(subject, "\n".join([night.summary, *night.flags, "", *recent]))
    return REJECTED if night.outcome == history.REFUSED else DONE


def _report_earlier(output_dir: Path, night: Night) -> int:
    """Print the outcome of a night that was decided before, as it stands; return the exit code."""
    current = current_model.get(output_dir)
    name = current.name if current else ""
    _print(f"Nothing to do. {timeline.as_it_stands(night, name).summary}")
    if name == night.model:
        return DONE  # even if it was rejected, and promoted by hand since
    if night.outcome == history.REFUSED:
        return REJECTED
    # For example, a person took a correction back on the same day.
    command = promotion.command(output_dir, output_dir / "models" / night.model)
    _print(
        f"Since then, model {name} was made the current one. The model of these photos and options "
        f"is {night.model}; to make it the current one again: {command}"
    )
    return DONE


def _attempt(task: NightlyRetrain, arguments: list[str]) -> Attempt:
    """Run Luigi once, in a process of its own, which may crash without consequences here."""
    context = multiprocessing.get_context("fork")  # it keeps the lock if this process is killed
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run_luigi, args=(task, arguments, sender))
    process.start()
    sender.close()
    failures, key = [], ""
    try:
        while True:
            failure, key = receiver.recv()
            failures += [failure] if failure else []
    except EOFError:
        process.join()
    assert process.exitcode is not None
    return Attempt(process.exitcode, tuple(failures), key)


def _run_luigi(task: NightlyRetrain, arguments: list[str], sender: Connection) -> None:
    """Run Luigi, and send pairs: what failed, or the key of the decided night."""
    mistakes = []

    @luigi.Task.event_handler(luigi.Event.FAILURE)
    def record_failure(step: luigi.Task, error: BaseException) -> None:
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        sender.send((f"{step.task_family}: {kind}{error}", ""))
        if isinstance(error, UserError) and not isinstance(error, RETRYABLE):
            mistakes.append(error)

    try:
        run_with_retcodes(arguments)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except SystemExit as end:
        if not end.code:
            sender.send(("", task.key()))
        sys.exit(MISTAKE if mistakes else end.code)


def _mail(subject: str, text: str) -> None:
    """Send a mail to [email] receiver, if luigi.cfg names one; not when run from a terminal.

    A failure is only printed: the outcome of the night is the same.
    """
    logging.getLogger("luigi-interface").addHandler(logging.StreamHandler())
    if notifications.email().format == "html":
        text = f"<pre>{html.escape(text)}</pre>"
    try:
        notifications.send_error_email(f"Retrain {subject}", text)
    except Exception as error:  # each method of sending has a library of its own
        _print(f"The mail could not be sent ({error}); check [email] and [smtp] in luigi.cfg")


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
