"""The pipeline in a process of its own, and what it leaves behind."""

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

TIMEOUT_S = 300  # of one run; it takes some seconds on a quiet machine


@dataclass
class Pipeline:
    """`luigi ExportModel` on some photos, with the tiny module, as a process of its own."""

    image_dir: Path
    module: Path
    log: Path

    def command(self, out: Path, *options: object) -> list[str]:
        given = ("--image-dir", self.image_dir, "--tfhub-module", self.module, "--output-dir", out)
        words = [BIN / "luigi", "--module", "tasks", "ExportModel", *given, *options]
        return [str(word) for word in words]

    def start(
        self, out: Path, *options: object, before: Callable[[], None] | None = None
    ) -> "subprocess.Popen[str]":
        """Start it in a process group of its own; what it says goes to `self.log`.

        `before` is called in the new process, to set its limits.
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
        """Run it to its end."""
        process = self.start(out, *options, before=before)
        try:
            process.wait(TIMEOUT_S)
        finally:
            kill(process)
        return subprocess.CompletedProcess(process.args, process.returncode, "", self.said())

    def said(self) -> str:
        return self.log.read_text()


def kill(process: "subprocess.Popen[str]") -> None:
    """Kill -9, with all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def add_night(image_dir: Path, make_photo: PhotoMaker) -> None:
    """What a day brings: a photo replaced, one deleted, and a new class larger than a journal."""
    make_photo(image_dir / "red_rose/3.jpg", 2, 99)
    (image_dir / "green leaf/5.jpg").unlink()
    for seed in range(300):
        make_photo(image_dir / "blue sky" / f"{seed}.jpg", 2, seed)


def fresh(out: Path, before: Path | None) -> Path:
    """An output folder: an empty one, or as the last night left it."""
    shutil.rmtree(out, ignore_errors=True)
    if before:
        shutil.copytree(before, out, symlinks=True)
    return out


def results(out: Path) -> dict[str, str]:
    """Everything that a run leaves: the path of each file, and a digest of what has to be equal.

    Tables are digested by their rows, models by their head, labels and predictions. Other files,
    whose bytes may hold times or an order of no meaning, count by their being there.
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
        del figures["run"]  # when it ran, and for how long
        return hashlib.sha256(json.dumps(figures).encode()).hexdigest()
    if path.name == "output_labels.txt":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return ""


def temporaries(out: Path) -> list[str]:
    """What is left of unfinished work: nothing, after a run that succeeded."""
    return sorted(str(path.relative_to(out)) for path in out.rglob("*.tmp"))


def journals(out: Path) -> list[Path]:
    """Vectors that a run kept in case it would be killed; the next one that computes clears up."""
    return list(out.glob("bottlenecks/*/partial/*"))


class Watch:
    """Reads `current` over and over, as a server would that may start at any moment."""

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
    """Print what happened as Markdown, for docs/reliability.md."""
    lines = [head, tuple("---" for _ in head), *rows]
    print(f"\n{title}\n", *("| " + " | ".join(map(str, row)) + " |" for row in lines), sep="\n")
