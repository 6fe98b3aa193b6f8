"""Run the `luigi` command, luigid, and tasks."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from luigi import Task, build

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def environment() -> dict[str, str]:
    """Return the environment without variables that select another Luigi configuration."""
    return {k: v for k, v in os.environ.items() if not k.startswith("LUIGI")}


def luigi(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run the `luigi` command as a process of its own."""
    command = [BIN / "luigi", "--module", "tasks", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True)


class Luigid:
    """A luigid on a free local port, which tests start and stop."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.directory = directory

    def start(self) -> None:
        """Start luigid and wait until it answers."""
        command = [BIN / "luigid", "--address", "127.0.0.1", "--port", str(self.port)]
        with (self.directory / "log").open("a") as log:
            self.process = subprocess.Popen(
                command, cwd=self.directory, env=environment(), stdout=log, stderr=log
            )
        for _ in range(300):
            try:
                urllib.request.urlopen(self.url).close()
                return
            except OSError:
                assert self.process.poll() is None, (self.directory / "log").read_text()
                time.sleep(0.1)
        raise AssertionError("luigid does not answer")

    def stop(self, kill: bool = False) -> None:
        """Stop luigid, which then saves its state, or kill it, which loses the state."""
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        self.process.wait()


def run(task: Task) -> None:
    """Run a task and its requirements in this process."""
    assert build([task], local_scheduler=True, log_level="INFO", no_lock=True)
