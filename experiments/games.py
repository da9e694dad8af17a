"""Which selections converge where the field rotates?

    python experiments/games.py --out results/games.json
    python experiments/games.py --quick

On xy, contraction a step beside the spectral radius of the exact iteration, computed
in NumPy; then |z| and turns around the equilibrium on three Dirac-GANs at rate 0.1:
plain, with R1 of weight 0.3, and with the hinge loss, 5,000 steps from (1, 1).

Half a minute on 2 busy cores of an Intel Xeon (results/games.json). Expected:

    xy at rate 0.1 / 0.3 / 0.5     measured                 exact
    extragradient                  0.9950 0.9582 0.9014     the same
    optimistic, reflected          0.9949 0.9487 0.7120     0.9949 0.9487 0.7071
    descent-ascent, min-norm       1.0050 1.0440 1.1180     the same (ball: 1.0048)

    |z| at the end                 Dirac-GAN   with R1     hinge
    extragradient                  2.8e-3      1.3e-35     2.2e-11
    optimistic, reflected          2.8e-3      1.3e-35     1.4e-11
    descent-ascent                 3.6         6.6e-31     1.4
    min-norm of a lookahead        1.6         5.7e-35     1.4
    min-norm of a ball             3.6         2.0e-3      1.5

Where two eigenvalues meet, as at 0.5, convergence is slower than their modulus by a
factor of the number of steps. Extragradient is stable up to 1, the other two up to
0.577. The minimum norm never helps where the field rotates, and a ball of one radius
spoils what R1 makes converge.

In one file because the exact numbers stand beside the measured ones.
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

import subsel
from subsel.lab import cells
from subsel.lab.errors import UsageError, exit_status
from subsel.lab.files import atomic
from subsel.problems import GAMES

RATES = (0.1, 0.3, 0.5)
# The largest stable rate on xy, by theory.
LIMITS = {"extragradient": 1.0, "optimistic": 3**-0.5, "reflected": 3**-0.5}
GAMMA = 0.3  # of R1
START = (1.0, 1.0)
METHODS = {
    "descent-ascent": lambda rate: {},
    "extragradient": lambda rate: {"candidates": subsel.lookahead(rate)},
    "optimistic": lambda rate: {
        "candidates": subsel.history(2),
        "select": subsel.optimistic(),
    },
    "reflected": lambda rate: {"candidates": subsel.reflect()},
    "min-norm of lookahead": lambda rate: {
        "candidates": subsel.lookahead(rate),
        "select": subsel.min_norm(),
    },
    "min-norm of ball": lambda rate: {
        "candidates": subsel.ball(8, rate),
        "select": subsel.min_norm(),
    },
}
LOOKS = {  # colour, line, width: those that coincide lie over one another
    "descent-ascent": ("silver", "-", 4.0),
    "extragradient": ("tab:blue", "-", 4.0),
    "optimistic": ("tab:orange", "-", 2.2),
    "reflected": ("black", ":", 1.2),
    "min-norm of lookahead": ("tab:red", "--", 1.2),
    "min-norm of ball": ("tab:purple", "-", 0.8),
}
# The matrix that theory says min-norm iterates: that of descent-ascent.
MATRIX = {
    "min-norm of lookahead": "descent-ascent",
    "min-norm of ball": "descent-ascent",
    "reflected": "optimistic",
}


def field(name: str, *players: str, gamma: float = 0.0) -> Callable:
    """The descent field of a game as one vector; R1 has D lower gamma psi^2 / 2 too."""

    def on(z):
        own = GAMES[name].field(dict(zip(players, z, strict=True)))
        g, d = (own[player] for player in players)
        return jnp.stack([g, d + gamma * z[1]])

    return on


FIELDS = {
    "xy": field("bilinear", "x", "y"),
    "Dirac-GAN": field("dirac", "theta", "psi"),
    "Dirac-GAN, R1": field("dirac", "theta", "psi", gamma=GAMMA),
    "hinge Dirac-GAN": field("hinge_dirac", "theta", "psi"),
}


def play(field: Callable, method: str, rate: float, steps: int) -> np.ndarray:
    """Points ``[steps + 1, 2]`` from (1, 1); both players' field is one gradient."""
    tx = optax.chain(
        subsel.select_subgradient(**METHODS[method](rate)), optax.sgd(rate)
    )

    def step(carry, _):
        z, state = carry
        updates, state = tx.update(field(z), state, z, grad_fn=field)
        z = optax.apply_updates(z, updates)
        return (z, state), z

    start = jnp.array(START)
    run = jax.jit(lambda z: jax.lax.scan(step, (z, tx.init(z)), length=steps)[1])
    return np.concatenate([start[None], run(start)]).astype(np.float64)


def radius(method: str, rate: float) -> float:
    """The spectral radius of the exact iteration on xy, z' = M z."""
    turn, one = np.array([[0, 1], [-1, 0]]), np.eye(2)
    descent = one - rate * turn
    matrices = {
        "descent-ascent": descent,
        "extragradient": one - rate * turn @ descent,
        "optimistic": np.block(
            [[one - 2 * rate * turn, rate * turn], [one, np.zeros((2, 2))]]
        ),
    }
    matrix = matrices[MATRIX.get(method, method)]
    return float(np.abs(np.linalg.eigvals(matrix)).max())


def winding(z: np.ndarray) -> float:
    """Turns around the origin, counterclockwise."""
    angles = np.unwrap(np.arctan2(z[:, 1], z[:, 0]))
    return float((angles[-1] - angles[0]) / (2 * np.pi))


def curves(z: np.ndarray, stride: int) -> dict:
    """What the picture shows: |z| at 100 steps, and every ``stride``-th point."""
    shown = np.linspace(0, len(z) - 1, min(len(z), 100)).astype(int)
    length = [float(f"{x:.4g}") for x in np.hypot(*z[shown].T)]
    path = z[: 100 * stride : stride].round(3).tolist()
    return {"steps": shown.tolist(), "trace": length, "path": path}


def contraction(method: str, rate: float, steps: int) -> dict:
    """|z| shrinks by this a step, over the second half of the steps."""
    z = play(FIELDS["xy"], method, rate, steps)
    length, half = np.hypot(*z.T), steps // 2
    return {
        "measured": float((length[-1] / length[half]) ** (1 / (steps - half))),
        "exact": radius(method, rate),
        "winding": winding(z),
    } | (curves(z, 1) if rate == RATES[-1] else {})


def edge(method: str, steps: int) -> dict:
    """Final |z| a little below and above the largest stable rate, and the exact one."""
    rates = [round(share * LIMITS[method], 3) for share in (0.97, 1.03)]
    ends = [np.hypot(*play(FIELDS["xy"], method, rate, steps)[-1]) for rate in rates]
    grid = np.arange(1, 12_001) / 10_000
    stable = [rate for rate in grid if radius(method, rate) <= 1 + 1e-12]
    return {"rates": rates, "final": list(map(float, ends)), "exact": max(stable)}


def gan(game: str, method: str, steps: int) -> dict:
    """A game at rate 0.1: |z| after the steps, turns, and a thinned path."""
    z = play(FIELDS[game], method, 0.1, steps)
    length = np.hypot(*z.T)
    return {
        "final": float(length[-1]),
        "first_below_3e-3": int(np.argmax(length <= 3e-3)) or None,
        "winding": winding(z[length > 0]),
    } | curves(z, 3)


def table(report: dict) -> str:
    done = report["cells"]
    lines = ["xy, contraction a step: measured (exact)"]
    for method in METHODS:
        found = [done[f"xy {rate} | {method}"] for rate in RATES]
        row = "  ".join(f"{c['measured']:.4f} ({c['exact']:.4f})" for c in found)
        lines.append(f"  {method:24}{row}")
    lines += ["", "xy, |z| below and above the largest stable rate, and that rate"]
    for method in LIMITS:
        cell = done[f"edge | {method}"]
        row = "  ".join(
            f"{end:.2g} at {rate}"
            for end, rate in zip(cell["final"], cell["rates"], strict=True)
        )
        lines.append(f"  {method:24}{row}  ({cell['exact']:.4f})")
    for game in list(FIELDS)[1:]:
        lines += ["", f"{game}, rate 0.1: final |z|, turns"]
        for method in METHODS:
            cell = done[f"{game} | {method}"]
            lines.append(f"  {method:24}{cell['final']:<12.2g}{cell['winding']:.1f}")
    return "\n".join(lines)


def picture(path: Path, report: dict) -> None:
    """Paths above, |z| below: xy at the largest rate, then the three GANs."""
    done = report["cells"]
    columns = [f"xy {RATES[-1]}", *list(FIELDS)[1:]]
    figure = Figure(figsize=(15, 7), layout="constrained")
    grid = figure.subplots(2, len(columns), height_ratios=(1.25, 1))
    for (above, below), game in zip(grid.T, columns, strict=True):
        for method, (colour, style, width) in LOOKS.items():
            cell = done[f"{game} | {method}"]
            look = {"color": colour, "ls": style, "lw": width, "alpha": 0.9}
            above.plot(*np.array(cell["path"]).T, **look)
            below.plot(cell["steps"], cell["trace"], **look, label=method)
        above.plot(*START, "o", color="black", ms=5, zorder=9)
        above.plot(0, 0, "+", color="black", ms=10, zorder=9)
        above.set(xlim=(-2.3, 2.3), ylim=(-2.3, 2.3), aspect="equal")
        above.set_title(
            f"{game}, rate 0.1" if game in FIELDS else f"xy, rate {game[3:]}"
        )
        below.set(yscale="log", xlabel="step")
        above.grid(alpha=0.2)
        below.grid(alpha=0.2)
    grid[0, 0].set_ylabel("the players' path")
    grid[1, 0].set_ylabel("distance from the equilibrium")
    handles, names = grid[1, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=6, frameon=False)
    with atomic(path) as part:
        figure.savefig(part, dpi=110)


def main(quick: bool = False, out: Path | None = None, steps: int = 5000) -> None:
    """Plays what is missing, prints a table, saves it and draws a picture beside it.

    Args:
        quick: 500 steps at most.
        out: JSON file to write; the picture gets the same name as PNG. If
            left out, runs/games.json or runs/games_quick.json.
        steps: of the GANs; xy gets 200.
    """
    if steps < 1:
        raise UsageError(f"--steps {steps}: expected at least 1")
    steps = min(steps, 500) if quick else steps
    plan = {
        f"xy {rate} | {method}": partial(contraction, method, rate, 200)
        for method in METHODS
        for rate in RATES
    }
    plan |= {f"edge | {method}": partial(edge, method, 500) for method in LIMITS}
    plan |= {
        f"{game} | {method}": partial(gan, game, method, steps)
        for game in list(FIELDS)[1:]
        for method in METHODS
    }
    out = cells.place("games", quick, out)
    report = cells.run(out, {"steps": steps, "start": START, "gamma": GAMMA}, plan)
    print(table(report))
    picture(out.with_suffix(".png"), report)
    print(f"\nsaved as {out} and {out.with_suffix('.png')}")


if __name__ == "__main__":
    sys.exit(exit_status(lambda: tyro.cli(main, description=__doc__)))
