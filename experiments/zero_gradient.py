"""Who keeps going where the gradient is zero, or nearly zero?

    python experiments/zero_gradient.py --out results/zero_gradient.json
    python experiments/zero_gradient.py --quick

64 starts each; a start may spend 1,000 gradient evaluations, the searches of expand()
included. Rates are 0.1 for SGD and momentum 0.9, 0.01 for Adam, without tuning. The
first radius of expand() is 0.01, the other lengths are those of a gradient.

- plateau: ten dimensions, the gradient is 0 from the start; the well's edge is 0.1 to
  10 first radii away. Terrace: the same, entered from a slope, 1 to 100 radii wide.
- dead network: 32 ReLU units, each 0.1 to 10 first radii from its nearest input, no
  output bias; out when the loss is below 0.75 of its dead value.
- logit -20 and -90: G against a D that is fixed after training, its logits scaled so
  that the best of G's samples has that one; out at a mean of -5 or -22.5. In float32
  the gradient of log(1 - D) is 2.6e-8 (median norm) at -20 and exactly 0 at -90, both
  as it stands and as log_sigmoid(-logit); that of -log D is 65 and 293.

About 15 minutes on 2 busy cores of an Intel Xeon. Expected shares of escapes, in per
cent (results/zero_gradient.json; 64 of 64 is 94 to 100 with 95 % confidence):

                          plateau  terrace  dead  -20 naive  -20 stable  -90 stable
    sgd                         0       22     0          0           0           0
    momentum                    0      100     0          0           0           0
    adam                        0       67     0          0         100           0
    min-norm of ball > sgd      0       25     0          0           0           0
    explore > sgd              69       86    86          8          22          95
    expand > sgd              100      100    59
    last > adam                 0      100     0
    explore > adam             56       70   100          0         100         100
    expand > adam             100       81   100
    READY > adam              100      100    98          0         100           0

READY is subsel.keep_going, ladder(rescale(), last(), expand()). What disappoints: it
does not carry over to SGD, under which 41 % of dead networks stay dead, for the
gradients that expand() finds are short. explore(), a random step, revives as many dead
networks before Adam at half the evaluations, and it alone leaves -90, where -log D
needs no rule at all: every optimizer is out in 1 to 10 steps. Adam alone recovers from
-20. There every Adam runs the naive loss into NaN: a sample passes +17, where 1 -
sigmoid is 0. On living networks no rule fires, and no update changes in any bit.

In one file because its problems share optimizers, budget and tables.
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
from jax.flatten_util import ravel_pytree
from matplotlib.figure import Figure

import subsel
from subsel.lab import cells
from subsel.lab.errors import UsageError, exit_status
from subsel.lab.files import atomic
from subsel.lab.statistics import clopper_pearson

RADIUS = 0.01  # the first one of expand(); starts are 0.1 to 10 times as far from life
TOL = 1e-5  # gradients of at most this norm count as zero
HIDDEN, SAMPLES = 32, 64


def distance(key, low, high):
    """Log-uniform between ``low`` and ``high`` first radii."""
    return RADIUS * low * (high / low) ** jax.random.uniform(key)


class Problem(NamedTuple):
    """Where runs start, ``key -> (params, data)``, and two functions of both."""

    start: Callable
    loss: Callable
    escaped: Callable


def plateau(slope: float, low: float, high: float) -> Problem:
    """A well of radius 1 in ten dimensions, beyond it a plain of one level.

    The run starts on the plain, ``low`` to ``high`` first radii from the well. Or, with
    a ``slope``, half a unit up the slope that ends the plain at that distance.
    """

    def start(key):
        direction, far = jax.random.split(key)
        away = jax.random.normal(direction, 10)
        width = distance(far, low, high)
        return away / jnp.linalg.norm(away) * (1 + width + slope / 2), width

    def loss(x, width):
        out = jnp.linalg.norm(x)
        well = jnp.where(out < 1, out**2 / 2, 0.5)
        return well + slope * jax.nn.relu(out - 1 - width)

    return Problem(start, loss, lambda x, width: loss(x, width) < 0.25)


def network(dead: bool) -> Problem:
    """A regression by ReLU units; dead, each is as far from its nearest input."""

    def start(key):
        keys = jax.random.split(key, 5)
        inputs = jax.random.uniform(keys[0], (SAMPLES, 3), minval=-1, maxval=1)
        targets = jnp.abs(inputs @ jax.random.normal(keys[1], 3))
        w = jax.random.normal(keys[2], (3, HIDDEN)) * (2 / 3) ** 0.5
        lengths = jnp.sqrt(1 + jnp.sum(inputs**2, axis=1, keepdims=True))
        far = distance(keys[4], 0.1, 10.0) * lengths
        b = -jnp.max(inputs @ w + far, axis=0) if dead else jnp.zeros(HIDDEN)
        v = jax.random.normal(keys[3], HIDDEN) * (2 / HIDDEN) ** 0.5
        return {"w": w, "b": b, "v": v}, (inputs, targets)

    def loss(params, data):
        inputs, targets = data
        active = jax.nn.relu(inputs @ params["w"] + params["b"][None])
        return jnp.mean((active @ params["v"] - targets) ** 2)

    def escaped(params, data):
        return loss(params, data) < 0.75 * jnp.mean(data[1] ** 2)

    return Problem(start, loss, escaped)


def dense(key, *sizes, last=1.0):
    """Parameters of an MLP; the last layer's initial weights are scaled by ``last``."""
    scales = [1.0] * (len(sizes) - 2) + [last]
    keys = jax.random.split(key, len(scales))
    return [
        (scale * jax.random.normal(k, (m, n)) * (2 / m) ** 0.5, jnp.zeros(n))
        for k, m, n, scale in zip(keys, sizes, sizes[1:], scales, strict=False)
    ]


def forward(params, x):
    for i, (w, b) in enumerate(params):
        x = (jax.nn.leaky_relu(x, 0.2) if i else x) @ w + b[None]
    return x


G_LOSSES = {
    "naive": lambda logit: jnp.log(1 - jax.nn.sigmoid(logit)),
    "stable": lambda logit: jax.nn.log_sigmoid(-logit),
    "non-saturating": lambda logit: -jax.nn.log_sigmoid(logit),
}


def judged(key):
    """G, a D that was trained on its samples and is then fixed, its best logit, z."""
    keys = jax.random.split(key, 4)
    noise = 0.2 * jax.random.normal(keys[0], (SAMPLES, 2))
    real = jnp.array([[4.0, 0.0]]) + noise
    z = jax.random.normal(keys[1], (SAMPLES, 2))
    g, d = dense(keys[2], 2, HIDDEN, 2, last=0.1), dense(keys[3], 2, HIDDEN, 1)
    fake, tx = forward(g, z), optax.adam(0.01)

    def d_loss(d):
        on_real, on_fake = forward(d, real), forward(d, fake)
        return jnp.mean(jax.nn.softplus(-on_real) + jax.nn.softplus(on_fake))

    def step(carry, _):
        d, state = carry
        updates, state = tx.update(jax.grad(d_loss)(d), state)
        return (optax.apply_updates(d, updates), state), None

    (d, _), _ = jax.lax.scan(step, (d, tx.init(d)), length=500)
    return g, (d, jnp.max(forward(d, fake)), z)


def saturated(level: float, form: str) -> Problem:
    """G against that D, whose logits are scaled so that G's best one is ``level``.

    G escapes when the mean logit of its samples has risen to a quarter of that.
    """

    def logits(g, data):
        d, best, z = data
        return level / best * forward(d, forward(g, z))

    return Problem(
        judged,
        lambda g, data: jnp.mean(G_LOSSES[form](logits(g, data))),
        lambda g, data: jnp.mean(logits(g, data)) > level / 4,
    )


PROBLEMS = {
    "plateau": plateau(0.0, 0.1, 10.0),
    "terrace": plateau(1.0, 1.0, 100.0),
    "dead network": network(dead=True),
    "logit -20, naive": saturated(-20.0, "naive"),
    "logit -20, stable": saturated(-20.0, "stable"),
    "logit -90, stable": saturated(-90.0, "stable"),
    "logit -90, non-saturating": saturated(-90.0, "non-saturating"),
}
READY = "rescale, last, expand"
RULES = {
    "stop": subsel.stop(),
    "last": subsel.last(),
    "rescale": subsel.rescale(0.1),
    "explore": subsel.explore(1.0),
    "expand": subsel.expand(RADIUS),
    "rescale, last": subsel.ladder(subsel.rescale(), subsel.last()),
    "rescale, expand": subsel.ladder(subsel.rescale(), subsel.expand(RADIUS)),
    READY: subsel.ladder(subsel.rescale(), subsel.last(), subsel.expand(RADIUS)),
}
QUICK = ("adam", "min-norm of ball > sgd", f"{READY} > adam")
BASES = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, 0.9),
    "adam": optax.adam(0.01),
}
FEW = (  # before a saturated D
    *BASES,
    "min-norm of ball > sgd",
    *(f"{r} > {b}" for b in ("sgd", "adam") for r in ("rescale", "explore", READY)),
)
CONTROLS = {
    "ball": (subsel.ball(8, 100 * RADIUS), 8),
    "history": (subsel.history(8), 1),
}


def optimizers() -> dict[str, tuple[optax.GradientTransformationExtraArgs, int]]:
    """By name, each with the gradients that a step costs when no rule fires."""
    made = {name: (optax.with_extra_args_support(tx), 1) for name, tx in BASES.items()}
    for name, (oracle, cost) in CONTROLS.items():
        select = subsel.select_subgradient(oracle, subsel.min_norm())
        made[f"min-norm of {name} > sgd"] = optax.chain(select, BASES["sgd"]), cost
    for base in ("sgd", "adam"):
        for name, rule in RULES.items():
            made[f"{name} > {base}"] = optax.chain(ruled(rule), BASES[base]), 1
        made[f"{READY} > {base}"] = subsel.keep_going(BASES[base]), 1
    return made


def ruled(rule: subsel.ZeroRule, patience: int = 1):
    return subsel.select_subgradient(on_zero=rule, tol=TOL, patience=patience)


@partial(jax.jit, static_argnums=0)
@partial(jax.vmap, in_axes=(None, 0))
def starts(start, seed):
    return start(jax.random.fold_in(jax.random.key(0), seed))


def race(name: str, tx, cost: int, seeds: int, budget: int) -> dict:
    """All seeds, each until it has escaped or has spent its gradient evaluations."""
    problem = PROBLEMS[name]

    def run(params, data):
        grad_fn = jax.grad(lambda params: problem.loss(params, data))

        def going(carry):  # under vmap JAX computes it twice: see subsel.linalg
            *_, spent, escaped = carry
            return ~escaped & (spent < budget)

        def step(carry):
            params, state, steps, *_ = carry
            grads = grad_fn(params)
            updates, state = tx.update(grads, state, params, grad_fn=grad_fn)
            steps += 1
            spent = cost * steps + optax.tree.get(state, "evaluations", 0)
            params = optax.apply_updates(params, updates)
            return params, state, steps, spent, problem.escaped(params, data)

        carry = params, tx.init(params), 0, 0, problem.escaped(params, data)
        params, state, steps, spent, escaped = jax.lax.while_loop(going, step, carry)
        return {
            "escaped": escaped & (spent <= budget),
            "steps": steps,
            "spent": spent,
            "searched": optax.tree.get(state, "evaluations", 0),
            "firings": optax.tree.get(state, "firings", 0),
            "finite": jnp.isfinite(problem.loss(params, data)),
        }

    out = jax.jit(jax.vmap(run))(*starts(problem.start, jnp.arange(seeds)))
    out = {key: np.broadcast_to(value, seeds) for key, value in out.items()}
    escaped = out["escaped"]
    count = int(escaped.sum())
    return {
        "escaped": count,
        "share": count / seeds,
        "interval": clopper_pearson(count, seeds),
        "not_finite": int((~out["finite"]).sum()),
    } | {
        key: list(map(float, (np.median(of), of.min(), of.max()))) if count else None
        for key in ("steps", "spent", "searched", "firings")
        for of in [out[key][escaped]]
    }


def gradients(seeds: int) -> dict:
    """Norms of G's gradient at the start, median and largest, by loss and logit."""
    params, data = starts(judged, jnp.arange(seeds))

    @jax.jit
    @jax.vmap
    def norms(params, data):
        return {
            f"logit {level:g}, {form}": optax.global_norm(
                jax.grad(saturated(level, form).loss)(params, data)
            )
            for level in (-20.0, -90.0)
            for form in G_LOSSES
        }

    return {
        key: [float(np.median(norm)), float(norm.max())]
        for key, norm in norms(params, data).items()
    }


def healthy(base: str, rules: tuple, seeds: int, steps: int) -> dict:
    """Of rules before ``base``, on living networks: does anything change?

    The reference is the same program with a patience that no run exhausts: beside
    another program XLA rounds differently, by "off_plain" in the final parameters.
    """
    problem = network(dead=False)
    params, data = starts(problem.start, jnp.arange(seeds))

    def train(before):
        def run(params, data):
            grad_fn = jax.grad(lambda params: problem.loss(params, data))

            def step(carry, _):
                params, (first, then) = carry
                grads = grad_fn(params)
                sent, first = before.update(grads, first, params, grad_fn=grad_fn)
                updates, then = BASES[base].update(sent, then, params)
                same = jax.tree.map(lambda a, b: (a == b).all(), sent, grads)
                params = optax.apply_updates(params, updates)
                return (params, (first, then)), jnp.stack(jax.tree.leaves(same)).all()

            carry = params, (before.init(params), BASES[base].init(params))
            return jax.lax.scan(step, carry, length=steps)

        (final, (state, _)), same = jax.jit(jax.vmap(run))(params, data)
        return ravel_pytree(final)[0], state, int((~same).sum())

    plain, _, _ = train(optax.with_extra_args_support(optax.identity()))
    report = {}
    for name in rules:
        final, state, changed = train(ruled(RULES[name]))
        idle, _, _ = train(ruled(RULES[name], patience=2**30))
        report[name] = {
            "firings": int(state.report.firings.sum()),
            "searched": int(optax.tree.get(state, "evaluations").sum()),
            "changed_updates": changed,
            "same_bits": bool((final == idle).all()),
            "off_plain": float(jnp.abs(final - plain).max()),
        }
    return report


def table(report: dict) -> str:
    cells, lines, problem = dict(report["cells"]), [], None
    for key in [key for key in cells if " | " in key]:
        cell, (on, name) = cells.pop(key), key.split(" | ")
        if on != problem:
            problem, head = on, "escaped  95 % interval  steps"
            lines += ["", f"{on:31}{head:42}{'evaluations':19}{'firings':19}NaN"]
        low, high = cell["interval"]
        spans = "".join(
            f"{'{:.0f} ({:.0f}-{:.0f})'.format(*cell[key]) if cell[key] else '-':19}"
            for key in ("steps", "spent", "firings")
        )
        lines.append(
            f"  {name:28}{cell['share']:8.0%}  {f'{low:.2f}-{high:.2f}':15}"
            f"{spans}{cell['not_finite'] or ''}".rstrip()
        )
    for key, cell in cells.items():
        told = {name: _told(value) for name, value in cell.items()}
        lines += ["", key, *(f"  {name:28}{text}" for name, text in told.items())]
    return "\n".join(lines)


def _told(found) -> str:
    """Norms by seed, of which median and largest are kept; or named numbers."""
    if isinstance(found, list):
        found = dict(zip(("median", "largest"), found, strict=True))
    shown = {k: f"{x:.3g}" if isinstance(x, float) else x for k, x in found.items()}
    return ", ".join(f"{k.replace('_', ' ')} {x}" for k, x in shown.items())


def picture(path: Path, report: dict, names: list[str]) -> None:
    """Shares of escapes with their intervals: a panel a problem, a row an optimizer."""
    shown = [p for p in PROBLEMS if f"{p} | {names[0]}" in report["cells"]]
    figure = Figure(
        figsize=(2.6 + 1.9 * len(shown), 1.2 + 0.24 * len(names)), layout="constrained"
    )
    panels = np.ravel(figure.subplots(1, len(shown), sharey=True))
    rows = np.arange(len(names))
    colours = {"sgd": "tab:blue", "momentum": "tab:green", "adam": "tab:orange"}
    for axes, problem in zip(panels, shown, strict=True):
        for row, name in zip(rows, names, strict=True):
            cell = report["cells"].get(f"{problem} | {name}")
            if cell is None:
                continue
            colour = colours[name.split(" > ")[-1]]
            axes.plot(cell["interval"], [row, row], color=colour, lw=4, alpha=0.35)
            axes.plot(cell["share"], row, "o", color=colour, ms=5)
        axes.set(xlim=(-0.04, 1.04), xticks=(0, 0.5, 1), xticklabels=("0", "½", "1"))
        axes.set_title(problem.replace(", ", ",\n"), fontsize=10)
        axes.grid(alpha=0.2)
    panels[0].set_yticks(rows, names, fontsize=8)
    panels[0].invert_yaxis()
    figure.supxlabel("share of seeds that escape, with 95 % interval", fontsize=9)
    with atomic(path) as part:
        figure.savefig(part, dpi=120)


def main(
    quick: bool = False,
    out: Path | None = None,
    seeds: int = 64,
    budget: int = 1000,
) -> None:
    """Runs what is missing, prints a table, saves it and draws a picture beside it.

    Args:
        quick: three optimizers on two problems, at most 16 seeds.
        out: JSON file to write; the picture gets the same name as PNG. If
            left out, runs/zero_gradient.json or runs/zero_gradient_quick.json.
        seeds: starts on each problem.
        budget: gradient evaluations that each start may spend.
    """
    if seeds < 1 or budget < 1:
        raise UsageError(
            f"--seeds {seeds} --budget {budget}: expected at least 1 of each"
        )
    made, problems = optimizers(), list(PROBLEMS)
    bases, rules = list(BASES), ("expand", READY)
    if quick:
        seeds = min(seeds, 16)
        made = {name: made[name] for name in QUICK}
        problems, bases, rules = ["plateau", "dead network"], ["adam"], (READY,)
    plan = {"gradients": partial(gradients, seeds)}
    plan |= {
        f"healthy, {base}": partial(healthy, base, rules, seeds, 500) for base in bases
    }
    plan |= {
        f"{problem} | {name}": partial(race, problem, tx, cost, seeds, budget)
        for problem in problems
        for name, (tx, cost) in made.items()
        if not problem.startswith("logit") or name in FEW
    }
    protocol = {"seeds": seeds, "budget": budget, "quick": quick}
    protocol |= {"radius": RADIUS, "tol": TOL, "hidden": HIDDEN, "samples": SAMPLES}
    out = cells.place("zero_gradient", quick, out)
    report = cells.run(out, protocol, plan)
    names = list(made)
    print(table(report))
    picture(out.with_suffix(".png"), report, names)
    print(f"\nsaved as {out} and {out.with_suffix('.png')}")


if __name__ == "__main__":
    sys.exit(exit_status(lambda: tyro.cli(main, description=__doc__)))
