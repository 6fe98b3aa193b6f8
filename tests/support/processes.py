"""Run the pipeline as a process, and compare the files that it writes."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tests.support.commands import BIN, ROOT, environment
from tests.support.photos import PhotoMaker

TIMEOUT_S = 300  # per run, which takes some seconds on an idle machine


@dataclass
class Pipeline:
    """`luigi ExportModel` with a module and photos, as a process of its own."""

    image_dir: Path
    module: Path
    log: Path

    def command(self, out: Path, *options: object) -> list[str]:
        arguments = (
            "--image-dir",
            self.image_dir,
            "--tfhub-module",
            self.module,
            "--output-dir",
            out,
        )
        words = [BIN / "luigi", "--module", "tasks", "ExportModel", *arguments, *options]
        return [str(word) for word in words]

    def start(
        self, out: Path, *options: object, before: Callable[[], None] | None = None
    ) -> "subprocess.Popen[str]":
        """Start the command in a process group of its own, with its output in `self.log`.

        Args:
            out: output folder.
            options: further options of the command.
            before: called in the new process, to set its limits.
        """
        with self.log.open("w") as log:
            return subprocess.Popen(
                self.command(out, *options),
                cwd=ROOT,
                env=environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=before,
                text=True,
            )

    def run(
        self, out: Path, *options: object, before: Callable[[], None] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run the command until it ends."""
        process = self.start(out, *options, before=before)
        try:
            process.wait(TIMEOUT_S)
        finally:
            kill(process)
        return subprocess.CompletedProcess(process.args, process.returncode, "", self.output())

    def output(self) -> str:
        return self.log.read_text()


def kill(process: "subprocess.Popen[str]") -> None:
    """Send SIGKILL to a process and its children."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def add_night(image_dir: Path, make_photo: PhotoMaker) -> None:
    """Replace a photo, delete one, and add a class that is larger than a journal file."""
    make_photo(image_dir / "red_rose/3.jpg", 2, 99)
    (image_dir / "green leaf/5.jpg").unlink()
    for seed in range(300):
        make_photo(image_dir / "blue sky" / f"{seed}.jpg", 2, seed)


def fresh(out: Path, before: Path | None) -> Path:
    """Make the output folder a copy of `before`, or remove it."""
    shutil.rmtree(out, ignore_errors=True)
    if before:
        shutil.copytree(before, out, symlinks=True)
    return out


def results(out: Path) -> dict[str, str]:
    """Return the relative path of each file of a run, with a digest of its comparable content.

    Of tables, the rows are compared; of models, the head, labels and predictions. Other files may
    contain times or an arbitrary order, so only their presence is compared.
    """
    files = (path for path in sorted(out.rglob("*")) if path.is_file() or path.is_symlink())
    kept = (path for path in files if path.parent.name != "partial")
    return {str(path.relative_to(out)): _digest(path) for path in kept}


def _digest(path: Path) -> str:
    if path.is_symlink():
        return str(path.readlink())
    if path.suffix == ".parquet":
        rows = pd.read_parquet(path)
        text = rows.to_csv() if "vector" not in rows else rows.drop(columns="vector").to_csv()
        vectors = np.stack(rows["vector"]).tobytes() if "vector" in rows and len(rows) else b""
        return hashlib.sha256(text.encode() + vectors).hexdigest()
    if path.name == "head.npz":
        with np.load(path) as arrays:
            content = b"".join(name.encode() + arrays[name].tobytes() for name in arrays)
        return hashlib.sha256(content).hexdigest()
    if path.name == "evaluation.json":
        figures = json.loads(path.read_text())
        del figures["run"]  # date and duration
        return hashlib.sha256(json.dumps(figures).encode()).hexdigest()
    if path.name == "output_labels.txt":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return ""


def temporaries(out: Path) -> list[str]:
    """Return the temporary files; a successful run leaves none."""
    return sorted(str(path.relative_to(out)) for path in out.rglob("*.tmp"))


def journals(out: Path) -> list[Path]:
    """Return the journal files, which the next run that computes vectors deletes."""
    return list(out.glob("bottlenecks/*/partial/*"))


class Watch:
    """Read `current` repeatedly, like a server that may start at any moment."""

    def __init__(self, out: Path) -> None:
        self.out, self.reads, self.failures = out, 0, list[str]()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _read(self) -> None:
        current = self.out / "current"
        before = current.is_symlink()
        while not self._stop.wait(0.01):
            if not (before or current.is_symlink()):
                continue
            before = True
            try:
                model = current.resolve(strict=True)
                labels = (model / "output_labels.txt").read_text().splitlines()
                with np.load(model / "head.npz") as arrays:
                    assert arrays["weights"].shape[1] == len(labels)
                assert (model / "saved_model/saved_model.pb").stat().st_size
                assert (model / "output_graph.pb").stat().st_size
                self.reads += 1
            except Exception as error:
                self.failures.append(repr(error))


def table(title: str, head: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    """Print a Markdown table for docs/reliability.md."""
    lines = [head, tuple("---" for _ in head), *rows]
    print(f"\n{title}\n", *("| " + " | ".join(map(str, row)) + " |" for row in lines), sep="\n")
