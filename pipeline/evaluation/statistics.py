"""Statistics of shares: confidence intervals and exact tests, computed by SciPy."""


def wilson_interval(successes: int, count: int) -> tuple[float, float] | None:
    """Return the 95% confidence interval of a share; None if `count` is 0.

    Wilson, "Probable inference", JASA 22, 1927. Unlike the normal approximation, the interval stays
    within 0 and 1, and is valid for small counts and shares near the ends.
    """
    from scipy.stats import binomtest

    if not count:
        return None
    interval = binomtest(successes, count).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar_p_value(fixes: int, regressions: int) -> float:
    """Return the two-sided p-value of McNemar's exact test.

    McNemar, "Note on the sampling error of the difference between correlated proportions",
    Psychometrika 12, 1947: if two models are equally good, each is right on about half of the
    photos on which they differ.
    """
    from scipy.stats import binomtest

    differing = fixes + regressions
    return float(binomtest(fixes, differing).pvalue) if differing else 1.0


def sign_test_p_value(regressions: int, fixes: int) -> float:
    """Return the one-sided p-value of the exact sign test for more regressions than fixes."""
    from scipy.stats import binomtest

    differing = fixes + regressions
    if not differing:
        return 1.0
    return float(binomtest(regressions, differing, alternative="greater").pvalue)


def fisher_p_value(correct: int, count: int, earlier_correct: int, earlier_count: int) -> float:
    """Return the one-sided p-value of Fisher's exact test for a lower share than the earlier one.

    Unlike the tests above, it compares shares of different photos.
    """
    from scipy.stats import fisher_exact

    table = [
        [correct, count - correct],
        [earlier_correct, earlier_count - earlier_correct],
    ]
    return float(fisher_exact(table, alternative="less").pvalue)
