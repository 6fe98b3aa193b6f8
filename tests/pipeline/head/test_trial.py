"""Trials: what is measured, and which one is better."""

import numpy as np
import pytest

from pipeline.head import softmax
from pipeline.head.dataset import Examples, in_memory
from pipeline.head.softmax import Metrics
from pipeline.head.trial import Trial
from tests.support.store import points

PHOTOS = Examples.read(in_memory(*points(200, 3, 1)))
SOLUTION = np.random.default_rng(0).normal(size=(21, 3)).astype(np.float32)
SEEN = Metrics(0.2, 0.9)


def test_figures_of_both_splits_are_kept() -> None:
    trial = Trial.of(0.1, 5, SOLUTION, SEEN, PHOTOS)
    measured = softmax.measure(PHOTOS, SOLUTION)
    assert measured
    assert (trial.training_cross_entropy, trial.training_accuracy) == (0.2, 0.9)
    assert trial.validation_accuracy == measured.accuracy
    assert trial.validation_cross_entropy == pytest.approx(measured.cross_entropy)


def knowing() -> np.ndarray:
    """A solution that looks how near photos are to the centre of each class."""
    solution = np.zeros((21, 3), np.float32)
    for number in range(3):
        solution[:-1, number] = PHOTOS.gather(np.flatnonzero(PHOTOS.classes == number)).mean(0)
    return solution


def test_a_head_that_is_merely_surer_is_no_better() -> None:
    plain, surer = (Trial.of(0.1, 5, knowing() * f, SEEN, PHOTOS) for f in (1, 5))
    assert plain.validation_cross_entropy
    assert surer.validation_cross_entropy
    assert surer.validation_cross_entropy > plain.validation_cross_entropy * 1.5
    assert surer.objective() == pytest.approx(plain.objective(), rel=0.02)


def test_a_head_that_knows_more_is_better() -> None:
    known, guessed = (Trial.of(0.1, 5, s, SEEN, PHOTOS) for s in (knowing(), SOLUTION))
    assert min((guessed, known), key=Trial.objective) is known


def test_without_validation_there_are_no_figures_of_it() -> None:
    nothing = Examples.read(lambda: iter([]), like=PHOTOS)
    alone = Trial.of(0.1, 5, SOLUTION, SEEN, nothing)
    assert alone == Trial(0.1, 5, 0.2, 0.9)
    assert alone.objective() == 0
