"""Stochastic gradient descent: as retrain.py, but the best is kept, and a killed run goes on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.head import checkpoints, l2_path, sgd, softmax
from pipeline.head.checkpoints import Checkpoints
from pipeline.head.dataset import Examples, in_memory
from pipeline.head.settings import NONE, Settings, Sgd
from pipeline.head.tensorboard import TensorBoardWriter
from pipeline.head.trial import OptimizationResult
from pipeline.progress import silent
from tests.support.store import points

NOTHING = (np.empty((0, 20), np.float32), np.empty(0, dtype=object))


def photos(noise: float = 2.0) -> tuple[Examples, Examples]:
    training = Examples.read(in_memory(*points(200, 4, 7, noise=noise)))
    return training, Examples.read(in_memory(*points(150, 4, 8, noise=noise)), like=training)


def run(
    splits: tuple[Examples, Examples],
    stored: Checkpoints = Checkpoints(),  # noqa: B008
    told: Any = silent,
    **options: Any,
) -> OptimizationResult:
    return sgd.train(*splits, Settings(sgd=Sgd(**options)), told, stored, TensorBoardWriter())


def test_it_comes_near_the_optimum() -> None:
    outcome = run(photos(), how_many_training_steps=2000)
    (kept,) = outcome.trials
    optimum = l2_path.train(*photos(), Settings(), silent, Checkpoints(), TensorBoardWriter())
    best = max(trial.validation_accuracy or 0 for trial in optimum.trials)
    assert kept.validation_accuracy
    assert kept.validation_accuracy > best - 0.05


def test_the_solution_that_did_best_on_validation_is_kept() -> None:
    splits = photos(noise=6)
    steps: list[int] = []

    def tell(done: int, total: int, message: str) -> None:  # noqa: ARG001
        steps.append(done)

    options = {"learning_rate": 0.5, "validation_batch_size": -1}
    outcome = run(splits, told=tell, how_many_training_steps=4000, **options)
    (kept,) = outcome.trials
    assert kept.iterations < steps[-1] < 4000  # it stopped early
    last = run(splits, how_many_training_steps=kept.iterations, **options)
    assert np.array_equal(outcome.final, last.final)
    longer = run((splits[0], Examples.read(in_memory(*NOTHING), like=splits[0])), **options)
    worse = softmax.measure(splits[1], longer.final)
    assert worse
    assert kept.validation_accuracy
    assert kept.validation_accuracy > worse.accuracy


def test_without_validation_the_last_solution_is_kept() -> None:
    training, _ = photos()
    nothing = Examples.read(in_memory(*NOTHING), like=training)
    (kept,) = run((training, nothing), how_many_training_steps=25).trials
    assert kept.iterations == 25
    assert kept.validation_accuracy is None


def test_another_seed_draws_other_photos() -> None:
    first = run(photos(), how_many_training_steps=20)
    second = run(photos(), how_many_training_steps=20, random_seed=1)
    assert not np.array_equal(first.final, second.final)


@pytest.mark.parametrize(("weighting", "share"), [("balanced", 0.5), (NONE, 0.1)])
def test_a_batch_draws_classes_as_they_are_weighted(weighting: str, share: float) -> None:
    labels = np.array(["rare"] * 10 + ["usual"] * 90, dtype=object)
    training = Examples.read(in_memory(np.eye(100, dtype=np.float32), labels))
    weights = Settings(class_weighting=weighting).photo_weights(training)
    options = Sgd(how_many_training_steps=50)
    drawn = [classes for _, _, classes in sgd._batches(training, weights, options, 0)]
    assert len(drawn) == 50
    assert np.mean(np.concatenate(drawn) == 0) == pytest.approx(share, abs=0.03)


def test_vectors_of_a_batch_belong_to_its_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sgd, "_DRAWN_ROWS", 70)
    labels = np.array([str(i % 3) for i in range(30)], dtype=object)
    vectors = np.eye(30, dtype=np.float32)
    training = Examples.read(in_memory(vectors, labels))
    weights = Settings().photo_weights(training)
    options = Sgd(how_many_training_steps=9, train_batch_size=20)
    batches = list(sgd._batches(training, weights, options, 0))
    assert [number for number, _, _ in batches] == list(range(1, 10))
    for _, batch, classes in batches:
        assert (batch.argmax(1) % 3).tolist() == classes.tolist()


def test_a_loss_that_grows_without_end_is_refused_in_one_line() -> None:
    settings = Settings(l2=1, sgd=Sgd(learning_rate=1000))
    with pytest.raises(UserError, match="learning_rate is 1000, with which the loss diverges"):
        sgd.train(*photos(), settings, silent, Checkpoints(), TensorBoardWriter())


@pytest.mark.parametrize("killed_after", [3, 17])
def test_a_killed_run_goes_on_and_ends_as_an_undisturbed_one(
    tmp_path: Path, killed_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"how_many_training_steps": 200}
    undisturbed = run(photos(), **options)
    save, saves = Checkpoints.save, 0

    def kill(self: Checkpoints, facts: Any, arrays: Any) -> None:
        nonlocal saves
        saves += 1
        save(self, facts, arrays)
        if saves == killed_after:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.Checkpoints, "save", kill)
    with pytest.raises(KeyboardInterrupt):
        run(photos(), Checkpoints(tmp_path / "killed.npz", 7), **options)
    resumed = run(photos(), Checkpoints(tmp_path / "killed.npz", 7), **options)
    assert saves == 200 // 7
    assert np.array_equal(resumed.final, undisturbed.final)
    assert resumed.trials == undisturbed.trials
