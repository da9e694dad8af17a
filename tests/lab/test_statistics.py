"""The statistics against published check values, closed forms and other libraries."""

import doctest
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rliable import metrics
from scipy import stats
from scipy.special import betaincinv

from subsel.lab import statistics


def test_the_check_values_in_the_docstrings():
    """Agarwal 2021's and AlgoPerf's; see the design notes of the ablation."""
    failed, tried = doctest.testmod(statistics)
    assert failed == 0 and tried >= 10


@pytest.mark.parametrize("successes, trials", [(0, 32), (5, 32), (31, 32), (32, 32)])
def test_clopper_pearson_are_quantiles_of_beta_distributions(successes, trials):
    low, high = statistics.clopper_pearson(successes, trials)
    failures = trials - successes
    lowest = betaincinv(successes, failures + 1, 0.025) if successes else 0
    highest = betaincinv(successes + 1, failures, 0.975) if failures else 1
    assert (low, high) == pytest.approx((lowest, highest), abs=1e-6)


def test_student_is_the_interval_of_the_t_test():
    values = np.random.default_rng(0).normal(3, 2, 7)
    mean, half = statistics.student(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (mean - half, mean + half) == pytest.approx(tuple(expected))


def test_published_intervals_of_success_rates():
    for (successes, trials), expected in {
        (10, 10): (0.69, 1),
        (20, 20): (0.83, 1),
        (18, 20): (0.68, 0.99),
        (32, 32): (0.89, 1),
    }.items():
        found = statistics.clopper_pearson(successes, trials)
        assert found == pytest.approx(expected, abs=0.006)


def test_the_interquartile_mean_is_a_trimmed_one_over_all_runs_and_tasks():
    scores = np.random.default_rng(0).normal(size=(12, 3))
    found = statistics.interquartile_mean(scores, reps=200)
    assert found.value == pytest.approx(stats.trim_mean(scores.ravel(), 0.25))
    assert found.low < found.value < found.high
    assert statistics.interquartile_mean(np.arange(1.0, 21)[:, None], 10).value == 10.5
    assert found == statistics.interquartile_mean(scores, reps=200)


def test_the_bootstrap_is_within_tasks():
    """Tasks far apart with no spread within have no interval at all."""
    scores = np.repeat([[0.0, 100.0]], 8, axis=0)
    assert statistics.interquartile_mean(scores, reps=50) == (50, 50, 50)


def test_intervals_cover_what_they_should():
    """The mean of the middle half of a normal sample, 95 % of 100 times."""
    rng, hits = np.random.default_rng(1), 0
    for _ in range(100):
        estimate = statistics.interquartile_mean(rng.normal(size=(20, 2)), reps=200)
        hits += estimate.low <= 0 <= estimate.high
    assert 88 <= hits <= 100  # an 80 % interval would cover 80 of them


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=6),
    st.lists(st.integers(0, 4), min_size=1, max_size=6),
)
def test_improvement_counts_pairs(x, y):
    pairs = list(itertools.product(x, y))
    expected = sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs)
    columns = [np.array([z]).T for z in (x, y)]
    found = statistics.improvement(*columns, reps=2)
    assert found.value == pytest.approx(expected)
    assert found.value == pytest.approx(metrics.probability_of_improvement(*columns))


def test_three_seeds_can_never_be_significant():
    """The smallest p: 1 of the choose(2 n, n) / 2 ways to part the runs."""
    for n, expected in {3: 0.10, 5: 0.0079, 10: 1.1e-5, 20: 1.5e-11}.items():
        exact = 2 / math.comb(2 * n, n)
        p = stats.mannwhitneyu(np.arange(n), n + np.arange(n), method="exact").pvalue
        assert exact == pytest.approx(p) and exact == pytest.approx(expected, rel=0.06)
    assert statistics.mann_whitney([1, 2, 3], [4, 5, 6]) == pytest.approx(0.1)


@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.integers(2, 9))
def test_the_stratified_test_of_one_task_is_mann_and_whitneys(seed, n, m):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(4, size=n), rng.integers(4, size=m)
    expected = stats.mannwhitneyu(
        x, y, method="asymptotic", use_continuity=False
    ).pvalue
    found = statistics.stratified_mann_whitney(x[:, None], y[:, None])
    if len({*x, *y}) == 1:  # where SciPy has no number
        assert found == 1
    else:
        assert found == pytest.approx(expected)


def test_the_stratified_test_is_that_of_runs_exchanged_within_tasks():
    """The share of 20,000 exchanges whose sum of U lies as far out."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(12, 3)) + [0.5, 100, -100]
    y = rng.normal(size=(12, 3)) + [0.0, 99.5, -100.4]

    def excess(both):
        own, theirs = both[..., None, :12, :], both[..., 12:, None, :]
        return np.abs(np.sum(own > theirs, axis=(-3, -2, -1)) - 3 * 72)

    both = np.concatenate([x, y])
    exchanged = rng.permuted(np.tile(both, (20_000, 1, 1)), axis=1)
    expected = np.mean(excess(exchanged) >= excess(both))
    found = statistics.stratified_mann_whitney(x, y)
    assert 0.005 < expected < 0.2 and found == pytest.approx(expected, abs=0.01)
    whole = stats.mannwhitneyu(x.ravel(), y.ravel()).pvalue
    assert whole > 2 * found  # tasks far apart hide what holds in each


def test_holm_is_that_of_statsmodels():
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(0)
    for n in (1, 2, 7):
        p = rng.uniform(size=n) ** 3
        expected = multipletests(p, method="holm")[1]
        np.testing.assert_allclose(statistics.holm(p), expected)
    assert statistics.holm([]).size == 0


def test_expected_best_is_that_of_drawing():
    scores = np.array([0.3, 0.1, 0.7, 0.7, 0.0])
    drawn = np.random.default_rng(0).choice(scores, size=(200_000, 5))
    best = np.maximum.accumulate(drawn, axis=1).mean(axis=0)
    np.testing.assert_allclose(statistics.expected_best(scores), best, atol=3e-3)


def test_profiles_are_shares_of_runs_above_a_level():
    scores = np.array([[0.0, 0.2], [0.4, 0.6], [0.8, 1.0]])
    line, low, high = statistics.score_profile(scores, np.array([0.0, 0.5]), reps=50)
    np.testing.assert_allclose(line, [5 / 6, 3 / 6])
    assert (low <= line).all() and (line <= high).all()


def test_the_benchmark_score_integrates_the_profile():
    times = np.random.default_rng(0).uniform(1, 3, size=(4, 6))
    times[0, 0] = times[1, :] = np.inf
    ratio = times / times.min(axis=0)
    levels = 1 + 3 * (np.arange(30_000) + 0.5) / 30_000
    expected = np.mean(ratio[:, :, None] <= levels, axis=(1, 2))
    found = statistics.benchmark_score(times)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found[1] == 0
    nobody = np.full((2, 1), np.inf)  # solved by none: a score for none
    assert statistics.benchmark_score(nobody).tolist() == [0, 0]


def test_the_benchmark_interval_is_over_the_runs():
    runs = [np.array([[1.0], [1.0], [1.0]]), np.array([[2.0], [np.inf], [2.0]])]
    sure, unsure = statistics.benchmark_intervals(runs, reps=200)
    assert sure == (1, 1, 1)
    assert unsure.value == pytest.approx(2 / 3) and unsure.low == 0
