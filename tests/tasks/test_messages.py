"""Messages: errors with their remedy, and the progress."""

import errno
import io
import logging
import shutil
import sqlite3
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from luigi.rpc import RPCError

from pipeline.errors import UserError
from tasks import messages
from tasks.messages import Reporter, tidy


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def task() -> Any:
    shown_messages: list[tuple[str, int]] = []
    return SimpleNamespace(
        shown_messages=shown_messages,
        set_status_message=lambda text: shown_messages.append((text, -1)),
        set_progress_percentage=lambda percent: shown_messages.append(
            (shown_messages.pop()[0], percent)
        ),
    )


def record(
    message: str, error: BaseException | None = None, level: int = logging.ERROR
) -> logging.LogRecord:
    info = (type(error), error, None) if error else None
    return logging.LogRecord("luigi-interface", level, "", 0, message, (), info)


def test_a_mistake_of_the_users_is_shown_without_a_traceback() -> None:
    shown = record("[pid 7] Worker failed", UserError("image_dir: there is no folder x"))
    assert tidy(shown)
    assert shown.getMessage() == "image_dir: there is no folder x"
    assert shown.exc_info is None


def test_an_error_of_ours_keeps_its_traceback() -> None:
    shown = record("[pid %s] Worker %s failed    %s", ValueError("a bug"))
    assert tidy(shown)
    assert shown.exc_info is not None


@pytest.mark.parametrize("in_complete", [False, True])
def test_a_file_that_may_not_be_read_is_named(in_complete: bool) -> None:
    detail = "Failed to open local file '/out/part.parquet'. Detail: [errno 13] Permission denied"
    error = PermissionError(errno.EACCES, detail)
    text = (
        f"Will not run X due to error in complete() method:\nTraceback:\nPermissionError: {error}"
    )
    shown = record(text) if in_complete else record("[pid 7] Worker failed", error)
    assert tidy(shown)
    assert shown.getMessage() == (
        "/out/part.parquet: Permission denied; grant this user the permission, or choose another "
        "folder, and run again: finished work is kept"
    )


def test_a_result_that_vanishes_between_two_steps_is_no_traceback() -> None:
    shown = record("[pid 7] Worker failed", RuntimeError("Unfulfilled dependency at run time: X"))
    assert tidy(shown)
    assert shown.getMessage().startswith("an input disappeared during the run")


def test_luigis_noise_is_left_out() -> None:
    assert not tidy(record("Informed scheduler that task   %s", level=logging.INFO))
    assert tidy(record("The model is in %s", level=logging.INFO))


def test_a_scheduler_that_does_not_answer_is_shown_with_the_remedy() -> None:
    shown = record("Uncaught exception in luigi", RPCError("3 attempts"))
    assert tidy(shown)
    assert "start it with make luigid" in shown.getMessage()


def test_luigid_is_told_the_percentage_and_what_is_going_on() -> None:
    status = task()
    report = Reporter(status)
    report(0, 200, "photos processed by the module")
    report(200, 200, "photos processed by the module")
    (first, _), (last, percent) = status.shown_messages
    assert first == "0 of 200 photos processed by the module"
    assert last.startswith("200 of 200 photos processed by the module, ")
    assert "a second" in last
    assert percent == 100


def test_luigid_is_not_told_more_than_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(messages.time, "monotonic", lambda: clock[0])
    status = task()
    report = Reporter(status)
    for done in range(31):
        clock[0] = done / 10
        report(done, 1000, "photos")
    assert [text.split()[0] for text, _ in status.shown_messages] == ["0", "10", "20", "30"]


def test_a_log_gets_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [0.0]
    monkeypatch.setattr(messages.time, "monotonic", lambda: clock[0])
    caplog.set_level(logging.INFO, "luigi-interface")
    messages.logger.addHandler(caplog.handler)
    report = Reporter(task())
    for second in range(100):
        clock[0] = second
        report(second, 100, "photos")
    messages.logger.removeHandler(caplog.handler)
    assert [line.split()[0] for line in caplog.messages] == ["31", "62", "93"]
    assert caplog.messages[0] == "31 of 100 photos, 1 a second, 69 s left"


def test_the_rate_is_that_of_what_is_counted_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr(messages.time, "monotonic", lambda: clock[0])
    status = task()
    report = Reporter(status)
    counted = ((0, 100, 500), (10, 500, 500), (20, 600, 900), (30, 700, 900))
    for second, done, total in counted:
        clock[0] = second
        report(done, total, "photos")
    assert [text.partition(",")[2] for text, _ in status.shown_messages] == [
        "",  # resumed here
        " 40 a second, 0 s left",
        "",  # resumed here
        " 10 a second, 20 s left",
    ]


def test_the_rate_of_a_download_has_a_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(messages.time, "monotonic", lambda: clock[0])
    status = task()
    report = Reporter(status)
    report(110, 132, "MB of resnet.tar.gz downloaded")
    clock[0] = 2
    report(120, 132, "MB of resnet.tar.gz downloaded")
    assert [text for text, _ in status.shown_messages] == [
        "110 of 132 MB of resnet.tar.gz downloaded",
        "120 of 132 MB of resnet.tar.gz downloaded, 5 MB a second, 2 s left",
    ]


def last_of_the_bar(monkeypatch: pytest.MonkeyPatch, *reports: tuple[int, int, str]) -> str:
    """Return what a terminal shows after reports of progress."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    report = Reporter(task())
    for done, total, message in reports:
        report(done, total, message)
    report.close()
    return terminal.getvalue().split("\r")[-1]


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    message = "photos processed by the module"
    last = last_of_the_bar(monkeypatch, (0, 50, message), (50, 50, message))
    assert "photos processed by the module: 100%" in last
    assert "50/50" in last


def test_a_bar_starts_again_where_something_else_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    message = "photos trained on"
    reports = ((50, 50, "photos decoded"), (30, 90, message), (90, 90, message))
    last = last_of_the_bar(monkeypatch, *reports)
    assert "photos trained on: 100%" in last
    assert "90/90" in last


def test_without_a_worker_progress_is_only_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [0.0]
    monkeypatch.setattr(messages.time, "monotonic", lambda: clock[0])
    caplog.set_level(logging.INFO, "luigi-interface")
    messages.logger.addHandler(caplog.handler)
    silent = SimpleNamespace(set_status_message=None, set_progress_percentage=None)
    report = Reporter(silent)  # type: ignore[arg-type]
    report(0, 2, "photos")
    clock[0] = 50
    report(1, 2, "photos")
    messages.logger.removeHandler(caplog.handler)
    assert caplog.messages == ["1 of 2 photos, 50 s each, 50 s left"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        shutil.Error([("from", "to", "[Errno 28] No space left on device: 'to'")]),
        sqlite3.OperationalError("database or disk is full"),
        RuntimeError("{{node x}} /a/saved_model.pb; No space left on device [Op:Merge]"),
    ],
)
def test_a_full_disk_is_shown_in_a_line_whoever_notices_it(error: Exception) -> None:
    error.add_note("while writing /a")
    shown = record("[pid 7] Worker failed", error)
    assert tidy(shown)
    assert shown.getMessage() == (
        "while writing /a: No space left on device; make room on the disk, and run again: "
        "finished work is kept"
    )


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        ImportError("libtensorflow_cc.so.2: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
    ],
)
def test_used_up_memory_is_shown_in_a_line(error: Exception) -> None:
    shown = record("[pid 7] Worker failed", error)
    assert tidy(shown)
    assert shown.getMessage().startswith("Cannot allocate memory; free memory, or raise")


def test_a_scheduler_behind_a_dead_proxy_is_not_said_to_be_stopped() -> None:
    refused = ConnectionError("(Caused by ProxyError('Unable to connect to proxy', NewConn")
    shown = record("Uncaught exception in luigi", RPCError("3 attempts", refused))
    assert tidy(shown)
    assert "the proxy does not answer; correct http_proxy" in shown.getMessage()
    assert "make luigid" not in shown.getMessage()


def test_a_missing_file_of_certificates_is_one_line() -> None:
    text = "Could not find a suitable TLS CA certificate bundle, invalid path: /nowhere.pem"
    shown = record("Uncaught exception in luigi", OSError(text))
    assert tidy(shown)
    assert shown.getMessage() == (
        "the scheduler cannot be reached: REQUESTS_CA_BUNDLE names /nowhere.pem, which does not "
        "exist; correct it or unset it"
    )
