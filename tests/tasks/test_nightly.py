"""The nightly command, as processes, with a local mail server."""

import email
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.files import locks
from pipeline.nightly import history, promotion
from tasks import nightly
from tasks.nightly import Attempt
from tests.support.commands import ROOT, environment
from tests.support.store import saved

pytestmark = pytest.mark.slow  # nearly every test starts processes

SETTINGS = (ROOT / "luigi.cfg").read_text()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def mails() -> Iterator[Any]:
    """Start a mail server with its `port` and the `received` mails."""
    from aiosmtpd.controller import Controller

    class Keep:
        def __init__(self) -> None:
            self.received: list[Any] = []

        async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
            self.received.append(email.message_from_bytes(envelope.content))
            return "250 OK"

    keep: Any = Keep()
    controller = Controller(keep, hostname="127.0.0.1", port=free_port())
    controller.start()
    keep.port = controller.port
    yield keep
    controller.stop()


@pytest.fixture
def site(photo_dir: Path, tiny_module: Path, tmp_path: Path) -> "Site":
    return Site(photo_dir, tiny_module, tmp_path / "out", tmp_path)


class Site:
    """A folder with a luigi.cfg, in which the command runs."""

    def __init__(self, photos: Path, module: Path, out: Path, directory: Path) -> None:
        self.out, self.directory = out, directory
        self.options: list[object] = ["--image-dir", photos, "--output-dir", out]
        self.options += ["--tfhub-module", module, "--retry-delay", 0]
        self.configure()

    def configure(self, port: int = 0) -> None:
        mail = "[email]\nreceiver = owner@example.org\nsender = retrain@example.org\n"
        settings = SETTINGS.replace("[email]\n", mail) if port else SETTINGS
        smtp = f"[smtp]\nhost = 127.0.0.1\nport = {port}\n"
        (self.directory / "luigi.cfg").write_text(settings.replace("[smtp]\n", smtp))

    def start(self, *options: object) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "tasks.nightly", *map(str, [*self.options, *options])]
        return subprocess.Popen(
            command,
            cwd=self.directory,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *options: object) -> tuple[int, str]:
        process = self.start(*options)
        _, output = process.communicate(timeout=300)
        return process.returncode, output

    def outcomes(self) -> list[str]:
        return [night.outcome for night in history.nights(self.out)]


def texts(mails: Any) -> list[tuple[str, str]]:
    return [
        (m["Subject"], m.get_payload(0).get_payload(decode=True).decode()) for m in mails.received
    ]


def test_a_night_ends_well_and_nobody_is_mailed(site: Site, mails: Any) -> None:
    site.configure(mails.port)
    code, output = site.run("--date", "2026-11-01")
    assert code == 0, output
    assert (
        output.splitlines()[-1]
        == "2026-11-01 promoted: the first model, with none to compare it with"
    )
    code, output = site.run("--date", "2026-11-01")
    assert code == 0
    assert output.splitlines()[-1].startswith("Nothing to do. 2026-11-01 promoted: ")
    assert (site.out / "history.html").exists()
    code, output = site.run("--date", "2026-11-01", "--tolerance", 2)
    assert output.splitlines()[-1].startswith("2026-11-01 unchanged: ")
    code, output = site.run("--date", "2026-11-01")
    assert output.splitlines()[-1].startswith("Nothing to do. 2026-11-01 promoted: ")
    assert mails.received == []


def test_a_refused_model_is_mailed_with_the_reason(
    site: Site, mails: Any, mislabel: Callable[[], None]
) -> None:
    site.run("--date", "2026-11-01")
    site.configure(mails.port)
    mislabel()
    code, output = site.run("--date", "2026-11-02", "--assert-accuracy-at-least", 1)
    assert code == 3, output
    ((subject, text),) = texts(mails)
    assert subject == "Retrain 2026-11-02: rejected"
    assert "is below assert_accuracy_at_least" in text
    assert "2026-11-01" in text
    assert mails.received[0]["To"] == "owner@example.org"
    assert site.outcomes() == ["promoted", "refused"]
    code, output = site.run("--date", "2026-11-02", "--assert-accuracy-at-least", 1)
    assert code == 3
    assert len(mails.received) == 1


def test_a_mistake_is_not_retried_and_has_an_exit_code_of_its_own(
    site: Site, mails: Any, photo_dir: Path
) -> None:
    site.configure(mails.port)
    photo_dir.rename(photo_dir.with_name("elsewhere"))
    code, output = site.run("--date", "2026-11-01")
    assert code == 2
    assert "Trying again" not in output
    assert site.outcomes() == ["failed"]
    ((subject, text),) = texts(mails)
    assert subject == "Retrain 2026-11-01: failed"
    assert f"there is no folder {photo_dir}" in text


def test_a_failed_stage_is_retried_so_often_and_mailed_once(site: Site, mails: Any) -> None:
    site.configure(mails.port)
    site.out.mkdir()
    (site.out / "manifests").write_text("a file where a folder has to be")
    code, output = site.run("--date", "2026-11-01", "--retries", 2)
    assert code == 30
    assert output.count("Failed: SplitDataset: ") == 3
    assert "Trying again in 0 s (retry 2 of 2)" in output
    ((_, text),) = texts(mails)
    assert "Exit code 30" in text
    (night,) = history.nights(site.out)
    assert night.outcome == "failed"
    assert "SplitDataset" in night.reason


def test_a_damaged_file_does_not_cost_the_night(
    site: Site, photo_dir: Path, make_photo: Callable[..., Path]
) -> None:
    site.run("--date", "2026-11-01")
    (part,) = site.out.glob("bottlenecks/*/red_rose-*/part-00000.parquet")
    vector = pq.read_metadata(part).row_group(0).column(5)
    content = bytearray(part.read_bytes())
    content[vector.data_page_offset + vector.total_compressed_size // 2] ^= 1
    part.write_bytes(content)
    make_photo(photo_dir / "green leaf/new.jpg", 0, 100)
    code, output = site.run("--date", "2026-11-02", "--retries", 1)
    assert f"deleted {part}, which was damaged" in output
    assert code == 0, output
    assert site.outcomes()[0] == "promoted"
    assert len(site.outcomes()) == 2


def test_a_mail_server_that_is_away_stops_nothing(site: Site, photo_dir: Path) -> None:
    site.configure(free_port())
    photo_dir.rename(photo_dir.with_name("elsewhere"))
    code, output = site.run("--date", "2026-11-01")
    assert code == 2
    assert "Not able to connect to smtp server" in output


def test_without_a_scheduler_the_run_fails_at_once_and_says_why(site: Site) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    code, output = site.run("--date", "2026-11-01", "--scheduler-url", url)
    assert code == 40
    reason = f"the scheduler at {url} does not answer; start it with make luigid, or run without"
    assert output == f"{reason} SCHEDULER\n"
    assert site.outcomes() == ["failed"]
    assert " 0.0 " not in "".join(history.lines(history.nights(site.out)))


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--tolerance", "much", "--tolerance is 'much'; it must be a number"),
        ("--testing-percentage", 95, "together they must be below 100"),
    ],
)
def test_a_wrong_option_is_one_line(site: Site, option: str, value: object, reason: str) -> None:
    code, output = site.run(option, value)
    assert code == 2
    assert "Traceback" not in output
    assert reason in output


def test_of_two_runs_at_once_one_works_and_the_other_leaves(site: Site) -> None:
    first = site.start("--date", "2026-11-01")
    while not (site.out / locks.NIGHTLY).exists():
        time.sleep(0.02)
    time.sleep(0.2)
    code, output = site.run("--date", "2026-11-01")
    assert code == 10
    assert output.strip() == f"Another nightly run is active on {site.out}; exiting"
    _, output = first.communicate(timeout=300)
    assert first.returncode == 0, output
    assert site.outcomes() == ["promoted"]


def test_a_process_that_dies_is_started_again(site: Site) -> None:
    """The kernel may kill the child process when memory runs out."""
    run = site.start("--date", "2026-11-01")
    while not list(site.out.glob("manifests/[!.]*.parquet")):
        assert run.poll() is None
        time.sleep(0.02)
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    _, output = run.communicate(timeout=300)
    assert "Failed: killed by SIGKILL" in output
    assert run.returncode == 0, output
    assert site.outcomes() == ["promoted"]


def test_an_attempt_says_what_failed_or_what_its_code_means() -> None:
    assert str(Attempt(30, ("TrainHead: OSError: disk full",))) == "TrainHead: OSError: disk full"
    assert str(Attempt(25, ())) == "the scheduler denied the run"
    assert str(Attempt(-9, ())) == "killed by SIGKILL"
    assert str(Attempt(35, ())) == "exit code 35"


def test_a_mail_that_cannot_be_sent_changes_neither_the_code_nor_the_history(
    site: Site, photo_dir: Path
) -> None:
    site.configure(free_port())
    path = site.directory / "luigi.cfg"
    path.write_text(path.read_text().replace("[email]\n", "[email]\ntype = sendgrid\n"))
    photo_dir.rename(photo_dir.with_name("elsewhere"))
    code, output = site.run("--date", "2026-11-01")
    assert code == 2
    assert f"there is no folder {photo_dir}" in output
    assert "The mail could not be sent (" in output
    assert "Traceback" not in output
    assert site.outcomes() == ["failed"]


def test_a_percent_sign_in_the_password_is_one_line_when_the_night_starts(site: Site) -> None:
    path = site.directory / "luigi.cfg"
    path.write_text(path.read_text().replace("[smtp]\n", "[smtp]\npassword = 50%off\n"))
    code, output = site.run()
    assert code == 1
    assert output == "luigi.cfg: [smtp] password: write a % sign as %%\n"
    assert not site.out.exists()


def test_a_rejected_model_that_was_promoted_by_hand_needs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(tmp_path / "models/m2")
    reason = f"worse; {promotion.ADVICE}make promote MODEL=m2"
    history.add(tmp_path, history.Night("2026-11-02", history.REFUSED, reason, "k", model="m2"))
    task: Any = SimpleNamespace(output_dir=tmp_path)
    assert nightly._report_result(task, "k", 1) == nightly.REJECTED
    assert promotion.ADVICE in capsys.readouterr().err
    promotion.promote_named(tmp_path, "m2")
    assert nightly._report_result(task, "k", 1) == nightly.DONE
    assert promotion.ADVICE not in capsys.readouterr().err


def test_a_night_that_is_repeated_after_a_rollback_says_which_model_is_current(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model in ("m1", "m2"):
        move = promotion.promote(tmp_path, saved(tmp_path / "models" / model), promotion.NIGHTLY)
        row = history.Night("2026-11-02", history.PROMOTED, "", f"key of {model}", model=model)
        history.add(tmp_path, row, move)
    promotion.rollback(tmp_path)
    task: Any = SimpleNamespace(output_dir=tmp_path)
    assert nightly._report_result(task, "key of m2", 2) == nightly.DONE
    command = f"make promote MODEL=m2 OUTPUT_DIR={tmp_path}"
    night, since = capsys.readouterr().err.splitlines()
    assert night == "Nothing to do. 2026-11-02 promoted: model m2"
    assert since.startswith("Since then, model m1 was made the current one. The model of these ")
    assert since.endswith(f" is m2; to make it the current one again: {command}")
    assert nightly._report_result(task, "key of m1", 2) == nightly.DONE
    assert "model m1, which is the current one now" in capsys.readouterr().err
