"""Profiles of solvers over many problems, from the work that each of them needed."""

import numpy as np


def work_to_solve(evaluations, values, start, best, tolerance: float) -> np.ndarray:
    r"""Gradient evaluations until :math:`f(x) \le f^* + \tau (f(x_0) - f^*)`.

    Args:
        evaluations: ``[T]``, increasing.
        values: ``[..., T]``, the smallest value seen after so many evaluations.
        start: ``[...]``, values at the starts.
        best: the smallest value known.
        tolerance: tau.

    Returns:
        ``[...]``; infinity where it was not reached.
    """
    target = best + tolerance * (np.asarray(start)[..., None] - best)
    reached = np.asarray(values) <= target
    first = np.argmax(reached, axis=-1)
    return np.where(reached.any(-1), np.asarray(evaluations, float)[first], np.inf)


def data_profile(work: np.ndarray, budgets: np.ndarray) -> np.ndarray:
    """Share of the problems ``[P]`` that are solved within each of the budgets.

    Moré and Wild, Benchmarking derivative-free optimization algorithms, 2009; in
    gradients here, where theirs counts simplex gradients.
    """
    return np.mean(np.asarray(work)[:, None] <= np.asarray(budgets)[None, :], axis=0)


def performance_profile(work: np.ndarray, ratios: np.ndarray) -> np.ndarray:
    """Share of problems solved within a ratio of the fastest solver's work.

    Args:
        work: ``[solvers, P]``; infinity where a problem was not solved.
        ratios: ``[R]``, at least 1.

    Returns:
        ``[solvers, R]``. Dolan and Moré, Benchmarking optimization software with
        performance profiles, 2002.
    """
    fastest = np.min(work, axis=0)
    solved = np.isfinite(work)
    relative = np.full(work.shape, np.inf)
    np.divide(work, fastest, out=relative, where=solved)
    return np.mean(relative[:, :, None] <= np.asarray(ratios), axis=1)
