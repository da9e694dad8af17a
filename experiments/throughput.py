"""How fast the article's GAN and DCGAN train: steps, start, memory, and why.

    python experiments/throughput.py --out results/throughput.json
    python experiments/throughput.py --quick
    python experiments/throughput.py --models dcgan

A step of this project, of PyTorch eager and the arithmetic floor. Everybody plays the
same game: z 100, batch 128, non-saturating loss, Adam with b1 0.5, on 60,000 random
28x28x1 uint8 images that are held in memory, drawn by random indices and scaled in each
step; new noise in each step. D moves first; G then meets the new D with the same fake
batch. The networks are the article's (mlp: hidden 128-128, leaky ReLU 0.2, tanh) and
DCGAN's (dcgan: width 64, batch normalisation, by which D sees real and fake apart).

The floor is the operations in matrix products of one step, counted by hand, over the
fastest float32 product that either library does in the same rounds, at sizes that the
step has or large and square. Many seeds at once are a population, one program with an
axis of seeds; their steps are those of all seeds, and "x alone" is what that gains over
one seed after the other. Where a step's time goes is traced in a turn of its own.

The contenders take turns, so that a busy machine is busy for all of them, and a ratio
is the median over rounds of the two times of one round. PyTorch is optional.

Memory is the most that a new process has resident that trains like this. The first
report is that of train_gan.py with its defaults, after 1,000 steps: with an empty cache
folder, where it first trains the classifier that digits are judged by, and with what
that left in it.

Under four minutes on 2 cores of an Intel Xeon with PyTorch 2.13, 11 turns of 200 steps
(5 of dcgan): mlp 1.58 times PyTorch eager with optax.adam and 1.43 with subsel.adam,
0.31 of the floor; dcgan 0.75, 0.71 and 0.36; first report after 15.8 s and 5.4 s
(results/throughput.json).

In one file because it sets up, measures and prints one comparison.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import tyro

from subsel.gan import config, data, eager, game, population, step, work
from subsel.gan.config import Config
from subsel.lab import cells, children, products, traces
from subsel.lab.errors import UsageError, exit_status
from subsel.lab.timing import alternate, others_cpu_seconds, seconds, spread

SHAPE = (28, 28, 1)
OURS = {"subsel.gan, optax.adam": "adam", "subsel.gan, subsel.adam": "subsel"}
ALONE = "subsel.gan, optax.adam"
EAGER, COMPILED, FLOOR = "PyTorch eager", "PyTorch torch.compile", "arithmetic floor"
ELSEWHERE = {"mlp": (EAGER, COMPILED), "dcgan": (EAGER,)}  # it compiles for a minute
SEEDS = {"mlp": (4, 16, 64, 256), "dcgan": ()}  # in one program
SLOWER = {"mlp": 1, "dcgan": 40}  # about; its turns have fewer steps
TRACED = (ALONE, "16 seeds at once, adam")
START = "first report"
INSTALL = "absent: pip install torch"


def main(
    quick: bool = False,
    out: Path | None = None,
    models: tuple[str, ...] = ("mlp", "dcgan"),
    rounds: int = 11,
    steps: int = 200,
    starts: int = 3,
    batch_size: int = Config.batch_size,
    hidden: tuple[int, ...] = (128, 128),
    width: int = Config.width,
    images: int = 60_000,
) -> None:
    """Measures what is missing in the file, and prints a table.

    Args:
        quick: at most 3 rounds of 40 steps, without what takes long: other populations
            than that of 16 seeds, torch.compile, memory and the first report.
        out: JSON file to write, or to go on with. If left out, runs/throughput.json
            or runs/throughput_quick.json.
        models: of mlp, dcgan.
        rounds: turns of each contender.
        steps: training steps in a turn; of dcgan a fortieth.
        starts: of train_gan.py with a warm cache, after one with a cold one; 0: none.
        batch_size: real and generated samples a step.
        hidden: widths of the dense layers of G and of D of mlp.
        width: channels of dcgan at its highest resolution.
        images: random images to draw from.
    """
    if quick:
        rounds, steps, starts = min(rounds, 3), min(steps, 40), 0
    devices = jax.local_device_count()
    if rounds < 1 or images < 1 or starts < 0 or batch_size % devices:
        raise UsageError(
            f"--rounds {rounds} --images {images} --starts {starts} --batch-size "
            f"{batch_size}: expected 1 or more, 1 or more, 0 or more, and a multiple "
            f"of the number of devices, {devices}"
        )
    if not models or not set(models) <= set(SEEDS):
        raise UsageError(f"--models {' '.join(models)}: expected some of mlp, dcgan")
    protocol = {
        "images": [images, *SHAPE],
        "latent": Config.latent,
        "batch_size": batch_size,
        "rounds": rounds,
        "steps": steps,
        "networks": {"hidden": hidden, "width": width},
        "quick": quick,
    }
    plan = {}
    for model in models:
        turn = max(steps // SLOWER[model], 1)
        cfg = Config(model=model, batch_size=batch_size, steps=turn, log_every=turn)
        own = {"mlp": {"hidden": hidden}, "dcgan": {"width": width}}[model]
        cfg = config.check(replace(cfg, **own))
        plan[model] = partial(measure, cfg, images, rounds, quick)
    if starts:
        plan[START] = partial(first_report, starts)
    out = cells.place("throughput", quick, out)
    report = cells.run(out, protocol, plan)
    print(f"\n{table(report)}\n\nsaved as {out}")


def measure(cfg: Config, count: int, rounds: int, quick: bool) -> dict:
    """Builds the contenders, gives them their turns and collects what is saved."""
    images = random_images(count)
    found = {name: ours(cfg, images, optimizer) for name, optimizer in OURS.items()}
    done = {}  # seed-steps of a turn, where they are not cfg.steps
    for size in SEEDS[cfg.model]:
        name = f"{size} seeds at once, adam"
        if quick and name not in TRACED:
            continue
        short = replace(cfg, steps=max(cfg.steps // size, 1), log_every=1)
        done[name] = size * short.steps
        found[name] = together(short, images, size)
    turns = {name: turn for name, (turn, _) in found.items()}
    first = {name: seconds(turn) for name, turn in turns.items()}
    rows = {name: {} for name in (*turns, *ELSEWHERE[cfg.model], FLOOR)}
    for name in ELSEWHERE[cfg.model]:
        if quick and name == COMPILED:
            rows[name]["missing"] = "left out by --quick"
            continue
        try:
            turn = eager.turn(cfg, images, compiled=name == COMPILED)
            first[name], turns[name] = seconds(turn), turn
        except ImportError:
            rows[name]["missing"] = INSTALL
        except Exception as error:  # of a compiler or a device: the others can go on
            line = f"{type(error).__name__}: {' '.join(str(error).split())}"
            rows[name]["missing"] = line[:200]
    square = (2048 if jax.default_backend() == "cpu" else 8192,) * 3
    multiplying, counts = products.turns(
        [*work.products(cfg, SHAPE), square], torch_too=EAGER in turns
    )
    by_hand = work.operations(cfg, SHAPE)

    others, began = others_cpu_seconds(), time.perf_counter()
    took = alternate(turns | multiplying, rounds)
    others = (others_cpu_seconds() - others) / (time.perf_counter() - began)
    rates = {name: counts[name] / took.pop(name) for name in multiplying}
    took[FLOOR] = cfg.steps * by_hand / np.max(list(rates.values()), axis=0)
    took = {name: spent / done.get(name, cfg.steps) for name, spent in took.items()}
    for name, spent in took.items():
        rows[name]["steps_per_second"] = spread(1 / spent)
        if EAGER in took:
            rows[name]["times_pytorch_eager"] = spread(took[EAGER] / spent)
        rows[name]["times_alone"] = spread(took[ALONE] / spent)
        rows[name]["share_of_floor"] = spread(took[FLOOR] / spent)
        if name in first:
            rows[name]["first_turn_seconds"] = first[name]
    for name in set(TRACED) & set(found):
        turn, program = found[name]
        rows[name]["time_by_kind"] = traces.shares(turn, program().as_text())
    # XLA counts what a loop does once: one step.
    counted = found[ALONE][1]().cost_analysis()["flops"]
    return {
        "steps_a_turn": cfg.steps,
        "cores_busy_with_others": round(others, 2),
        "rows": rows,
        "peak_mib": None if quick else children.peak_of(_two_turns, cfg, count),
        "flops_a_step": {"xla": counted, "matrix_products_by_hand": by_hand},
        "gflops": {name: spread(rate / 1e9) for name, rate in rates.items()},
    }


def first_report(starts: int) -> dict:
    """Of train_gan.py, from the command on: cold, then warm. Its memory until there."""
    script = Path(__file__).with_name("train_gan.py")
    with tempfile.TemporaryDirectory() as folder:
        seen = [
            children.until(
                [sys.executable, script, "--run-dir", f"{folder}/{i}"],
                "step ",
                XDG_CACHE_HOME=f"{folder}/cache",
            )
            for i in range(1 + starts)
        ]
    spent = [one["seconds"] for one in seen]
    return {
        "command": "experiments/train_gan.py",
        "cold_seconds": spent[0],
        "warm_seconds": spread(np.array(spent[1:])),
        "peak_mib": {"cold": seen[0]["peak_mib"], "warm": seen[-1]["peak_mib"]},
    }


def random_images(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, *SHAPE), dtype=np.uint8)


def contender(cfg: Config, images: np.ndarray, optimizer: str) -> tuple:
    """The game on these images, its state, and the pool that batches are drawn from."""
    cfg = replace(cfg, optimizer=optimizer)
    pool = images, np.zeros(len(images), np.int32)
    built = game.build(cfg, data.Dataset("random", *pool, 0.0))
    pool = jax.device_put(pool, step.sharding())
    return built, game.fresh(cfg, built), pool


def ours(cfg: Config, images: np.ndarray, optimizer: str) -> tuple[Callable, Callable]:
    """A turn of the compiled run, as ``train`` runs it; and what compiles it."""
    built, state, pool = contender(cfg, images, optimizer)
    body = step.make_step(built.nets, built.tx, built.rules, step.ALL)
    return _running(body, state, pool, cfg)


def together(cfg: Config, images: np.ndarray, size: int) -> tuple[Callable, Callable]:
    """The same of ``size`` seeds as one program, as the ablation trains them."""
    cfg = replace(cfg, optimizer="adam")
    built, _, pool = contender(cfg, images, "adam")
    members = [replace(cfg, seed=seed) for seed in range(size)]
    body = population.make_step(cfg, built, step.ALL)
    given = population.numbers(members), pool
    return _running(body, population.fresh(members, built), given, cfg)


def _running(body, state, given, cfg):
    run, slots = step.make_run(body, cfg.steps), step.slots(cfg.batch_size)

    def turn():
        nonlocal state
        state, metrics, finite = run(state, given, slots)
        jax.device_get((metrics, finite))
        jax.block_until_ready(state)

    return turn, lambda: run.lower(state, given, slots).compile()


def _two_turns(cfg: Config, count: int) -> None:
    turn, _ = ours(cfg, random_images(count), "adam")
    turn()
    turn()


def table(report: dict) -> str:
    """The report as text."""
    on = report["machine"]
    lines = [
        f"{on['cpu']}, {on['threads']} threads; JAX on {', '.join(on['devices'])}; "
        f"Python {on['python']}",
        ", ".join(f"{name} {version}" for name, version in on["versions"].items()),
    ]
    models = dict(report["cells"])
    start = models.pop(START, None)
    for model, found in models.items():
        lines += ["", *_of_model(model, found, report["protocol"]["rounds"])]
        if found["cores_busy_with_others"] > 0.05 * on["threads"]:
            lines.append(
                "others were at work, which hurts PyTorch most: measure again, "
                "into another file"
            )
    if start:
        cold, warm = start["cold_seconds"], _cell(start["warm_seconds"], "{:.1f}")
        lines += ["", f"first report after {cold:.1f} s, with a warm cache {warm} s;"]
        peaks = (f"{_mib(peak)} {name}" for name, peak in start["peak_mib"].items())
        lines.append(f"memory until then: {', '.join(peaks)}")
    return "\n".join(lines)


def _of_model(model, found, rounds):
    lines = [
        f"{model}: {rounds} turns of {found['steps_a_turn']} steps; median (min-max); "
        f"{found['cores_busy_with_others']:.2f} threads busy with others",
        f"{'':25}{'steps/s':20}{'x PyTorch eager':20}{'x alone':20}"
        f"{'of the floor':20}first turn",
    ]
    for name, row in found["rows"].items():
        cells = [
            _cell(row.get("steps_per_second"), "{:.3g}"),
            _cell(row.get("times_pytorch_eager"), "{:.2f}"),
            _cell(row.get("times_alone"), "{:.2f}"),
            _cell(row.get("share_of_floor"), "{:.2f}"),
            f"{row['first_turn_seconds']:.1f} s" if "first_turn_seconds" in row else "",
        ]
        cells = [f"{cell:20}" for cell in cells]
        lines.append(f"{name:25}{row.get('missing') or ''.join(cells).rstrip()}")
    counted = found["flops_a_step"]
    lines += [
        f"floor: {counted['matrix_products_by_hand'] / 1e6:.1f} million operations a "
        f"step in matrix products, by hand (XLA counts {counted['xla'] / 1e6:.1f} in "
        "all)",
        "over the fastest in each round of these float32 products, in GFLOP/s:",
    ]
    for name, rate in found["gflops"].items():
        lines.append(f"  {name:45}{_cell(rate, '{:.0f}')}")
    for name, row in found["rows"].items():
        if kinds := row.get("time_by_kind"):
            largest = kinds["largest others"]
            shown = {k: v for k, v in kinds.items() if v is not largest} | largest
            shares = ", ".join(f"{kind} {share:.0%}" for kind, share in shown.items())
            lines.append(f"time of {name}: {shares}")
    return [*lines, f"memory of a process that trains: {_mib(found['peak_mib'])}"]


def _cell(values: dict | None, form: str) -> str:
    if values is None:
        return "-"
    median, low, high = (form.format(values[key]) for key in ("median", "min", "max"))
    return f"{median} ({low}-{high})"


def _mib(peak: float | None) -> str:
    return "not measured" if peak is None else f"{peak:.0f} MiB"


if __name__ == "__main__":
    sys.exit(exit_status(lambda: tyro.cli(main, description=__doc__)))
