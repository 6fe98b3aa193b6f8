"""Summaries: what TensorBoard reads back."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.head import tensorboard, training
from pipeline.head.dataset import in_memory
from pipeline.head.settings import Settings, Sgd
from pipeline.head.tensorboard import TRAINING, VALIDATION, TensorBoardWriter
from tests.support.store import points


def read(directory: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory))
    events.Reload()
    return events


def test_figures_and_weights_are_read_back(tmp_path: Path) -> None:
    with TensorBoardWriter(tmp_path) as summaries:
        for step in (1, 2):
            summaries.metrics(TRAINING, step, loss=step / 4, accuracy=None)
        summaries.weights(2, np.arange(12, dtype=np.float32).reshape(4, 3))
    events = read(tmp_path / TRAINING)
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 0.25), (2, 0.5)]
    assert events.Tags()["scalars"] == ["loss"]
    assert sorted(events.Tags()["histograms"]) == ["biases", "weights"]
    assert events.Histograms("weights")[0].histogram_value.num == 9


def test_missing_library_is_reported_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(UserError) as error:
        tensorboard.require()
    assert str(error.value) == (
        "summaries_dir: tensorboardX, which writes the summaries, is not installed; "
        "install it with: pip install 'retrain[tensorboard]'"
    )


def test_without_a_folder_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with TensorBoardWriter() as summaries:
        summaries.metrics(TRAINING, 1, loss=1.0)
        summaries.weights(1, np.zeros((3, 2), np.float32))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sgd", [None, Sgd(how_many_training_steps=30)])
def test_a_training_shows_both_splits(tmp_path: Path, sgd: Sgd | None) -> None:
    passes = in_memory(*points(80, 3, 7)), in_memory(*points(40, 3, 8))
    _, record = training.train(*passes, Settings(sgd=sgd), summaries=tmp_path / "run")
    fitted, validation = (read(tmp_path / "run" / split) for split in (TRAINING, VALIDATION))
    assert {"loss", "cross_entropy", "accuracy", "l2"} <= set(fitted.Tags()["scalars"])
    assert set(validation.Tags()["scalars"]) == {"cross_entropy", "accuracy"}
    assert fitted.Tags()["histograms"] == ["weights", "biases"]
    shown = [event.value for event in validation.Scalars("accuracy")]
    assert len(shown) >= len(record.path)
    if sgd is None:
        assert fitted.Scalars("l2")[-1].value == pytest.approx(record.l2)


def test_writing_does_not_load_tensorflow(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from pipeline.head.tensorboard import TensorBoardWriter\n"
        f"with TensorBoardWriter(Path({str(tmp_path)!r})) as s: s.metrics('train', 1, loss=1.0)\n"
        "print('loaded' if 'tensorflow' in sys.modules else 'not loaded')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "not loaded", done.stderr
