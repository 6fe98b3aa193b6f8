"""Promises of docs/security.md that no other test covers."""

import email
import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from luigi.configuration import get_config

from tasks import nightly
from tests.support.commands import ROOT
from tests.support.photos import PhotoMaker
from tests.support.processes import Pipeline

HARM = "<img src=x onerror=harm()>"


def test_no_source_file_starts_a_shell_or_reads_a_pickle() -> None:
    """The security rules of ruff find more, so none of them may be disabled."""
    sources = [path for d in ("pipeline", "tasks") for path in (ROOT / d).rglob("*.py")]
    assert len(sources) > 70
    for path in sources:
        text = path.read_text()
        assert not re.search(r"shell=True|os\.system|os\.popen|pickle\.loads?\(|\beval\(", text), (
            path
        )
        assert "allow_pickle=True" not in text, path
        assert not re.search(r"noqa: ?S", text), path


@pytest.mark.slow
def test_what_is_written_others_may_read_but_not_change(
    pipeline: Pipeline, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    for seed in range(6):
        make_photo(pipeline.image_dir / HARM / f"{HARM}{seed}.jpg", 2, seed)
    out = tmp_path / "out"
    done = pipeline.run(out, before=lambda: os.umask(0o022) and None)
    assert done.returncode == 0, done.stderr
    written = [path for path in out.rglob("*") if not path.is_symlink()]
    assert len(written) > 30
    for path in (out, *written):
        assert not path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH), path
    page = (out / "current/report.html").read_text()
    assert HARM not in page
    assert "img src=x onerror=harm()" in page


def test_servers_listen_on_this_machine_alone() -> None:
    recipes = (ROOT / "Makefile").read_text() + (ROOT / "deploy/luigid.service").read_text()
    started = [
        line for line in recipes.splitlines() if re.search(r"/luigid |rboard |http\.ser", line)
    ]
    assert len(started) == 4
    assert all(re.search(r"--(address|host|bind) 127\.0\.0\.1", line) for line in started)


def test_the_demo_page_is_served_to_this_machine_alone(colours: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pipeline.prediction.demo",
        "--model",
        str(colours),
        "--port",
        "0",
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            port = int(re.findall(r":(\d+) ", process.stdout.readline())[0])
            listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
            assert re.findall(rf"(\w+):{port:04X} \w+:0000 0A", listening) == ["0100007F"]
        finally:
            process.terminate()


@pytest.fixture
def mailbox() -> Iterator[Any]:
    """Start a mail server and configure Luigi for it; return the received mails."""
    from aiosmtpd.controller import Controller

    received: list[Any] = []

    class Keep:
        async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
            received.append(email.message_from_bytes(envelope.content))
            return "250 OK"

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    controller = Controller(Keep(), hostname="127.0.0.1", port=int(port))
    controller.start()
    settings = {
        "email": {"receiver": "a@example.org", "sender": "b@example.org", "force_send": "true"},
        "smtp": {"host": "127.0.0.1", "port": port},
    }
    before = {s: dict(get_config()[s]) for s in settings if get_config().has_section(s)}
    get_config().read_dict(settings)
    yield received
    controller.stop()
    for section in settings:
        get_config().remove_section(section)
    get_config().read_dict(before)


# Luigi warns about its own defaults and does not close its connection.
@pytest.mark.filterwarnings("ignore:Parameter:UserWarning", "ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize(("kind", "shown"), [("plain", HARM), ("html", "&lt;img src=x")])
def test_mails_escape_what_they_quote(mailbox: list[Any], kind: str, shown: str) -> None:
    get_config().set("email", "format", kind)
    nightly._mail("2020-01-01: failed", f"Class {HARM} has no photo")
    (part,) = (part for part in mailbox[0].walk() if not part.is_multipart())
    assert part.get_content_subtype() == kind
    text = part.get_payload(decode=True).decode()
    assert shown in text
    assert kind == "plain" or "<img" not in text
