"""Trials: which one is better."""

from pipeline.softmax import Figures
from pipeline.trial import Trial


def trial(accuracy: float, cross_entropy: float) -> Trial:
    return Trial.of(0.1, 5, Figures(0.2, 0.9), Figures(cross_entropy, accuracy))


def test_the_most_accurate_is_best_and_among_equals_the_one_with_the_lowest_cross_entropy() -> None:
    given = [trial(0.8, 0.1), trial(0.9, 2.0), trial(0.9, 1.0)]
    assert min(given, key=Trial.badness) is given[2]


def test_without_validation_there_are_no_figures_of_it() -> None:
    alone = Trial.of(0.1, 5, Figures(0.2, 0.9), None)
    assert (alone.training_cross_entropy, alone.training_accuracy) == (0.2, 0.9)
    assert (alone.validation_cross_entropy, alone.validation_accuracy) == (None, None)
    assert alone.badness() == alone.badness()
