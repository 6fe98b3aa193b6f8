"""Fine-tuning killed by SIGKILL twenty times: it ends with the weights of an undisturbed one."""

import json
import random
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.photos import PhotoMaker
from tests.support.processes import Pipeline, kill
from tests.support.saved_modules import tunable_module

KILLS = 20
OPTIONS = (
    *("--fine-tune-epochs", 40, "--fine-tune-learning-rate", 0.01, "--fine-tune-batch-size", 8),
    *("--validation-percentage", 30, "--precision", "float32"),
)


def outcome(out: Path) -> tuple[bytes, Any]:
    """Return the tuned variables, and the record without its times."""
    (path,) = out.glob("tuned/*/fine_tuning.json")
    record = json.loads(path.read_text())
    for epoch in record["epochs"]:
        del epoch["seconds"]
    (variables,) = out.glob("tuned/*/*/variables/variables.data*")
    return variables.read_bytes(), record


def checkpoint(out: Path) -> int:
    """Return when the checkpoint was written; 0 if there is none."""
    for path in out.glob("tuned/.*.unfinished.npz"):
        with suppress(FileNotFoundError):  # just deleted
            return path.stat().st_mtime_ns
    return 0


@pytest.mark.torture
def test_twenty_kills(make_photo: PhotoMaker, tmp_path: Path) -> None:
    for hue, label in enumerate(("one", "two", "three")):
        for seed in range(32):
            make_photo(tmp_path / "photos" / label / f"{seed}.jpg", hue, seed)
    module = tunable_module(tmp_path / "mixer")
    pipeline = Pipeline(tmp_path / "photos", module, tmp_path / "log")
    assert pipeline.run(tmp_path / "undisturbed", *OPTIONS).returncode == 0
    expected = outcome(tmp_path / "undisturbed")
    generator, kills, folders = random.Random(0), 0, 0
    while kills < KILLS:
        folders += 1
        out = tmp_path / f"out-{folders}"
        while kills < KILLS:
            before = checkpoint(out)
            process = pipeline.start(out, *OPTIONS)
            while process.poll() is None and checkpoint(out) in (0, before):
                time.sleep(0.01)
            time.sleep(generator.random() / 2)
            if process.poll() is not None:
                break  # it was faster
            kill(process)
            kills += 1
        assert pipeline.run(out, *OPTIONS).returncode == 0
        assert outcome(out) == expected
        assert not list(out.glob("tuned/.*"))
    print(f"{kills} kills of fine-tuning, {folders} results: all like the undisturbed one")
