"""The schedule."""

import pytest

from pipeline.errors import UserError
from pipeline.fine_tuning import schedule


def test_the_rate_rises_to_its_peak_and_falls_to_nothing() -> None:
    rates = [schedule.rate(step, 100, 0.5) for step in range(100)]
    assert rates.index(max(rates)) == 9
    assert max(rates) == pytest.approx(0.5)
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert 0 < rates[-1] < 0.001
    assert schedule.rate(0, 1, 0.5) == 0.5


def test_a_time_budget_limits_the_epochs() -> None:
    assert schedule.epochs_within(0, 8, 1000) == 8
    assert schedule.epochs_within(10, 8, 60) == 8
    assert schedule.epochs_within(10, 8, 200) == 3


def test_a_budget_below_one_epoch_is_refused() -> None:
    with pytest.raises(UserError, match="fine_tune_minutes is 1, but one epoch takes about 2 min"):
        schedule.epochs_within(1, 8, 120)
