"""How much does the derivative of ReLU at 0, s, matter? After Bertoin et al., 2021.

    python experiments/relu_at_zero.py --data-dir DIR --out results/relu_at_zero.json
    python experiments/relu_at_zero.py --quick

MNIST, dense layers of 256, PyTorch's initialisation, batches of 100. Three questions:
how often an argument of ReLU is exactly 0; in how many networks at initialisation
backpropagation with s = 0 and s = 1 differs, where each sees one batch (draws) or all
60,000 images (sweeps); and what SGD at 0.1 for 1,000 steps makes of it: 3 hidden
layers, float32 weights that are rounded to the precision of all else but the loss, the
accuracy on 10,000 images of the train split that were held out, 8 seeds.

Bertoin, Bolte, Gerchinovitz and Pauwels (Numerical influence of ReLU'(0) on
backpropagation, 2021) count as our sweeps do, but in PyTorch, mostly on GPUs, and 1,000
networks: 54, 258, 463, 647 and 697 differ in float32 with 1, 2, 3, 5 and 6 layers. On
CPUs, XLA rounds a matrix product in half precision once, at its end.

18 minutes on 2 cores of an Intel Xeon that others used too; results/relu_at_zero.json:
zeros per ReLU 3e-9 to 1e-8 in float32, 3e-5 to 8e-5 in float16, 2e-4 to 6e-4 in
bfloat16, none in float64. Sweeps in float32 differ in 2, 4, 16, 21 and 23 of 40, draws
in 0 of 1,000; draws in float16 in 510 to 1,000, in bfloat16 in 997 to 1,000, in float64
in none. Training does not care: s = 0.5 or 1 less s = 0 is within 0.1 points of 93.9 %
(96.3 to 96.6 % with layer normalisation) in every precision, and 0 is in all intervals.

In one file because its three questions share networks, data and precisions.
"""

import contextlib
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from tqdm import tqdm

from subsel import kinks
from subsel.gan import data
from subsel.lab import cells
from subsel.lab.errors import UsageError, exit_status
from subsel.lab.files import atomic
from subsel.lab.statistics import clopper_pearson, student

SLOPES = (0.0, 0.5, 1.0)
DTYPES = ("float64", "float32", "bfloat16", "float16")
NORMS = ("none", "layer")
CLASSES = 10
# Bertoin et al. 2021, of 1,000 initialisations, by the number of layers.
PUBLISHED = {
    "float32": {1: 54, 2: 258, 3: 463, 5: 647, 6: 697},
    "float16": {1: 871, 2: 999, 3: 1000, 5: 1000, 6: 1000},
}


def main(
    quick: bool = False,
    out: Path | None = None,
    dataset: str | None = None,
    data_dir: str | None = None,
    layers: tuple[int, ...] = (1, 2, 3, 5, 6),
    width: int = 256,
    draws: int = 1000,
    sweeps: int = 40,
    seeds: int = 8,
    steps: int = 1000,
) -> None:
    """Measures what is missing in the file, prints tables and draws a picture.

    Args:
        quick: on the digits, small enough for less than a minute.
        out: JSON file to write, or to go on with; the picture has its name, as PNG.
            If left out, runs/relu_at_zero.json or runs/relu_at_zero_quick.json.
        dataset: mnist, or digits with --quick, if left out.
        data_dir: where tensorflow-datasets keeps its sets.
        layers: numbers of hidden layers whose gradients are compared.
        width: of every hidden layer.
        draws: networks that see one batch each.
        sweeps: networks that see all images, in float32.
        seeds: networks trained, in each way.
        steps: of training.
    """
    if min(*layers, width, draws, seeds, steps) < 1 or seeds < 2 or sweeps < 1:
        raise UsageError("expected 1 or more of everything, and --seeds 2 or more")
    if quick:
        layers, width, draws = layers[:1], min(width, 32), min(draws, 50)
        sweeps, seeds, steps = min(sweeps, 2), min(seeds, 3), min(steps, 50)
    dataset = dataset or ("digits" if quick else "mnist")
    protocol = {"dataset": dataset, "layers": layers, "width": width, "draws": draws}
    protocol |= {"sweeps": sweeps, "seeds": seeds, "steps": steps}
    protocol |= {"dtypes": DTYPES[1::2] if quick else DTYPES}
    protocol |= {"slopes": SLOPES[::2] if quick else SLOPES}
    protocol |= {"norms": NORMS[:1] if quick else NORMS}
    images, labels = examples(dataset, data_dir)
    plan = {}
    for dtype in protocol["dtypes"]:
        for depth in layers:
            sizes = (images.shape[1], *[width] * depth, CLASSES)
            ask = partial(compare, images, labels, sizes, dtype)
            plan[f"draws/{dtype}/{depth}"] = partial(ask, draws, 100)
            if dtype == "float32":
                plan[f"sweeps/{dtype}/{depth}"] = partial(ask, sweeps, len(images))
    sizes = (images.shape[1], *[width] * 3, CLASSES)
    for dtype, norm in trained(protocol):
        for slope in protocol["slopes"]:
            ask = partial(train, images, labels, sizes, dtype, norm, slope)
            plan[f"train/{dtype}/{norm}/{slope}"] = partial(ask, seeds, steps)
    out = cells.place("relu_at_zero", quick, out)
    report = cells.run(out, protocol, plan)
    print(table(report))
    picture(out.with_suffix(".png"), report)
    print(f"\nsaved as {out} and {out.with_suffix('.png')}")


def trained(protocol: dict) -> list[tuple[str, str]]:
    """The precisions and normalisations that networks are trained in."""
    reduced = [dtype for dtype in protocol["dtypes"] if dtype != "float64"]
    return [(dtype, norm) for dtype in reduced for norm in protocol["norms"]]


def examples(name: str, data_dir: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Flat images [N, P] uint8 and their labels, shuffled with a fixed seed."""
    found = data.load(name, data_dir)
    if found.rows.dtype != np.uint8 or found.labels.max() >= CLASSES:
        raise UsageError(f"--dataset {name}: expected images of at most 10 classes")
    order = np.random.default_rng(0).permutation(len(found.rows))
    return found.rows.reshape(len(order), -1)[order], found.labels[order]


def init(key, sizes, dtype):
    """Uniform within 1/sqrt(inputs), weights and biases, as PyTorch; then rounded."""

    def layer(key, inputs, outputs):
        reach = inputs**-0.5
        drawn = jax.random.uniform(key, (inputs + 1, outputs), jnp.float32, -1, 1)
        drawn = (reach * drawn).astype(dtype)
        return {"kernel": drawn[1:], "bias": drawn[:1]}

    keys = jax.random.split(key, len(sizes) - 1)
    return [layer(k, *pair) for k, *pair in zip(keys, sizes, sizes[1:], strict=False)]


def loss(params, images, labels, slope, norm="none"):
    """Cross-entropy, logits, and how many arguments of ReLU were exactly zero."""
    dtype = params[0]["kernel"].dtype
    x, zeros = images.astype(dtype) / 255, 0
    for layer in params[:-1]:
        x = x @ layer["kernel"] + layer["bias"]
        if norm == "layer":
            centred = x - x.mean(1, keepdims=True)
            x = centred * jax.lax.rsqrt(jnp.var(x, 1, keepdims=True) + 1e-5)
        zeros += (x == 0).sum()
        x = kinks.relu(x, at_kink=slope)
    logits = x @ params[-1]["kernel"] + params[-1]["bias"]
    logits = logits.astype(jnp.promote_types(dtype, jnp.float32))
    entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    return entropy, (logits, zeros)


def compare(images, labels, sizes, dtype, draws, seen) -> dict:
    """In how many networks, at initialisation, s = 0 and s = 1 give other gradients.

    Each sees ``seen`` images, in batches of 100. The gradients are compared on batches
    with a zero; on others there is no kink.
    """
    batches = max(seen // 100, 1)

    def unlike(params, x, y):
        a, b = (jax.grad(loss, has_aux=True)(params, x, y, s)[0] for s in (0.0, 1.0))
        pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
        return jnp.any(jnp.stack([jnp.any(x != y) for x, y in pairs]))

    @jax.jit
    def draw(images, labels, key, rows):
        params = init(key, sizes, dtype)

        def batch(carry, rows):
            x, y = images[rows], labels[rows]
            zeros = loss(params, x, y, 0.0)[1][1].astype(jnp.int32)
            differ = jax.lax.cond(
                zeros > 0, lambda: unlike(params, x, y), lambda: jnp.zeros((), bool)
            )
            return (carry[0] + zeros, carry[1] | differ), None

        start = jnp.zeros((), jnp.int32), jnp.zeros((), bool)
        return jax.lax.scan(batch, start, rows)[0]

    zeros = differ = 0
    with jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext():
        images, labels = jnp.asarray(images), jnp.asarray(labels)
        for i in tqdm(range(draws), unit="network", leave=False):
            rows = np.random.default_rng(i).permutation(len(images))[: batches * 100]
            rows = rows.reshape(batches, 100).astype(np.int32)
            tied, other = draw(images, labels, jax.random.key(i), rows)
            zeros, differ = zeros + int(tied), differ + int(other)
    evaluations = draws * batches * 100 * sum(sizes[1:-1])
    return {"differ": differ, "of": draws, "zeros": zeros, "evaluations": evaluations}


def train(images, labels, sizes, dtype, norm, slope, seeds, steps) -> dict:
    """Accuracy on images held out, after SGD with float32 weights, by seed.

    Seeds share neither start nor batches; slopes share both.
    """
    test = len(images) // 6
    held = images[:test], labels[:test]
    kept = images[test:], labels[test:]

    def cast(params):
        return jax.tree.map(lambda p: p.astype(dtype), params)

    @jax.jit
    @partial(jax.vmap, in_axes=(None, None, 0, 0))
    def run(kept, held, key, batches):
        def step(carry, rows):
            params, zeros = carry

            def objective(params):
                return loss(cast(params), kept[0][rows], kept[1][rows], slope, norm)

            gradient, (_, tied) = jax.grad(objective, has_aux=True)(params)
            params = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)
            return (params, zeros + tied), None

        start = init(key, sizes, jnp.float32), jnp.zeros((), jnp.int32)
        (params, zeros), _ = jax.lax.scan(step, start, batches)
        logits = loss(cast(params), *held, slope, norm)[1][0]
        return (jnp.argmax(logits, 1) == held[1]).mean(), zeros

    keys = jax.vmap(jax.random.key)(jnp.arange(seeds))
    batches = np.random.default_rng(0).integers(test, len(images), (seeds, steps, 100))
    accuracy, zeros = run(*jax.device_put((kept, held)), keys, batches - test)
    evaluations = seeds * steps * 100 * sum(sizes[1:-1])
    return {
        "accuracy": [float(a) for a in accuracy],
        "zeros": int(zeros.sum()),
        "evaluations": evaluations,
    }


def table(report: dict) -> str:
    """The report as text."""
    lines = ["", f"{'networks whose gradient differs':33}exact zeros a ReLU"]
    done = report["cells"]
    for name, cell in done.items():
        rate = f"{cell['zeros'] / cell['evaluations']:.1e}"
        if name.startswith("train"):
            continue
        kind, dtype, depth = name.split("/")
        share = f"{cell['differ']:5} of {cell['of']}"
        theirs = PUBLISHED.get(dtype, {}).get(int(depth))
        beside = "" if theirs is None else f"published, whole set: {theirs} of 1000"
        lines.append(f"{kind:7}{dtype:9}{depth:>2}{share:>14} {rate:>9}  {beside}")
    lines += ["", "accuracy in % (95 % over seeds), and paired with s = 0"]
    slopes = report["protocol"]["slopes"]
    for dtype, norm in trained(report["protocol"]):
        runs = [done[f"train/{dtype}/{norm}/{s}"] for s in slopes]
        for slope, cell in zip(slopes, runs, strict=True):
            mean, half = student(100 * np.array(cell["accuracy"]))
            gap = np.subtract(cell["accuracy"], runs[0]["accuracy"])
            more, wide = student(100 * gap)
            rate = cell["zeros"] / cell["evaluations"]
            lines.append(
                f"{dtype:9}{norm:6}s = {slope}  {mean:6.2f} +-{half:5.2f}"
                f"  {more:+6.2f} +-{wide:5.2f}  zeros {rate:.1e}"
            )
    return "\n".join(lines)


def picture(path: Path, report: dict) -> None:
    """Left, networks whose gradient differs; right, accuracies."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    done = report["cells"]
    layers, dtypes = report["protocol"]["layers"], report["protocol"]["dtypes"]
    kinds = [("draws", dtype, "-") for dtype in dtypes] + [("sweeps", "float32", "--")]
    for kind, dtype, line in kinds:
        rows = [done[f"{kind}/{dtype}/{depth}"] for depth in layers]
        share = np.array([row["differ"] / row["of"] for row in rows])
        ends = np.array([clopper_pearson(row["differ"], row["of"]) for row in rows])
        bars = np.clip([share - ends[:, 0], ends[:, 1] - share], 0, None)
        name = f"{dtype}, {'one batch of 100' if kind == 'draws' else 'all images'}"
        place = np.array(layers) + 0.06 * (dtype == "float32")  # beside float64
        left.errorbar(place, share, bars, fmt=f"o{line}", capsize=3, label=name)
    theirs = PUBLISHED["float32"]
    shares = [count / 1000 for count in theirs.values()]
    left.plot(theirs.keys(), shares, "k:", label="published: float32, all images")
    left.set(xlabel="hidden layers", ylabel="share of networks", ylim=(-0.03, 1.03))
    left.set_title("backpropagation with s = 0 and s = 1 differs", fontsize=10)
    names = trained(report["protocol"])
    for i, slope in enumerate(report["protocol"]["slopes"]):
        runs = [done[f"train/{dtype}/{norm}/{slope}"] for dtype, norm in names]
        means = [student(100 * np.array(run["accuracy"])) for run in runs]
        middle = (len(report["protocol"]["slopes"]) - 1) / 2
        place = np.arange(len(names)) + 0.2 * (i - middle)
        right.errorbar(
            place, *np.transpose(means), fmt="o", capsize=3, label=f"s = {slope}"
        )
    labels = [f"{dtype}\n{norm}" for dtype, norm in names]
    right.set_xticks(range(len(names)), labels, fontsize=8)
    right.set(ylabel="accuracy on held-out images, %")
    right.set_title("after training; bars: 95 % over seeds", fontsize=10)
    for axes in (left, right):
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16), "ncols": 2}
        axes.legend(frameon=False, fontsize=8, **below)
        axes.grid(alpha=0.2)
    with atomic(path) as part:
        figure.savefig(part, dpi=120)


if __name__ == "__main__":
    sys.exit(exit_status(lambda: tyro.cli(main, description=__doc__)))
