"""TrainHead: resumes after a kill, and runs only if a setting of the head changed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.head import softmax_head
from tasks import ExportModel, TrainHead
from tasks.step import fetch
from tests.support.commands import run


def test_what_does_not_change_a_head_does_not_train_it_again(options: dict[str, Any]) -> None:
    run(TrainHead(**options))
    assert TrainHead(**options).complete()
    assert TrainHead(**options, summaries_dir="x", intermediate_store_frequency=0).complete()
    assert TrainHead(**options, learning_rate=1.0).complete()  # an option of the other optimizer
    assert not TrainHead(**options, label_smoothing=0.1).complete()
    assert not TrainHead(**options, class_weights='{"red_rose": 2}').complete()
    assert not TrainHead(**options, calibrate=True).complete()
    assert not TrainHead(**options, optimizer="sgd").complete()


def test_each_training_has_a_folder_of_summaries_of_its_own(
    options: dict[str, Any], tmp_path: Path
) -> None:
    for l2 in (0.1, 0.2):
        run(TrainHead(**options, l2=l2, summaries_dir=str(tmp_path / "logs")))
    runs = sorted((tmp_path / "logs").iterdir())
    assert len(runs) == 2
    for directory in runs:
        assert sorted(p.name for p in directory.iterdir()) == ["train", "validation"]


def test_a_finished_head_leaves_no_snapshot(options: dict[str, Any], tmp_path: Path) -> None:
    run(TrainHead(**options, intermediate_store_frequency=1))
    assert [p.name for p in (tmp_path / "out/heads").iterdir()] == [
        fetch(TrainHead(**options).output()).name
    ]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["lbfgs", "sgd"])
def test_a_killed_training_goes_on_and_ends_as_an_undisturbed_one(
    options: dict[str, Any], optimizer: str, tmp_path: Path
) -> None:
    task = TrainHead(
        **options, optimizer=optimizer, how_many_training_steps=200, intermediate_store_frequency=1
    )
    run(task)
    target = fetch(task.output())
    undisturbed = softmax_head.read(target)
    target.rename(tmp_path / "undisturbed")
    snapshot = target.with_name(f".{target.name}.unfinished.npz")
    # Saving a checkpoint takes 0.1 s longer, so that there is time for the kill.
    program = (
        "import time, luigi\nfrom pipeline.head.checkpoints import Checkpoints\n"
        "from tasks import TrainHead\n"
        "save = Checkpoints.save\n"
        "Checkpoints.save = lambda *given: (save(*given), time.sleep(0.1))\n"
        f"task = TrainHead.from_str_params({task.to_str_params()!r})\n"
        "luigi.build([task], local_scheduler=True, no_lock=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    while not snapshot.exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert snapshot.exists()
    assert not target.exists()
    run(task)
    assert not snapshot.exists()
    resumed = softmax_head.read(target)
    assert np.array_equal(resumed.weights, undisturbed.weights)
    assert np.array_equal(resumed.bias, undisturbed.bias)
    for name in ("training.json", "calibration.json"):
        assert (target / name).read_text() == (tmp_path / "undisturbed" / name).read_text()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("learning_rate", 0.0, "learning_rate is 0; it must be a positive number"),
        ("label_smoothing", 1.0, "label_smoothing is 1; it must be at least 0 and below 1"),
        ("class_weights", "rose=2", "it must map labels to positive numbers"),
        ("testing_percentage", 95.0, "together they must be below 100"),
        ("fail_on", "leaks", "fail_on: unknown kind 'leaks'"),
    ],
)
def test_an_impossible_value_is_heard_before_any_work(name: str, value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ExportModel(**{"optimizer": "sgd", name: value})


def test_a_weight_of_no_class_is_heard_before_any_work(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="class_weights names 'tulip', which is not a class"):
        TrainHead(**options, class_weights='{"tulip": 2}')
    assert not options["output_dir"].exists()


def test_even_one_that_the_optimizer_does_not_use() -> None:
    with pytest.raises(UserError, match="train_batch_size is 0"):
        ExportModel(train_batch_size=0)
