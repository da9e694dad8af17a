"""Nonsmooth problems: selection rules beside their controls and Optax's optimizers.

    python experiments/nonsmooth.py --dims 2 10 50 --out results/nonsmooth.json
    python experiments/nonsmooth.py --quick

Every contender has 2,000 gradients a run, from 10 starts x0 + 0.1 N(0, I), in float64;
one step size for all starts, the best of 7 x 2 by the median of the last best value
(first steps 0.01 to 10, falling geometrically by 1e-6 or 1e-9). gradient_sampling and
lbfgs choose their own steps; polyak_sgd is given f* (0 for logistic), tunes a factor.
A gap is f - f*, with f* the smallest value known or seen.

An hour on 2 busy cores of an Intel Xeon with --dims 2 10 50, which is what
results/nonsmooth.json holds; n = 200 was begun and takes about as long again. Medians
at n = 50 unless said, each beside normalised sgd and adam:

    shared kink       CB3 II        history(3) 1.1e-10       7.6e-5, 3.2e-6
                      Crescent I    history(3) 8.7e-15       5.0e-5, 4.8e-6
    independent ones  CB3 I         history(3) 8.1e-9        4.1e-9, 7.2e-10
                      Crescent II   history(3) 1.9e-8        5.4e-9, 1.4e-9
                      Brown 2       history(3) 2.3e-9        2.1e-9, 3.5e-10
    curved valley     Rosenbrock    history(2) 1.5e-14       7.1e-2, 1.0e-2
                      Chebyshev-Rosenbrock 2, n = 4
                                    history(8) 4.4e-9        7.2e-3, 3.4e-4

- Below 1e-8 on Rosenbrock: every history, and aggregate, in 10 of 10 starts. Below 1e-5
  on the second Chebyshev-Rosenbrock: history(8) 9, history(5) and aggregate 8.
- No one rule does it all at one gradient a step. Beyond three times the gap of
  normalised sgd are history(3) and history(5) on Crescent II (3.4, 3.9) and history(8)
  on CB3 I (3.8); history(2) and aggregate stay within 2.5, but are closer than Adam by
  a factor of only 5 on CB3 II.
- gradient_sampling, with function values: below 1e-4 on 9 of 10 problems (8.4e-4 on
  Mifflin 2), and the first to tolerance 1e-7 in 57 % of the runs, Adam in 13 %.
- It is the selection, not the scale: of the same five gradients, unit length, the mean
  leaves 1.5e-3 and a random one 1.1e-4 on CB3 II; min_norm 5.8e-11, "match" 1.4e-7.
- Evaluating four points a step (ball) loses to remembering three steps on 15 of 15.
- Nobody solves the first Chebyshev-Rosenbrock at n = 4.
- Smooth controls, gradients to 1e-6 over normalised sgd's: quadratic 1.00 for every
  history, logistic 0.82, 1.00, 1.48, 1.48 for 2, 3, 5, 8 (traces are kept in steps of
  a fifth). Adam needs 0.3 to 0.4.
- The best step lay on the edge of the grid ("edge" in the file) for adam on Crescent I,
  Mifflin 2, Rosenbrock and Chebyshev-Rosenbrock: more steps might serve it better.

In one file because contenders, tuning and tables are one protocol.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from matplotlib.figure import Figure

import subsel
from subsel.lab import cells, profiles
from subsel.lab.errors import UsageError, exit_status
from subsel.lab.files import atomic
from subsel.problems import PROBLEMS, Problem

RATES = (0.01, 0.0316, 0.1, 0.316, 1.0, 3.16, 10.0)
DECAYS = (1e-6, 1e-9)
TRACE = 40  # points of each trace that are kept


class Arm(NamedTuple):
    """A contender. ``make(schedule, problem)`` is an Optax optimizer."""

    make: Callable
    cost: int = 1  # gradients an update
    spent: Callable | None = None  # the same, from (state, next state), where it varies
    tuned: bool = True


def selection(oracle, select, scale="unit"):
    """Descent along a selection; a callable oracle is made from the schedule."""

    def make(schedule, problem):
        candidates = oracle(schedule) if type(oracle).__name__ != "Oracle" else oracle
        return optax.chain(
            subsel.select_subgradient(candidates, select, scale=scale),
            optax.scale_by_learning_rate(schedule),
        )

    return make


def plain(optimizer):
    return lambda schedule, problem: optimizer(schedule)


def sam(schedule):
    trial = optax.chain(optax.contrib.normalize(), optax.sgd(0.05))
    tx = optax.contrib.sam(optax.sgd(schedule), trial, opaque_mode=True)

    def update(updates, state, params, *, grad_fn, **_):  # sam takes no other argument
        return tx.update(updates, state, params, grad_fn=grad_fn)

    return optax.GradientTransformationExtraArgs(tx.init, update)


def polyak(schedule, problem):
    return optax.polyak_sgd(1e9, scaling=schedule(0), f_min=problem.best or 0.0)


ORACLES = {
    "history(2)": (subsel.history(2), 1),
    "history(3)": (subsel.history(3), 1),
    "history(5)": (subsel.history(5), 1),
    "history(8)": (subsel.history(8), 1),
    "aggregate": (subsel.aggregate(), 1),
    "ball(4)": (lambda schedule: subsel.ball(4, schedule), 4),
    "segment(4)": (lambda schedule: subsel.segment(4, schedule), 4),
}
SELECTORS = {
    "min_norm": subsel.min_norm(),
    "mean": subsel.mean(),
    "random": subsel.uniform(),
}
RULES = {
    f"{name}, min_norm": Arm(selection(oracle, SELECTORS["min_norm"]), cost)
    for name, (oracle, cost) in ORACLES.items()
}
RULES["gradient_sampling"] = Arm(
    lambda schedule, problem: subsel.gradient_sampling(),
    cost=3,
    spent=lambda old, new: 1 + new.oracle.evaluations - old.oracle.evaluations,
    tuned=False,
)
OPTAX = {
    "sgd": Arm(plain(optax.sgd)),
    "normalised sgd": Arm(selection(subsel.current(), subsel.latest())),
    "momentum": Arm(plain(partial(optax.sgd, momentum=0.9))),
    "adam": Arm(plain(optax.adam)),
    "sam": Arm(plain(sam), 2),
    "polyak_sgd": Arm(polyak),
    "lbfgs": Arm(
        lambda schedule, problem: optax.lbfgs(),
        spent=lambda old, new: new[-1].info.num_linesearch_steps,
        tuned=False,
    ),
}
CONTROLS = {
    f"{name}, {kind} {scale}": Arm(selection(ORACLES[name][0], select, scale), cost)
    for name, cost in (("history(2)", 1), ("history(5)", 1), ("ball(4)", 4))
    for kind, select in SELECTORS.items()
    for scale in subsel.transform.SCALES
    if (kind, scale) != ("min_norm", "unit")
}


def quadratic(n: int) -> Problem:
    """A smooth control, of condition 100."""
    bend = np.geomspace(1, 100, n)
    return Problem(lambda x: jnp.sum(bend * x**2) / 2, np.ones(n), 0.0)


def logistic(n: int) -> Problem:
    """A smooth control: ridge regression on the labels of 4 n noisy points."""
    rng = np.random.default_rng(1)
    points, weights = rng.normal(size=(4 * n, n)), rng.normal(size=n)
    labels = np.sign(points @ weights + 2 * rng.normal(size=4 * n))

    def f(x):
        losses = jax.nn.softplus(-labels * (jnp.asarray(points) @ x))
        return jnp.mean(losses) + 1e-3 * jnp.sum(x**2) / 2

    return Problem(f, np.ones(n), None)


FAMILY = tuple(PROBLEMS)[:10]
VALLEYS = {"rosenbrock": (2,)} | {f"chebyshev_rosenbrock_{k}": (2, 4) for k in (1, 2)}
SMOOTH = {"quadratic": quadratic, "logistic": logistic}


def descend(problem: Problem, arm: Arm, budget: int, start, rate, decay):
    """Gradients spent, and the smallest value seen, after each update; both ``[T]``."""
    length = budget // arm.cost
    tx = arm.make(lambda count: rate * decay ** (count / length), problem)
    tx = optax.with_extra_args_support(tx)

    # Line searches hand to value_fn what they do not know; sam calls grad_fn(x, step).
    def value_fn(x, grad_fn=None):
        return problem.f(x)

    def grad_fn(x, step=None):
        return jax.grad(problem.f)(x)

    def step(carry, _):
        x, state, best, spent = carry
        value, grad = jax.value_and_grad(problem.f)(x)
        best = jnp.minimum(best, jnp.where(jnp.isnan(value), jnp.inf, value))
        updates, following = tx.update(
            grad, state, x, value=value, grad=grad, value_fn=value_fn, grad_fn=grad_fn
        )
        cost = arm.spent(state, following) if arm.spent else arm.cost
        within = spent + cost <= budget
        x = jnp.where(within, x + updates, x)
        return (x, following, best, jnp.where(within, spent + cost, spent)), (
            spent + 1,
            best,
        )

    first = (start, tx.init(start), problem.f(start), 0)
    return jax.lax.scan(step, first, length=length)[1]


def cell(problem: Problem, arm: Arm, budget: int, starts: int) -> dict:
    """All starts and step sizes of one contender on one problem, as JSON data."""
    noise = np.random.default_rng(0).normal(size=(starts, len(problem.start)))
    points = problem.start + 0.1 * noise
    grid = [(rate, decay) for rate in RATES for decay in DECAYS]
    settings = np.array(grid if arm.tuned else grid[:1])
    run = partial(descend, problem, arm, budget)
    for axes in ((0, None, None), (None, 0, 0)):
        run = jax.vmap(run, in_axes=axes)
    spent, best = map(np.asarray, jax.jit(run)(points, *settings.T))
    last = np.where(np.isfinite(best[..., -1]), best[..., -1], np.inf)
    chosen = int(np.argmin(np.median(last, axis=1)))
    marks = np.unique(np.geomspace(1, budget, TRACE).astype(int))
    reference = float(last[chosen].min())
    traces = [
        v[np.searchsorted(s, marks, "right") - 1] - reference
        for s, v in zip(spent[chosen], best[chosen], strict=True)
    ]
    return {
        "dimension": len(problem.start),
        "setting": settings[chosen].tolist() if arm.tuned else None,
        "edge": bool(arm.tuned and settings[chosen][0] in (RATES[0], RATES[-1])),
        "evaluations": marks.tolist(),
        "reference": reference,  # the best of all starts, in full
        "above": [[float(f"{x:.3e}") for x in trace] for trace in traces],
        "known": problem.best,
    }


def plan(dims, budget, starts) -> dict[str, Callable]:
    """The cells, by "problem n | contender"."""
    places = {}
    for n in dims:
        places |= {f"{name} {n}": (PROBLEMS[name], n) for name in FAMILY}
        places |= {f"{name} {n}": (SMOOTH[name], n) for name in SMOOTH if n == 50}
    for name, own in VALLEYS.items():
        places |= {f"{name} {n}": (PROBLEMS[name], n) for n in own}
    arms = {place: RULES | OPTAX for place in places}
    for place, (_, n) in places.items():
        if n in (2, 4, 50) and place.split()[0] not in SMOOTH:
            few = place.startswith(FAMILY) and n == 2
            arms[place] = arms[place] | ({} if few else CONTROLS)
    return {
        f"{place} | {name}": partial(_cell, *places[place], arm, budget, starts)
        for place in places
        for name, arm in arms[place].items()
    }


def _cell(make, n, arm, budget, starts):
    with jax.enable_x64(True):
        return cell(make(n), arm, budget, starts)


def gaps(report: dict) -> dict[str, dict[str, np.ndarray]]:
    """``[starts, marks]`` by place and contender, above the best known or seen."""
    places = {}
    for name, data in report["cells"].items():
        place, arm = name.split(" | ")
        places.setdefault(place, {})[arm] = data
    out = {}
    for place, arms in places.items():
        seen = min(data["reference"] for data in arms.values())
        known = next(iter(arms.values()))["known"]
        best = seen if known is None else min(seen, known)
        out[place] = {
            arm: np.array(data["above"]) + (data["reference"] - best)
            for arm, data in arms.items()
        }
    return out


def table(found, names) -> str:
    """Median gap at the end, a row a problem."""
    width = max(map(len, found)) + 2
    heads = [name.split(", ")[0 if name in RULES else -1][:14] for name in names]
    lines = [" " * width + " ".join(f"{head:>14}" for head in heads)]
    for place, arms in found.items():
        last = [
            np.median(arms[name][:, -1]) if name in arms else np.nan for name in names
        ]
        row = " ".join(f"{gap:14.1e}" if gap == gap else " " * 14 for gap in last)
        lines.append(f"{place:{width}}{row}")
    return "\n".join(lines)


def targets(found) -> str:
    """What the issue of selection is held to, as far as the run holds the cells."""

    def end(place, arm):
        return found[place][arm][:, -1]

    hulls = [name for name in RULES if name.endswith("min_norm")]
    lines = []
    for place, level in (("rosenbrock 2", 1e-8), ("chebyshev_rosenbrock_2 4", 1e-5)):
        for arm in hulls if place in found else ():
            solved = int(np.sum(end(place, arm) <= level))
            lines.append(f"{place}: {arm} below {level:g} in {solved} starts")
    for arm in hulls:
        better, worse = [], []
        for name in "chained_cb3_ii", "chained_crescent_i":
            if (place := f"{name} 50") in found:
                rivals = [np.median(end(place, r)) for r in ("normalised sgd", "adam")]
                better.append(min(rivals) / max(np.median(end(place, arm)), 1e-16))
        for name in "chained_cb3_i", "chained_crescent_ii", "brown_2":
            if (place := f"{name} 50") in found:
                rival = np.median(end(place, "normalised sgd"))
                worse.append(np.median(end(place, arm)) / rival)
        ratios = (
            ", ".join(f"{x:.3g}" for x in better),
            ", ".join(f"{x:.2f}" for x in worse),
        )
        lines.append(
            f"n = 50, {arm}: closer on CB3 II, Crescent I by {ratios[0]}; further than "
            f"normalised sgd on CB3 I, Crescent II, Brown 2 by {ratios[1]}"
        )
    family = [place for place in found if place.startswith(FAMILY) and "50" in place]
    solved = sum(np.median(end(p, "gradient_sampling")) < 1e-4 for p in family)
    lines.append(f"n = 50: gradient_sampling below 1e-4 on {solved} of {len(family)}")
    return "\n".join(lines)


def smooth(report: dict) -> str:
    """Gradients to a millionth of the first gap, on the smooth controls."""
    lines = []
    for place, arms in gaps(report).items():
        if place.split()[0] in SMOOTH:
            work = {
                arm: np.median(_work(report, place, arm, g, 1e-6))
                for arm, g in arms.items()
            }
            base = work["normalised sgd"]
            ratios = ", ".join(f"{arm} {w / base:.2f}" for arm, w in work.items())
            lines.append(f"{place}: gradients to 1e-6, over normalised sgd's: {ratios}")
    return "\n".join(lines)


def _work(report, place, arm, gap, tolerance):
    marks = report["cells"][f"{place} | {arm}"]["evaluations"]
    return profiles.work_to_solve(marks, gap, gap[:, 0], 0.0, tolerance)


def picture(path: Path, report: dict, found: dict) -> None:
    """Data and performance profiles of all contenders, and the controls at n = 50."""
    names = [*RULES, *OPTAX]
    family = [p for p in found if p.startswith((*FAMILY, *VALLEYS))]
    figure = Figure(figsize=(14, 10), layout="constrained")
    axes = figure.subplots(2, 2)
    budgets = np.geomspace(1, report["protocol"]["budget"], 200)
    styles = ["-"] * len(RULES) + ["--"] * len(OPTAX)
    for column, tolerance in zip(axes.T, (1e-3, 1e-7), strict=True):
        work = np.array(
            [
                np.concatenate(
                    [_work(report, p, a, found[p][a], tolerance) for p in family]
                )
                for a in names
            ]
        )
        ratios = np.geomspace(1, 100, 200)
        shares = profiles.performance_profile(work, ratios)
        for k, (name, style) in enumerate(zip(names, styles, strict=True)):
            look = {"ls": style, "color": f"C{k % 10}", "lw": 1.6, "label": name}
            column[0].plot(budgets, profiles.data_profile(work[k], budgets), **look)
            column[1].plot(ratios, shares[k], **look)
        column[0].set(xscale="log", xlabel="gradients", ylabel="share of runs solved")
        column[1].set(xscale="log", xlabel="gradients over the fastest's")
        column[1].set_ylabel("share of runs solved")
        column[0].set_title(f"data profile, tolerance {tolerance:g} of the first gap")
        column[1].set_title(f"performance profile, tolerance {tolerance:g}")
    for axis in axes.flat:
        axis.set_ylim(0, 1.02)
        axis.grid(alpha=0.2)
    axes[0, 1].legend(frameon=False, fontsize=8, loc="upper left")
    with atomic(path) as part:
        figure.savefig(part, dpi=110)


def main(
    quick: bool = False,
    out: Path | None = None,
    budget: int = 2000,
    starts: int = 10,
    dims: tuple[int, ...] = (2, 10, 50, 200),
) -> None:
    """Runs what is missing, prints tables and draws profiles.

    Args:
        quick: Rosenbrock only, 300 gradients, 3 starts, no controls; half a minute.
        out: JSON file; the picture goes beside it. If left
            out, runs/nonsmooth.json or runs/nonsmooth_quick.json.
        budget: gradients a run.
        starts: starting points a problem.
        dims: dimensions of the ten problems of Haarala et al. 2004.
    """
    if budget < 10 or starts < 1 or not dims or min(dims) < 2:
        raise UsageError(
            f"--budget {budget} --starts {starts} --dims {dims}: expected at least 10, "
            "1, and dimensions of 2 or more"
        )
    work = plan(dims, budget, starts)
    if quick:
        budget, starts = min(budget, 300), min(starts, 3)
        work = {
            name: partial(job.func, *job.args[:3], budget, starts)
            for name, job in plan((2,), budget, starts).items()
            if name.startswith("rosenbrock") and name.split(" | ")[1] in RULES | OPTAX
        }
    protocol = {"budget": budget, "starts": starts, "rates": RATES, "decays": DECAYS}
    out = cells.place("nonsmooth", quick, out)
    report = cells.run(out, protocol, work)
    found = gaps(report)
    print(table(found, [*RULES, *OPTAX]))
    if not quick:
        chosen = {
            place: arms for place, arms in found.items() if set(CONTROLS) & set(arms)
        }
        for name in ("history(2)", "history(5)", "ball(4)"):
            print(
                f"\n{name}\n"
                + table(chosen, [a for a in CONTROLS if a.startswith(name)])
            )
        print("\n" + targets(found) + "\n" + smooth(report))
    picture(out.with_suffix(".png"), report, found)
    print(f"\nsaved as {out} and {out.with_suffix('.png')}")


if __name__ == "__main__":
    sys.exit(exit_status(lambda: tyro.cli(main, description=__doc__)))
