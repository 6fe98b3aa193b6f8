"""Fourteen nights with luigid and the nightly command as processes, and with mishaps.

`make fortnight` runs them and prints the outcome of each night.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.files import locks
from pipeline.head import softmax_head
from pipeline.nightly import current_model, history, promotion
from pipeline.photos import manifest
from tests.support.commands import ROOT, Luigid, environment
from tests.support.photos import PhotoMaker

pytestmark = pytest.mark.slow  # every test starts processes

HUES = {"green": 1, "red": 0, "blue": 2}


class Fortnight:
    """Photos, a luigid and an output folder for fourteen nights."""

    def __init__(self, tmp_path: Path, module: Path, make_photo: PhotoMaker) -> None:
        self.photos, self.out, self.home = tmp_path / "photos", tmp_path / "out", tmp_path / "home"
        self.make_photo = make_photo
        self.number = 0  # number of the last photo
        self.computed = 0  # photos processed by the module, in all nights
        self.seen: set[str] = set()  # digests of the photos of all nights
        (self.home / "data/luigid").mkdir(parents=True)
        settings = (ROOT / "luigi.cfg").read_text()
        settings = settings.replace("[core]\n", "[core]\nrpc-retry-wait = 1\n")
        (self.home / "luigi.cfg").write_text(settings)
        self.luigid = Luigid(self.home)
        self.options: list[object] = ["--image-dir", self.photos, "--output-dir", self.out]
        self.options += ["--tfhub-module", module, "--testing-percentage", 20]
        self.options += ["--retry-delay", 1, "--scheduler-url", self.luigid.url]

    def arrive(self, count: int, label: str, folder: str = "") -> list[Path]:
        """Add photos of a class, in its folder or in that of another class."""
        new = []
        for _ in range(count):
            self.number += 1
            path = self.photos / (folder or label) / f"{self.number}.jpg"
            new.append(self.make_photo(path, HUES[label], self.number))
        return new

    def start(self, date: int) -> "subprocess.Popen[str]":
        options = [*self.options, "--date", f"2026-11-{date:02}"]
        return subprocess.Popen(
            [sys.executable, "-m", "tasks.nightly", *map(str, options)],
            cwd=self.home,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def end(self, run: "subprocess.Popen[str]") -> int:
        _, output = run.communicate(timeout=300)
        self.computed += sum(map(int, re.findall(r"Bottlenecks: (\d+) computed", output)))
        self.output = output
        return run.returncode

    def night(self, date: int, code: int = 0) -> history.Night:
        """Run a night without a mishap, and return its row."""
        assert self.end(self.start(date)) == code, self.output
        night = history.nights(self.out)[-1]
        assert night.date == f"2026-11-{date:02}"
        self.remember()
        return night

    def remember(self) -> None:
        for path in self.out.glob("manifests/[!.]*.parquet"):
            self.seen |= set(manifest.read(path)["digest"])

    def wait_for_manifest(self, run: "subprocess.Popen[str]", before: int) -> None:
        while len(list(self.out.glob("manifests/[!.]*.parquet"))) == before:
            assert run.poll() is None, run.communicate()
            time.sleep(0.01)

    def manifests(self) -> int:
        return len(list(self.out.glob("manifests/[!.]*.parquet")))


@contextmanager
def reader(out: Path) -> Iterator[dict[str, int]]:
    """A thread that reads `current` all the time, and counts how often; it may never fail."""
    reads: dict[str, int] = {}
    problems: list[str] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            try:
                model = (out / "current").readlink()
                labels = (out / model / "output_labels.txt").read_text().splitlines()
                assert softmax_head.read(out / model).labels == tuple(labels)
                for name in ("saved_model/saved_model.pb", "output_graph.pb", "evaluation.json"):
                    assert (out / model / name).stat().st_size
                reads[model.name] = reads.get(model.name, 0) + 1
            except Exception as error:
                problems.append(f"{type(error).__name__}: {error}")
            time.sleep(0.005)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield reads
    finally:
        ended.set()
        thread.join()
    assert problems == []


def load(out: Path, photo: Path) -> str:
    """Classify a photo with the current model, like a server that starts now."""
    import tensorflow as tf

    answer = tf.saved_model.load(str(out / "current/saved_model")).signatures["serving_default"]
    best = answer(image_bytes=tf.constant([photo.read_bytes()]))["classes"].numpy()[0, 0]
    return str(best.decode())


def test_a_fortnight(
    tmp_path: Path,
    tiny_module: Path,
    make_photo: PhotoMaker,
    capsys: pytest.CaptureFixture[str],
) -> None:
    f = Fortnight(tmp_path, tiny_module, make_photo)
    f.luigid.start()
    try:
        for label in ("green", "red"):
            f.arrive(40, label)
        first = f.night(1)
        assert (first.outcome, first.arrived) == ("promoted", 80)
        with reader(f.out) as reads:
            _thirteen_nights(f)
    finally:
        f.luigid.stop()

    nights = history.nights(f.out)
    with capsys.disabled():
        print("\n" + "\n".join(history.lines(nights)))
    assert [(int(n.date[-2:]), n.outcome) for n in nights] == [
        (1, "promoted"),
        (2, "unchanged"),
        (3, "promoted"),  # new photos, two of them in the wrong folder
        (4, "promoted"),  # photos deleted
        (5, "promoted"),  # the two moved to the right folder
        (6, "refused"),  # two folders swapped
        (7, "unchanged"),  # and swapped back
        (8, "promoted"),  # luigid killed and restarted without its state
        (9, "unchanged"),
        # 10: the machine crashed
        (11, "promoted"),
        (12, "promoted"),  # a new class
        (13, "promoted"),  # started twice at once
        (14, "refused"),  # this model had been rolled back
    ]
    assert f.computed == len(f.seen), "each photo went through the module once"
    promoted = [p.model for p in history.promotions(f.out)]
    assert len(promoted) == len(set(promoted)) + 1  # the one of the rollback twice
    assert current_model.get(f.out) == f.out / "models" / promoted[-1]
    assert set(reads) == set(promoted)
    assert sum(reads.values()) > 500


def _thirteen_nights(f: Fortnight) -> None:
    assert f.night(2).arrived == 0

    f.arrive(8, "green")
    f.arrive(8, "red")
    wrong = f.arrive(2, "red", folder="green")
    assert f.night(3).arrived == 18

    for photo in sorted((f.photos / "red").iterdir())[:5]:
        photo.unlink()
    assert f.night(4).gone == 5

    for photo in wrong:
        photo.rename(f.photos / "red" / photo.name)
    assert f.night(5).relabelled == 2
    good = current_model.get(f.out)

    swap(f.photos)
    assert f.night(6, code=3).relabelled == 93
    assert current_model.get(f.out) == good
    swap(f.photos)
    assert f.night(7).outcome == "unchanged"

    f.arrive(10, "green")
    run, before = f.start(8), f.manifests()
    f.wait_for_manifest(run, before)
    f.luigid.stop(kill=True)
    time.sleep(1)
    f.luigid.start()
    assert f.end(run) == 0, f.output
    f.remember()
    f.night(9)

    f.arrive(10, "red")
    run, before = f.start(10), f.manifests()
    f.wait_for_manifest(run, before)
    os.killpg(run.pid, signal.SIGKILL)
    f.end(run)
    f.luigid.stop(kill=True)
    f.luigid.start()
    f.arrive(2, "red")
    assert f.night(11).arrived == 12

    f.arrive(40, "blue")
    assert f.night(12).classes == 3

    f.arrive(3, "blue")
    run = f.start(13)
    while not locked(f.out):
        assert run.poll() is None
        time.sleep(0.05)
    assert f.end(f.start(13)) == 10
    assert f.end(run) == 0, f.output
    f.remember()
    photo = next((f.photos / "blue").iterdir())
    assert load(f.out, photo) == "blue"

    left, now = promotion.rollback(f.out)
    assert f.night(14, code=3).model == left
    assert current_model.get(f.out) == f.out / "models" / now
    assert load(f.out, photo) == "blue"


def swap(photos: Path) -> None:
    """Swap the names of two class folders."""
    shutil.move(photos / "green", photos / "other")
    shutil.move(photos / "red", photos / "green")
    shutil.move(photos / "other", photos / "red")


def locked(out: Path) -> bool:
    """Return whether a night holds the lock, without trying it, which could stop a night."""
    path = out / locks.NIGHTLY
    return path.exists() and f":{path.stat().st_ino} " in Path("/proc/locks").read_text()
