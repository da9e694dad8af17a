import numpy as np

from subsel.lab import profiles


def test_profiles_of_three_problems_counted_by_hand():
    evaluations = [1, 10, 100]
    values = [[9.0, 1.0, 0.1], [9.0, 9.0, 0.5], [9.0, 9.0, 9.0]]
    work = profiles.work_to_solve(evaluations, values, [10.0] * 3, 0.0, 0.1)
    np.testing.assert_array_equal(work, [10, 100, np.inf])
    shares = profiles.data_profile(work, [9, 10, 100])
    np.testing.assert_allclose(shares, [0, 1 / 3, 2 / 3])
    both = np.array([work, [20, 50, np.inf]])
    shares = profiles.performance_profile(both, [1, 2, 4])
    np.testing.assert_allclose(shares, [[1 / 3, 2 / 3, 2 / 3], [1 / 3, 2 / 3, 2 / 3]])


def test_the_target_is_relative_to_the_start_and_to_a_best_below_zero():
    work = profiles.work_to_solve([5, 6], [[-8.9, -9.0]], [0.0], -10.0, 0.1)
    np.testing.assert_array_equal(work, [6])
