"""How long does the min-norm point take, beside projected gradient, as exact?

    python experiments/minnorm.py --out results/minnorm.json
    python experiments/minnorm.py --quick

1,000 hulls of K Gaussian vectors in dimension 2 K, shifted by 0.5; of 2, 8 and 32
vectors, 1.8, 5.8 and 17 are in the support. FISTA takes the least power of two of
steps, up to 1,024, that serves the worst of them: once for our own excess over the
float64 optimum, as a share of the longest squared length, and once for 1e-6. All in
float32.

One minute on 2 cores of an Intel Xeon, both of them busy with other work
(results/minnorm.json). Expected, in microseconds a problem:

    K            one by one            vmapped over 1,000       largest   steps
                 ours  FISTA  to 1e-6  ours   FISTA  to 1e-6    excess    of FISTA
    2            15    313    57       0.12   95     6.2        1.2e-14   not by 1,024
    4            37    182    70       2.5    85     21         2.4e-11   512
    8            80    275    90       7.6    183    47         1.3e-11   512
    16           126   835    266      41     543    136        1.2e-10   512
    32           168   1280   398      211    1310   333        1.8e-10   512

So FISTA takes 3 to 8 times as long one by one, and 6 to 34 times vmapped; 1.3 to 2.3
and 1.6 to 9 times where 1e-6 is enough (K > 2). At K = 32, vmapping ours gains nothing,
for all go on until the slowest is done.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from matplotlib.figure import Figure
from scipy.optimize import nnls

import subsel
from subsel.lab import cells
from subsel.lab.errors import UsageError, exit_status
from subsel.lab.files import atomic
from subsel.lab.timing import alternate, spread

SHIFT = 0.5  # of every coordinate: more than half of the vectors are in the support
LOOSE = 1e-6  # a second target for projected gradient
SINGLE = 10  # problems that are solved one after the other
LARGEST = 1024  # iterations that projected gradient is given


def hulls(size: int, count: int) -> np.ndarray:
    """Gram matrices ``[count, K, K]`` of K vectors in dimension 2 K."""
    rng = np.random.default_rng(size)
    vectors = rng.normal(size=(count, size, 2 * size)) + SHIFT
    return (vectors @ vectors.transpose(0, 2, 1)).astype(np.float32)


def exact(gram: np.ndarray) -> np.ndarray:
    """argmin |w L|^2 + (1 - sum w)^2 over w >= 0 is parallel to the weights sought."""
    root = np.linalg.cholesky(gram / np.diag(gram).max())
    weights, _ = nnls(
        np.vstack([root.T, np.ones(len(gram))]), np.eye(len(gram) + 1)[-1]
    )
    return weights / weights.sum()


def excess(grams: np.ndarray, weights: np.ndarray, best: np.ndarray) -> np.ndarray:
    """(w' G w - min) / max diag G ``[count]``, in float64, of weights that sum to 1."""
    weights = np.asarray(weights, np.float64)
    weights = weights / weights.sum(axis=1, keepdims=True)
    length, least = (
        np.einsum("ni,nij,nj->n", w, grams.astype(np.float64), w)
        for w in (weights, best)
    )
    return (length - least) / np.diagonal(grams, axis1=1, axis2=2).max(axis=1)


def fista(gram: jax.Array, iterations: int) -> jax.Array:
    """Accelerated projected gradient (Beck and Teboulle 2009); steps of 1 / |G|_1."""
    project = optax.projections.projection_simplex
    rate = 1 / jnp.max(jnp.sum(jnp.abs(gram), axis=1))

    def body(_, carry):
        weights, ahead, t = carry
        following = project(ahead - rate * (gram @ ahead))
        after = (1 + jnp.sqrt(1 + 4 * t**2)) / 2
        ahead = following + (t - 1) / after * (following - weights)
        return following, ahead, after

    start = jnp.full(len(gram), 1 / len(gram), gram.dtype)
    first = (start, start, jnp.ones((), gram.dtype))
    return jax.lax.fori_loop(0, iterations, body, first)[0]


def iterations_to(target: float, error: Callable[[int], float]) -> int | None:
    """The first power of two whose error is at most the target; None: not reached."""
    tried = [2**k for k in range(LARGEST.bit_length())]
    return next((n for n in tried if error(n) <= target), None)


def turns(solve: Callable, grams: np.ndarray, *args) -> dict[str, Callable]:
    """Problems one by one, and all of them in one vmapped call; both compiled."""
    one = jax.jit(solve)
    many = jax.jit(jax.vmap(solve, in_axes=(0, *(None for _ in args))))
    single, args = jax.device_put((list(grams[:SINGLE]), args))
    grams = jax.device_put(grams)

    def alone():
        for gram in single:
            one(gram, *args).block_until_ready()

    return {"alone": alone, "vmapped": lambda: many(grams, *args).block_until_ready()}


def measure(size: int, count: int, rounds: int) -> dict:
    """Microseconds a problem, largest excess, and projected gradient's iterations."""
    grams = hulls(size, count)
    best = np.stack([exact(gram) for gram in grams.astype(np.float64)])

    def error(weights):
        return float(excess(grams, weights, best).max())

    ours = error(jax.vmap(subsel.min_norm_weights)(grams))
    descend = jax.jit(jax.vmap(fista, in_axes=(0, None)))
    cell = {
        "support": float(np.mean(np.sum(best > 0, axis=1))),
        "subsel": {"excess": ours},
    }
    contenders = {"subsel": turns(subsel.min_norm_weights, grams)}
    for name, target in {"equal": ours, "loose": LOOSE}.items():
        found = iterations_to(target, lambda n: error(descend(grams, n)))
        spent = found or LARGEST
        cell[name] = {
            "iterations": spent,
            "reached": found is not None,
            "excess": error(descend(grams, spent)),
        }
        contenders[name] = turns(fista, grams, spent)
    plan = {
        (name, how): turn
        for name, both in contenders.items()
        for how, turn in both.items()
    }
    took = alternate(plan, rounds)
    for name, how in plan:
        problems = min(SINGLE, count) if how == "alone" else count
        cell[name][how] = spread(took[name, how] / problems * 1e6)
        if name != "subsel":
            cell[name][f"{how}_ratio"] = spread(took[name, how] / took["subsel", how])
    return cell


def table(report: dict, sizes: tuple[int, ...], count: int) -> str:
    on = report["machine"]
    lines = [
        f"{on['cpu']}, {on['threads']} threads; jax {on['versions']['jax']}",
        "microseconds a problem, medians; ratio of FISTA to subsel (min-max of rounds)",
    ]
    for how, what in {
        "alone": "one by one",
        "vmapped": f"vmapped over {count:,}",
    }.items():
        lines += ["", f"{what:16}K   us        excess    iterations  ratio"]
        for size in sizes:
            cell = report["cells"][f"K = {size}"]
            for name in ("subsel", "equal", "loose"):
                row, label = cell[name], name if name == "subsel" else f"FISTA, {name}"
                end = "" if name == "subsel" else _against(row, how)
                us = row[how]["median"]
                lines.append(
                    f"{label:16}{size:<4}{us:<10.3g}{row['excess']:<10.1e}{end}"
                )
    return "\n".join(lines)


def _against(row: dict, how: str) -> str:
    ratio = "{median:.3g} ({min:.3g}-{max:.3g})".format(**row[f"{how}_ratio"])
    return f"{row['iterations']:<12}{ratio}{'' if row['reached'] else ', not reached'}"


def picture(path: Path, report: dict, sizes: tuple[int, ...], count: int) -> None:
    """Microseconds by K: alone and vmapped; open marks did not reach the accuracy."""
    looks = {
        "subsel": ("tab:blue", "subsel.min_norm_weights"),
        "equal": ("tab:red", "FISTA, equally exact"),
        "loose": ("tab:orange", f"FISTA, excess of {LOOSE:g}"),
    }
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    titles = {"alone": "one by one", "vmapped": f"vmapped over {count:,} problems"}
    for axes, (how, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        for name, (colour, label) in looks.items():
            rows = [report["cells"][f"K = {size}"][name] for size in sizes]
            times = [row[how]["median"] for row in rows]
            low, high = ([row[how][key] for row in rows] for key in ("min", "max"))
            axes.plot(sizes, times, "o-", color=colour, label=label)
            axes.vlines(sizes, low, high, color=colour, lw=0.8)
            for size, took, row in zip(sizes, times, rows, strict=True):
                if not row.get("reached", True):
                    axes.plot(size, took, "o", color=colour, mfc="white")
        axes.set(xscale="log", yscale="log", xlabel="K", title=title)
        axes.set_xticks(sizes, sizes)
        axes.minorticks_off()
        axes.grid(alpha=0.2)
        axes.set_ylabel("microseconds a problem")
    axes.legend(frameon=False)
    with atomic(path) as part:
        figure.savefig(part, dpi=110)


def main(
    quick: bool = False,
    out: Path | None = None,
    sizes: tuple[int, ...] = (2, 4, 8, 16, 32),
    problems: int = 1000,
    rounds: int = 5,
) -> None:
    """Measures what is missing, prints a table, saves it and draws a picture beside it.

    Args:
        quick: 20 problems and 3 rounds at most.
        out: JSON file to write; the picture gets the same name as PNG. If
            left out, runs/minnorm.json or runs/minnorm_quick.json.
        sizes: numbers K of vectors in a hull.
        problems: in one vmapped call.
        rounds: turns of each contender.
    """
    if min(problems, rounds, *sizes, len(sizes)) < 1:
        raise UsageError(
            f"--sizes {sizes} --problems {problems} --rounds {rounds}: expected at "
            "least one size, and numbers of at least 1"
        )
    if quick:
        problems, rounds = min(problems, 20), min(rounds, 3)
    plan = {f"K = {size}": partial(measure, size, problems, rounds) for size in sizes}
    out = cells.place("minnorm", quick, out)
    report = cells.run(out, {"problems": problems, "rounds": rounds}, plan)
    print(table(report, sizes, problems))
    picture(out.with_suffix(".png"), report, sizes, problems)
    print(f"\nsaved as {out} and {out.with_suffix('.png')}")


if __name__ == "__main__":
    sys.exit(exit_status(lambda: tyro.cli(main, description=__doc__)))
