"""The path of L2 strengths: what is tried, what is kept, and that a killed run goes on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.head import checkpoints, l2_path, softmax
from pipeline.head.checkpoints import Checkpoints
from pipeline.head.dataset import Blocking, Examples, in_memory
from pipeline.head.settings import Settings
from pipeline.head.tensorboard import TensorBoardWriter
from pipeline.head.trial import OptimizationResult
from pipeline.progress import silent
from tests.support.store import points


def photos() -> tuple[Examples, Examples]:
    training = Examples.read(in_memory(*points(80, 10, 7)))
    return training, Examples.read(in_memory(*points(300, 10, 8)), like=training)


def run(stored: Checkpoints = Checkpoints(), **settings: Any) -> OptimizationResult:  # noqa: B008
    return l2_path.train(*photos(), Settings(**settings), silent, stored, TensorBoardWriter())


def test_the_strength_that_does_best_on_validation_is_kept() -> None:
    outcome = run()
    assert len(outcome.trials) > 3
    assert [trial.l2 for trial in outcome.trials] == list(l2_path.STRENGTHS[: len(outcome.trials)])
    best = min(trial.objective() for trial in outcome.trials)
    (kept,) = (trial for trial in outcome.trials if trial.l2 == outcome.l2)
    assert kept.objective() == pytest.approx(best, rel=0.01)  # it was trained further


def test_the_choice_is_worth_having() -> None:
    training, _ = photos()
    test = Examples.read(in_memory(*points(1000, 10, 9)), like=training)
    chosen, weakest = (
        softmax.measure(test, outcome.measured)
        for outcome in (run(), run(l2=l2_path.STRENGTHS[-1]))
    )
    assert chosen
    assert weakest
    assert chosen.accuracy > weakest.accuracy + 0.02


def test_the_path_is_left_when_it_has_long_been_getting_worse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(l2_path, "_PATIENCE", 1)
    assert len(run().trials) < len(l2_path.STRENGTHS)


def test_a_sample_of_very_many_photos_decides_and_all_of_them_are_trained_on() -> None:
    vectors, labels = points(4000, 10, 7)
    quarter = Blocking(rows=64, cached_bytes=vectors.size * 4 // 4)
    training = Examples.read(in_memory(vectors, labels), blocking=quarter)
    assert training.cached is None
    validation = Examples.read(in_memory(*points(300, 10, 8)), like=training)
    outcome = l2_path.train(
        training, validation, Settings(), silent, Checkpoints(), TensorBoardWriter()
    )
    alone = Settings(l2=outcome.l2)
    expected = l2_path.train(
        training, validation, alone, silent, Checkpoints(), TensorBoardWriter()
    )
    (kept,) = (trial for trial in outcome.trials if trial.l2 == outcome.l2)
    assert kept.training_cross_entropy == pytest.approx(
        expected.trials[0].training_cross_entropy, rel=1e-3
    )
    assert kept.iterations < expected.trials[0].iterations
    assert np.abs(outcome.final - expected.final).max() < 0.05 * np.abs(expected.final).max()


def test_a_strength_that_is_given_is_the_only_one() -> None:
    outcome = run(l2=0.02)
    assert [trial.l2 for trial in outcome.trials] == [0.02]
    assert outcome.l2 == 0.02


def test_the_one_that_is_kept_is_at_its_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = run()
    monkeypatch.setattr(l2_path, "_FINE", 1e-8)
    optimum = run(l2=outcome.l2).measured
    training, _ = photos()
    weights = Settings().photo_weights(training)
    loss = softmax.objective(training, weights, outcome.l2, 0)
    assert loss(optimum)[0] <= loss(outcome.measured)[0] < loss(optimum)[0] * 1.0001


def test_the_number_of_iterations_says_how_hard_it_was() -> None:
    assert all(trial.iterations > 0 for trial in run().trials)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8, 0.95])
def test_a_killed_run_goes_on_and_ends_as_an_undisturbed_one(
    tmp_path: Path, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = 0
    save = Checkpoints.save

    def count(self: Checkpoints, facts: Any, arrays: Any) -> None:
        nonlocal saves
        saves += 1
        save(self, facts, arrays)
        if saves == limit:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.Checkpoints, "save", count)
    limit = -1
    undisturbed = run(Checkpoints(tmp_path / "whole.npz", 1))
    limit, saves = int(share * saves), 0
    with pytest.raises(KeyboardInterrupt):
        run(Checkpoints(tmp_path / "killed.npz", 1))
    limit, saves = -1, 0
    resumed = run(Checkpoints(tmp_path / "killed.npz", 1))
    assert saves > 0
    assert np.array_equal(resumed.measured, undisturbed.measured)
    assert np.array_equal(resumed.final, undisturbed.final)
    assert (resumed.trials, resumed.l2) == (undisturbed.trials, undisturbed.l2)
