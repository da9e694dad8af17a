"""Steps a second of the article's GAN: this project, PyTorch, the arithmetic floor.

    python experiments/throughput.py
    python experiments/throughput.py --quick

Everybody plays the same game: z 100, hidden 128-128, leaky ReLU 0.2, tanh, batch 128,
non-saturating loss, Adam with b1 0.5, on 60,000 random 28x28x1 uint8 images that are
held in memory, drawn by random indices and scaled in each step; new noise in each step.
D moves first, on [real; fake]; G then meets the new D with the same fake batch. The
floor is the operations of one step over the fastest float32 matrix product that either
library does in the same rounds, at the size of D's first layer or large and square.

Many seeds at once are a population, one program with an axis of seeds; their steps are
those of all seeds, and "x alone" is what that gains over one seed after the other.

The contenders take turns, so that a busy machine is busy for all of them, and a ratio
is the median over rounds of the two times of one round. PyTorch is optional.

Two minutes on 2 cores of an Intel Xeon with PyTorch 2.13, 15 turns of 200 steps: 1.26
times PyTorch eager with optax.adam, 1.14 with subsel.adam, 0.33 and 0.30 of the floor;
16 seeds at once 0.86 times as fast as one after the other (results/throughput.json).
"""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from json import dumps
from math import prod
from pathlib import Path

import jax
import numpy as np
import tyro

from subsel.gan import config, data, game, population, step
from subsel.gan.config import Config
from subsel.gan.objective import Pair
from subsel.lab.errors import UsageError, exit_status
from subsel.lab.files import atomic
from subsel.lab.timing import (
    alternate,
    machine,
    others_cpu_seconds,
    seconds,
    spread,
    threads,
)

SHAPE = (28, 28, 1)
OURS = {"subsel.gan, optax.adam": "adam", "subsel.gan, subsel.adam": "subsel"}
ALONE = "subsel.gan, optax.adam"
SEEDS = (4, 16, 64, 256)  # in one program
EAGER, COMPILED, FLOOR = "PyTorch eager", "PyTorch torch.compile", "arithmetic floor"
INSTALL = "absent: pip install torch"


def main(
    quick: bool = False,
    out: Path = Path("results/throughput.json"),
    rounds: int = 15,
    steps: int = 200,
    batch_size: int = Config.batch_size,
    hidden: tuple[int, ...] = (128, 128),
    images: int = 60_000,
) -> None:
    """Measures, prints a table and saves it.

    Args:
        quick: at most 5 rounds of 50 steps and no torch.compile, in under a minute.
        out: JSON file to write.
        rounds: turns of each contender.
        steps: training steps in a turn.
        batch_size: real and generated samples a step.
        hidden: widths of the dense layers of G and of D.
        images: random images to draw from.
    """
    if quick:
        rounds, steps = min(rounds, 5), min(steps, 50)
    cfg = Config(batch_size=batch_size, hidden=hidden, steps=steps, log_every=steps)
    cfg = config.check(cfg)
    devices = jax.local_device_count()
    if rounds < 1 or images < 1 or batch_size % devices:
        raise UsageError(
            f"--rounds {rounds} --images {images} --batch-size {batch_size}: expected "
            f"1 or more, 1 or more, and a multiple of the number of devices, {devices}"
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written: {error.strerror}") from None
    report = measure(cfg, images, rounds, quick)
    print(table(report))
    with atomic(out) as part:
        part.write_text(dumps(report, indent=2) + "\n")
    print(f"\nsaved as {out}")


def measure(cfg: Config, count: int, rounds: int, quick: bool) -> dict:
    """Builds the contenders, gives them their turns and collects what is saved."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *SHAPE), dtype=np.uint8)
    turns = {name: ours(cfg, images, optimizer) for name, optimizer in OURS.items()}
    done = {}  # seed-steps of a turn, where they are not cfg.steps
    for size in SEEDS[: 2 if quick else None]:
        short = replace(cfg, steps=max(cfg.steps // size, 1), log_every=1)
        done[name := f"{size} seeds at once, adam"] = size * short.steps
        turns[name] = together(short, images, size)
    first = {name: seconds(turn) for name, turn in turns.items()}
    rows = {name: {} for name in (*turns, EAGER, COMPILED, FLOOR)}
    for name in (EAGER, COMPILED):
        if quick and name == COMPILED:
            rows[name]["missing"] = "left out by --quick"
            continue
        try:
            turn = pytorch(cfg, images, compiled=name == COMPILED)
            first[name], turns[name] = seconds(turn), turn
        except ImportError:
            rows[name]["missing"] = INSTALL
        except Exception as error:  # of a compiler or a device: the others can go on
            line = f"{type(error).__name__}: {' '.join(str(error).split())}"
            rows[name]["missing"] = line[:200]
    products, work = matrix_products(cfg, torch_too=EAGER in turns)
    counted, by_hand = flops(cfg, images)

    others, began = others_cpu_seconds(), time.perf_counter()
    took = alternate(turns | products, rounds)
    others = (others_cpu_seconds() - others) / (time.perf_counter() - began)
    rates = {name: work[name] / took.pop(name) for name in products}
    took[FLOOR] = cfg.steps * counted / np.max(list(rates.values()), axis=0)
    took = {name: spent / done.get(name, cfg.steps) for name, spent in took.items()}
    for name, spent in took.items():
        rows[name]["steps_per_second"] = spread(1 / spent)
        if EAGER in took:
            rows[name]["times_pytorch_eager"] = spread(took[EAGER] / spent)
        rows[name]["times_alone"] = spread(took[ALONE] / spent)
        rows[name]["share_of_floor"] = spread(took[FLOOR] / spent)
        if name in first:
            rows[name]["first_turn_seconds"] = first[name]
    return {
        "machine": machine() | {"cores_busy_with_others": round(others, 2)},
        "game": {
            "images": [count, *SHAPE],
            "latent": cfg.latent,
            "hidden": cfg.hidden,
            "batch_size": cfg.batch_size,
        },
        "rounds": rounds,
        "steps_a_turn": cfg.steps,
        "rows": rows,
        "flops_a_step": {"xla": counted, "matrix_products_by_hand": by_hand},
        "gflops": {name: spread(rate / 1e9) for name, rate in rates.items()},
    }


def contender(cfg: Config, images: np.ndarray, optimizer: str) -> tuple:
    """The game on these images, its state, and the pool that batches are drawn from."""
    cfg = replace(cfg, optimizer=optimizer)
    pool = images, np.zeros(len(images), np.int32)
    built = game.build(cfg, data.Dataset("random", *pool, 0.0))
    pool = jax.device_put(pool, step.sharding())
    return built, game.fresh(cfg, built), pool


def ours(cfg: Config, images: np.ndarray, optimizer: str) -> Callable[[], None]:
    """A turn of the compiled run, as ``train`` runs it."""
    built, state, pool = contender(cfg, images, optimizer)
    body = step.make_step(built.nets, built.tx, built.rules, step.ALL)
    run, slots = step.make_run(body, cfg.steps), step.slots(cfg.batch_size)

    def turn():
        nonlocal state
        state, metrics, finite = run(state, pool, slots)
        jax.device_get((metrics, finite))
        jax.block_until_ready(state)

    return turn


def together(cfg: Config, images: np.ndarray, size: int) -> Callable[[], None]:
    """A turn of ``size`` seeds as one program, as the ablation trains them."""
    cfg = replace(cfg, optimizer="adam")
    built, _, pool = contender(cfg, images, "adam")
    members = [replace(cfg, seed=seed) for seed in range(size)]
    body = population.make_step(cfg, built, step.ALL)
    run, slots = step.make_run(body, cfg.steps), step.slots(cfg.batch_size)
    states, given = population.fresh(members, built), population.numbers(members)

    def turn():
        nonlocal states
        states, metrics, finite = run(states, (given, pool), slots)
        jax.device_get((metrics, finite))
        jax.block_until_ready(states)

    return turn


def pytorch(cfg: Config, images: np.ndarray, compiled: bool) -> Callable[[], None]:
    """A turn of the same steps in PyTorch, on the kind of device that JAX is using."""
    import torch
    from torch import nn
    from torch.nn.functional import softplus

    device = "cpu" if jax.default_backend() == "cpu" else "cuda"
    if device == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32, as XLA multiplies
    else:
        torch.set_num_threads(threads())

    def mlp(*widths):
        layers = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.2)]
        return nn.Sequential(*layers[:-1]).to(device)

    torch.manual_seed(cfg.seed)
    size = prod(SHAPE)
    d = mlp(size, *cfg.hidden, 1)
    g = nn.Sequential(mlp(cfg.latent, *cfg.hidden, size), nn.Tanh())
    params = Pair(list(d.parameters()), list(g.parameters()))
    options = {"lr": cfg.learning_rate, "betas": (cfg.b1, cfg.b2), "fused": True}
    adam = Pair(*(torch.optim.Adam(own, **options) for own in params))
    images = torch.from_numpy(images).to(device)

    def one_step():
        index = torch.randint(len(images), (cfg.batch_size,), device=device)
        real = images[index].flatten(1).float() / 127.5 - 1
        fake = g(torch.randn(cfg.batch_size, cfg.latent, device=device))
        on_real, on_fake = d(torch.cat([real, fake.detach()]))[:, 0].chunk(2)
        d_loss = softplus(-on_real).mean() + softplus(on_fake).mean()
        adam.d.zero_grad(set_to_none=True)
        d_loss.backward()
        adam.d.step()
        g_loss = softplus(-d(fake)[:, 0]).mean()
        adam.g.zero_grad(set_to_none=True)
        g_loss.backward(inputs=params.g)  # D's own gradients are not asked for
        adam.g.step()
        scores = [x.detach().sigmoid().mean() for x in (on_real, on_fake)]
        return torch.stack([d_loss.detach(), g_loss.detach(), *scores])

    step_ = torch.compile(one_step) if compiled else one_step

    def turn():
        torch.stack([step_() for _ in range(cfg.steps)]).tolist()
        if device == "cuda":
            torch.cuda.synchronize()

    return turn


def matrix_products(cfg: Config, torch_too: bool) -> tuple[dict, dict]:
    """Turns of nothing but float32 matrix products, and the operations of each turn.

    They are chains (x w) w', with orthonormal w so that nothing grows or vanishes.
    """
    on_cpu = jax.default_backend() == "cpu"
    large, budget = (2048, 1e10) if on_cpu else (8192, 1e13)
    turns, work = {}, {}
    for sizes in [(2 * cfg.batch_size, prod(SHAPE), cfg.hidden[0]), (large,) * 3]:
        rows, inner, outer = sizes
        v = np.random.default_rng(0).normal(size=max(inner, outer)).astype(np.float32)
        w = np.eye(len(v), dtype=np.float32) - 2 * np.outer(v, v / (v @ v))
        x, w = np.ones((rows, inner), np.float32), w[:inner, :outer]
        count = max(1, round(budget / (4 * prod(sizes))))
        chains = {"JAX": _jax_chain(x, w, count)}
        if torch_too:
            chains["PyTorch"] = _torch_chain(x, w, count)
        for library, turn in chains.items():
            name = f"{rows} x {inner} by {inner} x {outer}, {library}"
            turns[name], work[name] = turn, 4 * prod(sizes) * count
    return turns, work


def _jax_chain(x, w, count):
    x, w = jax.device_put((x, w))
    chain = jax.jit(
        lambda x, w: jax.lax.fori_loop(0, count, lambda _, x: (x @ w) @ w.T, x)
    )
    return lambda: jax.block_until_ready(chain(x, w))


def _torch_chain(x, w, count):
    import torch

    device = "cpu" if jax.default_backend() == "cpu" else "cuda"
    first, w = torch.from_numpy(x).to(device), torch.from_numpy(w).to(device)

    def turn():
        x = first
        for _ in range(count):
            x = (x @ w) @ w.T
        x[0, 0].item()

    return turn


def flops(cfg: Config, images: np.ndarray) -> tuple[float, int]:
    """Floating-point operations of one step: as XLA counts them, and of its products.

    Forward, a layer of m weights takes 2 m operations a sample, and as many again for
    the gradient of its weights, and of its input where that is needed.
    """
    built, state, pool = contender(cfg, images, "adam")
    one_step = jax.jit(step.make_step(built.nets, built.tx, built.rules))
    slots = step.slots(cfg.batch_size).ravel()
    analysis = one_step.lower(state, pool, slots).compile().cost_analysis()
    sizes = [(prod(SHAPE), *cfg.hidden, 1), (cfg.latent, *cfg.hidden, prod(SHAPE))]
    d, g = ([a * b for a, b in pairwise(widths)] for widths in sizes)
    d_update = 2 * (sum(d) + sum(d) + sum(d[1:]))  # real and fake; no image gradients
    g_update = sum(g) + sum(d) + sum(d) + sum(g) + sum(g[1:])
    return analysis["flops"], 2 * cfg.batch_size * (d_update + g_update)


def table(report: dict) -> str:
    """The report as text."""
    on = report["machine"]
    busy = on["cores_busy_with_others"]
    versions = ", ".join(
        f"{name} {version}" for name, version in on["versions"].items()
    )
    lines = [
        f"{on['cpu']}, {on['threads']} threads, of which {busy:.2f} busy with others; "
        f"JAX on {', '.join(on['devices'])}; Python {on['python']}",
        versions,
        f"{report['rounds']} turns of {report['steps_a_turn']} steps; median (min-max)",
        "",
        f"{'':25}{'steps/s':20}{'x PyTorch eager':20}{'x alone':20}"
        f"{'of the floor':20}first turn",
    ]
    for name, row in report["rows"].items():
        cells = [
            _cell(row.get("steps_per_second"), "{:.0f}"),
            _cell(row.get("times_pytorch_eager"), "{:.2f}"),
            _cell(row.get("times_alone"), "{:.2f}"),
            _cell(row.get("share_of_floor"), "{:.2f}"),
            f"{row['first_turn_seconds']:.1f} s" if "first_turn_seconds" in row else "",
        ]
        cells = [f"{cell:20}" for cell in cells]
        lines.append(f"{name:25}{row.get('missing') or ''.join(cells).rstrip()}")
    counted = report["flops_a_step"]
    lines += [
        "",
        f"floor: {counted['xla'] / 1e6:.1f} million operations a step as XLA counts "
        f"({counted['matrix_products_by_hand'] / 1e6:.1f} in matrix products, by hand)",
        "over the fastest in each round of these float32 products, in GFLOP/s:",
    ]
    for name, rate in report["gflops"].items():
        lines.append(f"  {name:45}{_cell(rate, '{:.0f}')}")
    if busy > 0.05 * on["threads"]:
        lines += ["", "Others were at work, which hurts PyTorch most: measure again."]
    return "\n".join(lines)


def _cell(values: dict | None, form: str) -> str:
    if values is None:
        return "-"
    median, low, high = (form.format(values[key]) for key in ("median", "min", "max"))
    return f"{median} ({low}-{high})"


if __name__ == "__main__":
    sys.exit(exit_status(lambda: tyro.cli(main, description=__doc__)))
