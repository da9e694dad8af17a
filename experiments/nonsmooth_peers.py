"""Nonsmooth problems: what the PyTorch peers, torchzero and ncopt, reach on them.

    pip install torch torchzero ncopt
    python experiments/nonsmooth_peers.py --out results/nonsmooth_peers.json
    python experiments/nonsmooth_peers.py --quick

2,000 gradients (and 10,000 values) from 3 starts, those of nonsmooth.py, in float64,
n = 50, but 2 and 4 for the last two. The best value at a gradient counts, above f*.
Step sizes, normalised, are the best of 7 from the first start, and fall by 1e-6. mean
and min-norm (the shortest, not of the hull) are torchzero's GradientSampling with its
fixed Gaussian sample; "step" samples anew on the sphere as wide as the step; "search"
backtracks. SQP-GS is ncopt's, with the constraint -1 <= 0: without one it fails, on an
empty maximum. PyGRANSO was not attempted: PyPI's 1.2.0 needs gurobi to be imported.

9 minutes on 2 busy cores of an Intel Xeon. Median gaps; OSQP broke off on cheb2:

                  maxq mxhil    lq  cb3I cb3II faces brown miff2   crI  crII rosen cheb2
 mean(100)         2e3  3e-1   1e1   4e1   4e1  2e-1   7e1   7e0   1e1   2e1  2e-2  8e-1
 mean(4)           3e2  2e-1   3e1   1e2   3e1  8e-2   3e1   2e1   1e1   4e1  5e-1  3e-1
 min-norm(100)     2e3  1e-1  2e-1  1e-1   1e0   1e0  1e-2   4e0   1e0   4e0  3e-2  8e-1
 min-norm(4)       5e2  4e-2  8e-5  1e-5  1e-3  5e-1  6e-6  2e-3  7e-4  2e-5  7e-1  3e-1
 mean(4) step      3e2  5e-2  7e-5  2e-5  5e-4  3e-2  7e-6  2e-3  4e-8  3e-5  3e-2  1e-1
 min-norm(4) step  5e2  6e-2  8e-5  2e-5  8e-3  8e-3  1e-5  2e-3  9e-4  1e-4  2e-1  3e-1
 mean(4) search   4e-4  1e-1   3e1   1e2   3e1  2e-1   5e1   3e1  4e-1   4e1  7e-3  5e-1
 min-norm search 8e-34  2e-1  6e-2  5e-4   1e0  6e-1  2e-7  5e-2  8e-3  3e-2  2e-1  9e-1
 ShorR Wolfe     2e-20 4e-11 5e-11 3e-10 6e-10 6e-12 1e-15  4e-5  6e-8  4e-6  3e-2  4e-1
 BFGS Armijo     2e-10  3e-8 4e-13 4e-13 2e-11 2e-31 2e-31  6e-5 1e-14 3e-13 1e-12  4e-1
 BFGS Wolfe       7e-8  3e-8 5e-11  1e-8  3e-7 2e-10 2e-11  1e-2  5e-9  6e-7 2e-11  4e-1
 SQP-GS(4)        4e-5  2e-5  2e-2  5e-3     0  4e-3  2e-3  1e-2     0  3e-2 2e-21  3e-1
 SQP-GS(2n)        1e3   2e0  4e-1  3e-1  4e-3   4e0  3e-1  5e-1  2e-2   3e0 2e-21  4e-1
"""

import contextlib
import sys
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import jax
import numpy as np
import tyro
from nonsmooth import DECAYS, FAMILY, RATES

from subsel.lab import cells
from subsel.lab.errors import UsageError, exit_status
from subsel.problems import PROBLEMS

PACKAGES = ("torch", "torchzero", "ncopt")
try:
    import torch
    import torchzero as tz
    from ncopt.sqpgs import main as ncopt
except ImportError:
    torch = None
STARTS = 3
FALL = DECAYS[0]  # of a step size, over all updates
VALUES = 5  # values alone are free, up to so many a gradient of the budget
PLACES = {name: 50 for name in FAMILY} | {"rosenbrock": 2, "chebyshev_rosenbrock_2": 4}


class _Spent(Exception): ...  # the budget


class Oracle:
    """Values and gradients of a JAX function for PyTorch; counts and keeps the best."""

    def __init__(self, value: Callable, both: Callable, budget: int):
        self.value, self.both, self.budget = value, both, budget
        self.gradients, self.values, self.best = 0, 0, np.inf  # best at gradients

    def __call__(self, x: np.ndarray, gradient: bool):
        """A float, and the gradient if asked for: NumPy's, in double precision."""
        done, worth = (self.gradients, 1) if gradient else (self.values, VALUES)
        if done == worth * self.budget:
            raise _Spent
        value, grad = self.both(x) if gradient else (self.value(x), None)
        if gradient:
            self.best = np.fmin(self.best, float(value))  # without NaN
        self.gradients += gradient
        self.values += not gradient
        return float(value), np.array(grad)


def torchzero(modules: Callable, cost: int = 1) -> Callable:
    """Steps with ``modules(rate, fall a step)``, of ``cost`` gradients each."""

    def solve(oracle, x, rate):
        length = max(oracle.budget // cost, 1)
        x = torch.nn.Parameter(torch.tensor(x))
        optimizer = tz.Optimizer([x], *modules(rate, FALL ** (1 / length)))

        def closure(backward=True):
            value, grad = oracle(x.detach().numpy(), backward)
            if backward:
                x.grad = torch.from_numpy(grad)
            return torch.tensor(value, dtype=torch.float64)

        seen = None
        while seen != (seen := (oracle.gradients, oracle.values)):
            if rate is not None:
                done = optimizer.current_step / length
                optimizer.param_groups[0]["lr"] = rate * FALL**done
            optimizer.step(closure)

    return solve


def sampling(n: int, aggregate: str, kind: str = "fixed") -> Callable:
    """Steps of a given length along what n gradients give; kinds as said above."""

    def modules(rate, fall):
        inner, options = [tz.m.Normalize(), tz.m.LR(rate or 1.0)], {}
        if kind == "step":
            options = {"sigma": rate, "distribution": "sphere", "decay": fall}
            options["termination"] = tz.m.TerminateAfterNSteps(0)  # after every step
        elif kind == "search":  # with x0 sampled, trial points see a stale value there
            inner, options["include_x0"] = [tz.m.Backtracking()], False
            options["termination"] = tz.m.TerminateByUpdateNorm(1e-8)
        # Not as a module before the others: then include_x0 recurses without an end.
        return [tz.m.GradientSampling(inner, n=n, aggregate=aggregate, **options)]

    return torchzero(modules, n)


def newton(name: str, search: str, **options) -> Callable:
    def modules(rate, fall):
        stretch = [tz.m.Mul(1.2)] if name == "ShorR" else []  # as its docstring asks
        return getattr(tz.m, name)(), getattr(tz.m, search)(**options), *stretch

    return torchzero(modules)


def sqpgs(points: Callable[[int], int], constrained: bool = True) -> Callable:
    """ncopt; without a constraint it fails, so it is given the constraint -1 <= 0.

    Its Jacobians, vmapped through PyTorch, are taken from JAX; the rest is its own.
    """

    def jacobian(f, rows, split_jac, **_):
        values, slopes = zip(*[f.both(x, True) for x in rows.numpy()], strict=True)
        slopes = np.array(slopes)
        return [slopes] if split_jac else slopes[:, None], np.array(values)[:, None]

    def function(both, dim, smooth):
        return SimpleNamespace(
            single_eval=lambda x: np.array([both(x, False)[0]]),
            **{"both": both, "dim": dim, "dim_out": 1, "is_differentiable": smooth},
        )

    def solve(oracle, x, rate):
        slack = function(lambda x, gradient: (-1.0, np.zeros_like(x)), len(x), True)
        bounds, f = [slack] if constrained else [], function(oracle, len(x), False)
        limits = {"max_iter": oracle.budget, "tol": 0.0, "verbose": False}
        limits["assert_tol"] = 1e-3  # of the QP; the default, 1e-5, stops many runs
        limits["options"] = {"num_points_obj": points(len(x))}
        with mock.patch.object(ncopt, "compute_value_and_jacobian", jacobian):
            ncopt.SQPGS(f, bounds, [], x, **limits).solve()

    return solve


MEANS = ("mean", "min-norm")
TUNED = {f"{mean}({n})": sampling(n, mean) for mean in MEANS for n in (100, 4)}
TUNED |= {f"{mean}(4), step": sampling(4, mean, "step") for mean in MEANS}
PEERS = TUNED | {f"{mean}(4), search": sampling(4, mean, "search") for mean in MEANS}
PEERS |= {
    "ShorR, Wolfe": newton("ShorR", "StrongWolfe", a_init="quadratic", fallback=True),
    "BFGS, Armijo": newton("BFGS", "Backtracking"),
    "BFGS, Wolfe": newton("BFGS", "StrongWolfe", fallback=True),
    "SQP-GS(4)": sqpgs(lambda n: 4),
    "SQP-GS(2n)": sqpgs(lambda n: 2 * n),
    "SQP-GS, free": sqpgs(lambda n: 4, constrained=False),
}


def attempt(functions, solve: Callable, budget, seed: int, start, rate) -> dict:
    """One run; what stops it, beside the budget, is reported and never raised."""
    torch.manual_seed(seed)
    oracle, error = Oracle(*functions, budget), None
    try:
        with contextlib.suppress(_Spent):
            solve(oracle, start.copy(), rate)
    except Exception as stop:  # whatever a peer raises is a result here
        error = f"{type(stop).__name__}: {stop}"[:200]
    spent = {"gradients": oracle.gradients, "values": oracle.values}
    return {"best": float(oracle.best)} | spent | {"error": error}


def cell(place: str, name: str, budget: int) -> dict:
    """The runs of one peer on one problem, at the step size best from the first."""
    with jax.enable_x64(True):
        problem = PROBLEMS[place](PLACES[place])
        functions = jax.jit(problem.f), jax.jit(jax.value_and_grad(problem.f))
        noise = np.random.default_rng(0).normal(size=(STARTS, PLACES[place]))
        points = problem.start + 0.1 * noise
        run = partial(attempt, functions, PEERS[name], budget)
        rates = RATES if name in TUNED else [None]
        tried = {rate: run(0, points[0], rate) for rate in rates}
        rate = min(tried, key=lambda rate: tried[rate]["best"])
        others = [run(seed, points[seed], rate) for seed in range(1, STARTS)]
    return {"rate": rate, "runs": [tried[rate], *others], "known": problem.best}


def table(report: dict) -> str:
    """Median gaps, a row a peer; * where an error stopped a run, and every error."""
    places = list(dict.fromkeys(name.split(" | ")[0] for name in report["cells"]))
    heads = (p.replace("chained_", "").replace("chebyshev_", "")[:12] for p in places)
    lines, errors = [" " * 20 + "".join(f"{head:>13}" for head in heads)], {}
    for name in PEERS:
        lines.append(f"{name:20}")
        for place in places:
            data = report["cells"][f"{place} | {name}"]
            gap = np.median([run["best"] for run in data["runs"]]) - data["known"]
            stops = [run["error"] for run in data["runs"] if run["error"]]
            errors |= {f"{name}: failed: {stop}": None for stop in stops}
            early = max(run["gradients"] for run in data["runs"]) < 20
            mark = "failed" if stops and early else f"{gap:.1e}" + "*" * bool(stops)
            lines[-1] += f"{mark:>13}"
    lines += [*errors, "PyGRANSO: not attempted, PyPI's 1.2.0 needs gurobi to import"]
    return "\n".join(line.rstrip() for line in lines)


def main(quick: bool = False, out: Path | None = None) -> None:
    """Runs what is missing and prints a table of median gaps.

    Args:
        quick: rosenbrock only, 200 gradients a run and not 2,000, within a minute.
        out: JSON file; in runs/, of each form its own, if left out.
    """
    if torch is None:
        raise UsageError(f"a peer is missing: pip install {' '.join(PACKAGES)}")
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    budget, places = (200, ["rosenbrock"]) if quick else (2000, PLACES)
    work = {
        f"{place} | {name}": partial(cell, place, name, budget)
        for place in places
        for name in PEERS
    }
    protocol = {"budget": budget, "starts": STARTS, "rates": RATES, "fall": FALL}
    protocol["versions"] = {name: metadata.version(name) for name in PACKAGES}
    out = cells.place("nonsmooth_peers", quick, out)
    print(table(cells.run(out, protocol, work)) + f"\n\nsaved as {out}")


if __name__ == "__main__":
    sys.exit(exit_status(lambda: tyro.cli(main, description=__doc__)))
