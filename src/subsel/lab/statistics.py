"""How far numbers from a few runs can be trusted, through SciPy and rliable.

Scores are ``[runs, tasks]``, larger is better. Intervals that are not exact are of the
stratified bootstrap: runs are drawn anew within each task (Agarwal, Schwarzer, Castro,
Courville and Bellemare, Deep reinforcement learning at the edge of the statistical
precipice, 2021). rliable is imported when it is needed, which takes seconds.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

REPETITIONS = 2000  # of the bootstrap
_SEED = 0


class Estimate(NamedTuple):
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


def interquartile_mean(scores, reps: int = REPETITIONS) -> Estimate:
    """Mean of the middle half of all runs of all tasks.

    Example:
        >>> import numpy as np
        >>> interquartile_mean(np.arange(1.0, 11.0)[:, None], reps=10).value
        5.5
    """
    from rliable import metrics

    return _estimate(np.asarray(scores), metrics.aggregate_iqm, reps)


def improvement(x, y, reps: int = REPETITIONS) -> Estimate:
    r"""Probability that a run of x is better than one of y, a mean over tasks.

    .. math:: P(X > Y) + P(X = Y) / 2

    It is Mann and Whitney's U over the number of pairs; 1/2 means no difference.

    Example:
        >>> import numpy as np
        >>> x, y = np.array([[1, 2, 3, 4]]).T, np.array([[2, 2, 3, 5]]).T
        >>> improvement(x, y, reps=10).value
        0.40625
    """

    def better(x, y):  # rliable's own calls SciPy a time, which takes minutes
        x, y = x[:, None, :], y[None, :, :]
        return np.mean((x > y) + 0.5 * (x == y))

    return _estimate([np.asarray(x, float), np.asarray(y, float)], better, reps)


def score_profile(
    scores, levels: np.ndarray, reps: int = REPETITIONS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share of runs above each level: a line ``[levels]``, and its band, low and high.

    The mean over tasks of the share in each: what Agarwal 2021 calls a run-score
    distribution.
    """
    line, (low, high) = _bootstrap(
        np.asarray(scores, float),
        lambda x: np.mean(x[..., None] > levels, axis=(0, 1)),
        reps,
    )
    return line, low, high


def benchmark_score(times, r_max: float = 4.0) -> np.ndarray:
    r"""AlgoPerf's score of contestants, from their times to the target.

    .. math::
        B = \frac{1}{r_{max} - 1} \int_1^{r_{max}} \rho(\tau) d\tau

    where rho is the share of tasks that take at most tau times what the fastest
    contestant takes there (Dolan and Moré 2002; Dahl et al., Benchmarking neural
    network training algorithms, 2023). The integral is exact.

    Args:
        times: ``[contestants, tasks]``, infinity where the target was missed.

    Returns:
        ``[contestants]`` in [0, 1].

    Example:
        >>> import numpy as np
        >>> benchmark_score(np.array([[1, 2, np.inf], [2, 1, 3.0]])).round(4)
        array([0.5556, 0.8889])
    """
    times = np.asarray(times, float)
    fastest = np.min(times, axis=0)
    ratio = np.full(times.shape, np.inf)
    np.divide(times, fastest, out=ratio, where=np.isfinite(times))
    return np.mean(np.clip(r_max - ratio, 0, None) / (r_max - 1), axis=1)


def benchmark_intervals(
    times: Sequence[np.ndarray], r_max: float = 4.0, reps: int = REPETITIONS
) -> list[Estimate]:
    """:func:`benchmark_score` of the medians of runs, with bootstrap intervals.

    Args:
        times: of each contestant ``[runs, tasks]``.
    """
    rng = np.random.default_rng(_SEED)

    def medians(drawn):
        return np.stack([_median(x) for x in drawn])

    def again(x):
        rows = rng.integers(len(x), size=x.shape)
        return np.take_along_axis(x, rows, axis=0)

    times = [np.asarray(x, float) for x in times]
    value = benchmark_score(medians(times), r_max)
    drawn = [benchmark_score(medians(map(again, times)), r_max) for _ in range(reps)]
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    return [Estimate(*map(float, row)) for row in zip(value, low, high, strict=True)]


def mann_whitney(x, y) -> float:
    """Two-sided p that runs of x and of y ``[runs]`` are of one distribution."""
    return float(stats.mannwhitneyu(x, y, alternative="two-sided").pvalue)


def stratified_mann_whitney(x, y) -> float:
    r"""The same of ``[runs, tasks]``, in every task: p of the sum of their U.

    .. math::
        z = \frac{\sum_t (U_t - n m / 2)}{\sqrt{\sum_t V_t}}, \qquad
        V_t = \frac{n m}{12}
            \left( N + 1 - \frac{\sum_k (c_k^3 - c_k)}{N (N - 1)} \right)

    N = n + m, and c are the sizes of ties. By the normal approximation; with as many
    runs in every task it is van Elteren's test (1960). p is 1 where all are tied.
    """
    excess, variance = 0.0, 0.0
    for own, theirs in zip(np.transpose(x), np.transpose(y), strict=True):
        n, m, both = len(own), len(theirs), np.concatenate([own, theirs])
        ties = np.unique(both, return_counts=True)[1]
        tied = np.sum(ties**3 - ties) / (len(both) * (len(both) - 1))
        excess += stats.mannwhitneyu(own, theirs).statistic - n * m / 2
        variance += n * m / 12 * (len(both) + 1 - tied)
    return (
        float(2 * stats.norm.sf(abs(excess) / np.sqrt(variance))) if variance else 1.0
    )


def holm(p: Sequence[float]) -> np.ndarray:
    """p values adjusted for how many they are (Holm 1979)."""
    p = np.asarray(p, float)
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(stepped, 1)[np.argsort(order)]


def expected_best(scores) -> np.ndarray:
    r"""``[k]``: the best of 1, 2, … trials drawn from ``scores`` ``[trials]``.

    .. math::
        E_k = \sum_i s_{(i)} \left[ (i / n)^k - ((i - 1) / n)^k \right]

    Dodge, Gururangan, Card, Schwartz and Smith, Show your work, 2019.

    Example:
        >>> expected_best([0.0, 1.0])
        array([0.5 , 0.75])
    """
    ordered = np.sort(np.asarray(scores, float))
    n = len(ordered)
    rank, k = np.arange(n + 1)[None, :] / n, np.arange(1, n + 1)[:, None]
    return np.sum(ordered[None, :] * np.diff(rank**k, axis=1), axis=1)


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


def student(values) -> tuple[float, float]:
    """Mean, and half of its 95 % interval by Student's t; of at least two values."""
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return float(np.mean(values)), float(half)


def _median(x):
    """Over runs; the upper one of two, which infinity leaves finite or infinite."""
    return np.sort(x, axis=0)[len(x) // 2]


def _estimate(scores, function, reps) -> Estimate:
    value, (low, high) = _bootstrap(scores, lambda *x: np.array([function(*x)]), reps)
    return Estimate(float(value[0]), float(low[0]), float(high[0]))


def _bootstrap(scores, function, reps):
    from rliable import library

    before = np.random.get_state()  # rliable draws from NumPy's global generator
    np.random.seed(_SEED)
    try:
        value, interval = library.get_interval_estimates(
            {"": scores}, function, reps=reps
        )
    finally:
        np.random.set_state(before)
    return value[""], interval[""]
