"""Intervals that say how far a number from a few seeds can be trusted."""

from scipy import stats


def clopper_pearson(
    successes: int, trials: int, level: float = 0.95
) -> tuple[float, float]:
    """The exact interval of a probability, from ``successes`` among ``trials``.

    It covers the true probability at least with ``level`` (Clopper and Pearson, The use
    of confidence or fiducial limits illustrated in the case of the binomial, 1934).

    Example:
        >>> low, high = clopper_pearson(32, 32)
        >>> round(low, 3), high
        (0.891, 1.0)
    """
    interval = stats.binomtest(successes, trials).proportion_ci(level, method="exact")
    return float(interval.low), float(interval.high)
