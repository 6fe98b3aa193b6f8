"""Runs killed by SIGKILL at any moment: the next run ends like an undisturbed one."""

import os
import random
import re
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.photos import PhotoMaker
from tests.support.processes import (
    Pipeline,
    Watch,
    add_night,
    fresh,
    journals,
    kill,
    results,
    table,
    temporaries,
)

WRITING = "while a file is being written"


@dataclass
class Undisturbed:
    """The results of a run, and the duration of its steps: (name, seconds), in order."""

    before: Path | None
    results: dict[str, str]
    steps: list[tuple[str, float]]


@dataclass
class Kills:
    """A series of killed runs."""

    pipeline: Pipeline
    scratch: Path
    random: random.Random
    moments: Counter[str]
    reads: int = 0
    journals: int = 0

    def undisturbed(self, before: Path | None) -> Undisturbed:
        out = fresh(self.scratch / "out", before)
        start, steps = time.monotonic(), list[tuple[str, float]]()
        process = self.pipeline.start(out)
        while process.poll() is None:
            done = self.done()
            if len(done) > len(steps):
                now = time.monotonic()
                steps += [(name, now - start) for name in done[len(steps) :]]
                start = now
            time.sleep(0.01)
        assert process.returncode == 0, self.pipeline.output()
        return Undisturbed(before, results(out), [*steps, ("the end", 0.2)])

    def trial(self, number: int, expected: Undisturbed) -> None:
        out = fresh(self.scratch / "out", expected.before)
        with Watch(out) as watch:
            process = self.pipeline.start(out)
            if number % 4 == 3:
                self._await_writing(process, out)
                moment = WRITING
            else:
                self._await_step(process, expected.steps, number)
                done = len(self.done())
                moment = expected.steps[min(done, len(expected.steps) - 1)][0]
            kill(process)
            self.moments[moment] += 1
            again = self.pipeline.run(out)
        assert again.returncode == 0, f"{moment}: {again.stderr}"
        assert "Traceback" not in again.stderr, moment
        assert temporaries(out) == [], moment
        assert results(out) == expected.results, moment
        assert watch.failures == [], moment
        self.reads += watch.reads
        self.journals += bool(journals(out))

    def done(self) -> list[str]:
        """Return the steps that are logged as finished."""
        return re.findall(r"^INFO: (\w+) took ", self.pipeline.output(), re.MULTILINE)

    def _await_step(
        self, process: "subprocess.Popen[str]", steps: list[tuple[str, float]], number: int
    ) -> None:
        """Wait for a random moment of a step; each step in turn."""
        step = number % len(steps)
        while len(self.done()) < step and process.poll() is None:
            time.sleep(0.001)
        time.sleep(self.random.random() * steps[step][1])

    def _await_writing(self, process: "subprocess.Popen[str]", out: Path) -> None:
        """Wait until one of the first temporary files exists."""
        wanted, seen = self.random.randrange(1, 9), set[str]()
        while len(seen) < wanted and process.poll() is None:
            # Only where results are written: searching all folders would take too long.
            seen.update(str(path) for d in out.glob("*") for path in d.glob(".*.tmp"))
            seen.update(map(str, out.glob("bottlenecks/*/.*.tmp")))
            seen.update(map(str, out.glob("bottlenecks/*/partial/.*.tmp")))


def series(
    trials: int, seed: int, pipeline: Pipeline, make_photo: PhotoMaker, scratch: Path
) -> Kills:
    kills = Kills(pipeline, scratch, random.Random(seed), Counter())
    assert pipeline.run(scratch / "last night").returncode == 0
    add_night(pipeline.image_dir, make_photo)
    nights = [kills.undisturbed(None), kills.undisturbed(scratch / "last night")]
    for number in range(trials):
        kills.trial(number // 2, nights[number % 2])
        print(".", end="", flush=True)  # progress
    return kills


@pytest.mark.slow
def test_five_killed_runs_end_as_undisturbed_ones(
    pipeline: Pipeline, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    kills = series(5, 1, pipeline, make_photo, tmp_path)
    assert kills.moments.total() == 5
    assert kills.reads


@pytest.mark.torture
def test_a_hundred_killed_runs_end_as_undisturbed_ones(
    pipeline: Pipeline, make_photo: PhotoMaker, tmp_path: Path
) -> None:
    trials = int(os.environ.get("KILLS", "100"))
    seed = int(os.environ.get("SEED", "1"))
    kills = series(trials, seed, pipeline, make_photo, tmp_path)
    rows = [(moment, count, count) for moment, count in sorted(kills.moments.items())]
    head = ("killed during", "trials", "ended as undisturbed, nothing left over")
    title = (
        f"Kills: {trials}. `current` was read {kills.reads:,} times and always complete. A journal "
        f"was left {kills.journals} times, after a kill between the last class and its deletion."
    )
    table(title, head, [*rows])
