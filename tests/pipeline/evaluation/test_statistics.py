"""Intervals and tests, against values computed by hand."""

from math import comb, sqrt

import pytest

from pipeline.evaluation import statistics


@pytest.mark.parametrize(("successes", "count"), [(0, 5), (5, 5), (161, 165), (1, 3)])
def test_the_interval_is_wilsons(successes: int, count: int) -> None:
    share, square = successes / count, 1.959963984540054**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    variance = share * (1 - share) / count + square / (4 * count * count)
    half = sqrt(square * variance) / (1 + square / count)
    expected = max(0.0, middle - half), min(1.0, middle + half)
    assert statistics.wilson_interval(successes, count) == pytest.approx(expected, abs=1e-9)


def test_without_photos_there_is_no_interval() -> None:
    assert statistics.wilson_interval(0, 0) is None


@pytest.mark.parametrize(("one", "other"), [(0, 0), (3, 3), (1, 6), (9, 1), (0, 200)])
def test_both_tests_sum_the_binomial_tail(one: int, other: int) -> None:
    n = one + other
    upper = sum(comb(n, k) for k in range(one, n + 1)) / 2**n
    assert statistics.sign_test_p_value(one, other) == pytest.approx(upper)
    tail = sum(comb(n, k) for k in range(max(one, other), n + 1)) / 2**n
    assert statistics.mcnemar_p_value(one, other) == pytest.approx(min(1.0, 2 * tail))
    assert statistics.mcnemar_p_value(other, one) == statistics.mcnemar_p_value(one, other)


@pytest.mark.parametrize(
    ("correct", "count", "earlier_correct", "earlier_count"),
    [(0, 5, 5, 5), (8, 10, 20, 20), (3, 4, 1, 7), (150, 165, 160, 165)],
)
def test_fishers_test_sums_the_hypergeometric_tail(
    correct: int, count: int, earlier_correct: int, earlier_count: int
) -> None:
    right, total = correct + earlier_correct, count + earlier_count
    least = max(0, right - earlier_count)
    tail = sum(
        comb(count, k) * comb(earlier_count, right - k) for k in range(least, correct + 1)
    ) / comb(total, right)
    found = statistics.fisher_p_value(correct, count, earlier_correct, earlier_count)
    assert found == pytest.approx(tail)
