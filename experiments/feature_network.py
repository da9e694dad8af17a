"""How good are the feature networks, how long do they take, and what is their floor?

    python experiments/feature_network.py --out results/feature_networks.json
    python experiments/feature_network.py --quick

Each is a small classifier that is trained on the train split of its data set, once, and
then kept in the user's cache: the seconds are those of training where the cache is
empty. The floor is what real images score in place of generated ones: as many of the
train split as there are in the test split, against all of that, in 20 draws.

Five minutes on one core of an AMD EPYC; the time of the CPUs is given beside the
seconds. Expected (results/feature_networks.json), with JAX 0.10, medians:

                   accuracy  seconds  of CPUs  frechet (range)        density  coverage
    mnist           99.31 %     67.7     67.2  0.090 (0.078 to 0.103)    0.93      0.95
    fashion_mnist   92.06 %     58.2     58.1  0.041 (0.032 to 0.049)    0.99      0.97
    digits          98.83 %      5.9      5.8  0.119 (0.088 to 0.143)    1.01      0.96

Density and coverage would be 1 and 0.97 between two halves of one split: what is
missing is what the classifier knows better of the split that it was trained on. With
JAX 0.12, or on another kind of device, the networks have other names and other weights.
So they have on another processor: on an Intel Xeon, frechet of the first images of the
train split was 0.089, 0.041 and 0.179 where on the EPYC it was 0.091, 0.038 and 0.179.
"""

import sys
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np
import tyro

from subsel.gan import data, features
from subsel.gan.metrics.images import images
from subsel.lab import cells
from subsel.lab.errors import UsageError, exit_status
from subsel.lab.timing import spread

DRAWS = 20


def measure(name: str, data_dir: str | None) -> dict:
    """Trains the network of a data set, or loads it, and compares the two splits."""
    train, test = (data.load(name, data_dir, split) for split in ("train", "test"))
    began = time.perf_counter(), time.process_time()
    network = features.network(
        name, (train.rows, train.labels), (test.rows, test.labels)
    )
    ended = time.perf_counter(), time.process_time()
    count, compare = len(test.rows), jax.jit(images)
    reference = features.compute(network.apply, test.rows)
    found = []
    for key in jax.random.split(jax.random.key(0), DRAWS):
        real = features.compute(network.apply, data.real(train, key, count))
        found.append(compare(real, reference, key))
    return {
        "network": network.name,
        "accuracy": network.accuracy,
        "seconds": round(ended[0] - began[0], 1),
        "cpu_seconds": round(ended[1] - began[1], 1),  # whoever else is at work
        "samples": count,
        "floor": {
            metric: spread(np.array([one[metric] for one in found]))
            for metric in found[0]
        },
    }


def table(report: dict) -> str:
    shown = ("frechet", "kernel_distance", "precision", "recall", "density", "coverage")
    lines = [f"{'network':28}accuracy  seconds  of CPUs  samples  {'  '.join(shown)}"]
    for cell in report["cells"].values():
        floor = "  ".join(
            f"{cell['floor'][key]['median']:{len(key)}.3g}" for key in shown
        )
        low, high = (cell["floor"]["frechet"][end] for end in ("min", "max"))
        lines.append(
            f"{cell['network']:28}{cell['accuracy']:8.2%}{cell['seconds']:9.1f}"
            f"{cell['cpu_seconds']:9.1f}{cell['samples']:9}  {floor}"
            f"  frechet {low:.3f} to {high:.3f}"
        )
    return "\n".join(lines)


def main(
    quick: bool = False,
    out: Path | None = None,
    datasets: tuple[str, ...] = ("mnist", "fashion_mnist", "digits"),
    data_dir: str | None = None,
) -> None:
    """Trains what is not in the cache, prints a table and saves it.

    Args:
        quick: only the digits, in seconds.
        out: JSON file to write. If left
            out, runs/feature_networks.json or runs/feature_networks_quick.json.
        datasets: names of labelled sets of images or signals.
        data_dir: where tensorflow-datasets keeps its sets; None: where it does.
    """
    datasets = ("digits",) if quick else datasets
    if not datasets:
        raise UsageError("--datasets: expected at least one name")
    protocol = {
        "recipe": features.RECIPE,
        "backend": jax.default_backend(),
        "draws": DRAWS,
    }
    plan = {name: partial(measure, name, data_dir) for name in datasets}
    out = cells.place("feature_networks", quick, out)
    report = cells.run(out, protocol, plan)
    print(table(report))
    print(f"\nsaved as {out}")


if __name__ == "__main__":
    sys.exit(exit_status(lambda: tyro.cli(main, description=__doc__)))
