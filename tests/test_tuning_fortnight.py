"""Nights that fine-tune every seventh day, with a kill, a rollback and a rejected night."""

import datetime
import json
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.bottlenecks import recipe
from pipeline.fine_tuning import result, verdict
from pipeline.head.checkpoints import Checkpoints
from pipeline.modules.loading import Module
from pipeline.nightly import current_model, history, promotion, prune
from pipeline.prediction import single
from tasks import NightlyRetrain
from tests.support.commands import BIN, ROOT, environment
from tests.support.photos import PhotoMaker
from tests.support.processes import kill
from tests.support.saved_modules import tunable_module
from tests.support.steps import Pipeline

LABELS = ("one", "two", "three")
OPTIONS = {
    "fine_tune_epochs": 4,
    "fine_tune_learning_rate": 0.05,
    "fine_tune_batch_size": 8,
    "fine_tune_every": 7,
    "precision": "float32",
    "validation_percentage": 30.0,
    "testing_percentage": 20.0,
}


class Nights:
    """Photos and an output folder, to which each night adds."""

    def __init__(self, tmp_path: Path, make_photo: PhotoMaker) -> None:
        self.photos, self.out = tmp_path / "photos", tmp_path / "out"
        self.make_photo = make_photo
        self.number = 0
        paths = {"image_dir": self.photos, "output_dir": self.out}
        module = str(tunable_module(tmp_path / "mixer"))
        self.options: dict[str, Any] = {**paths, "tfhub_module": module, **OPTIONS}
        self.pipeline = Pipeline(**self.options)
        self.pipeline.task_class = NightlyRetrain

    def arrive(self, count: int) -> None:
        for _ in range(count):
            self.number += 1
            for hue, label in enumerate(LABELS):
                self.make_photo(self.photos / label / f"{self.number}.jpg", hue, self.number)

    def run(self, day: int) -> list[str]:
        return self.pipeline.run(date=date(day))

    def kill_in_the_second_epoch(self, day: int) -> list[dict[str, Any]]:
        """Kill a night while it fine-tunes; return the epochs of its checkpoint."""
        words = [f"--{name.replace('_', '-')}={value}" for name, value in self.options.items()]
        command = [BIN / "luigi", "--module", "tasks", "NightlyRetrain", "--local-scheduler"]
        process = subprocess.Popen(
            [*map(str, command), f"--date={date(day)}", *words],
            cwd=ROOT,
            env=environment(),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        epochs: list[dict[str, Any]] = []
        while not epochs:
            assert process.poll() is None
            for path in self.out.glob("tuned/.*.unfinished.npz"):
                saved = Checkpoints(path).load()
                epochs = saved[0]["epochs"] if saved else []
            time.sleep(0.01)
        kill(process)
        (path,) = self.out.glob("tuned/.*.unfinished.npz")
        saved = Checkpoints(path).load()
        assert saved
        return list(saved[0]["epochs"])

    def module(self) -> Module:
        """Return the module of the current model."""
        model = current_model.get(self.out)
        assert model
        return recipe.read(model).module


def date(day: int) -> datetime.date:
    return datetime.date(2026, 11, day)


@pytest.mark.slow
def test_a_fortnight_with_three_fine_tunings(
    make_photo: PhotoMaker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    compare = verdict.compare  # the second fine-tuning would hardly find anything to improve
    monkeypatch.setattr(verdict, "compare", lambda *a: replace(compare(*a), better=True))
    nights, tuning = Nights(tmp_path, make_photo), list[int]()
    nights.arrive(24)

    def run(day: int) -> None:
        if "FineTuneModule" in nights.run(day):
            tuning.append(day)

    for day in (1, 7):
        nights.arrive(1)
        run(day)
    first = nights.module()

    nights.arrive(1)
    epochs = nights.kill_in_the_second_epoch(8)
    caplog.set_level("INFO")
    run(8)
    assert "Resuming the interrupted fine-tuning" in caplog.text
    second = nights.module()
    (record,) = Path(second.directory).parent.glob(result.RECORD)
    assert json.loads(record.read_text())["epochs"][: len(epochs)] == epochs
    assert second.tuned_from == first.tuned_from == nights.options["tfhub_module"]
    assert second.tuned_epochs > first.tuned_epochs
    assert json.loads(record.read_text())["module"] == first.handle

    _, model = promotion.rollback(nights.out)
    assert current_model.get(nights.out) == nights.out / "models" / model
    assert nights.module() == first
    photo = (nights.photos / "two/1.jpg").read_bytes()
    assert single.load(nights.out / "current")(photo).answers[0][0] == "two"

    for day in (9, 14):
        nights.arrive(1)
        run(day)
    swap(nights.photos)
    run(15)  # its module learns the wrong labels, and the gate notices
    swap(nights.photos)
    run(16)

    assert tuning == [1, 8, 15]
    rows = history.nights(nights.out)
    names = [row.module.split("/")[1] for row in rows]
    used = {module: Path(module.directory).parent.name for module in (first, second)}
    one, two, three = used[first], used[second], names[5]
    assert names == [one, one, two, one, one, three, one]
    assert len({one, two, three}) == 3
    assert [row.outcome for row in rows] == ["promoted"] * 5 + ["refused", "unchanged"]
    assert all(row.fixed is not None for row in rows[1:6]), "the gate has compared them"
    assert "fine-tuned tonight" in rows[2].reason
    assert "fine-tuned earlier" in rows[3].reason

    leftovers = prune.find(nights.out, 1, time.time() + 2 * prune.MINIMUM_AGE)
    paths = [str(leftover.path.relative_to(nights.out)) for leftover in leftovers]
    assert [path for path in paths if path.startswith("tuned/")] == [f"tuned/{three}"]
    before = {path.name for path in (nights.out / "bottlenecks").iterdir()}
    prune.delete(nights.out, leftovers)
    gone = before - {path.name for path in (nights.out / "bottlenecks").iterdir()}
    assert len(gone) == 1
    assert nights.run(16) == []
    nights.arrive(1)
    assert "FineTuneModule" not in nights.run(17)
    assert nights.module() == first


def swap(photos: Path) -> None:
    """Swap the names of two class folders."""
    shutil.move(photos / "one", photos / "other")
    shutil.move(photos / "two", photos / "one")
    shutil.move(photos / "other", photos / "two")
