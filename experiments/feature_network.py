"""How good are the feature networks, how long do they take, and what is their floor?

    python experiments/feature_network.py --out results/feature_networks.json
    python experiments/feature_network.py --quick

Each is a small classifier that is trained on the train split of its data set, once, and
then kept in the user's cache: the seconds are those of training where the cache is
empty. The floor is what real images score in place of generated ones: as many of the
train split as there are in the test split, against all of that.

Three minutes on 2 cores of an Intel Xeon that others used too; the time of the CPUs is
given beside the seconds. Expected (results/feature_networks.json), with JAX 0.10:

                   accuracy  seconds  of CPUs  frechet  density  coverage  samples
    mnist           99.33 %    117.7     63.2    0.089     0.92      0.95   10,000
    fashion_mnist   91.73 %    102.5     57.1    0.041     0.99      0.97   10,000
    digits          98.83 %      8.8      5.5    0.179     1.04      0.92      599

Density and coverage would be 1 and 0.97 between two halves of one split: what is
missing is what the classifier knows better of the split that it was trained on. With
JAX 0.12, or on another kind of device, the networks have other names and other weights;
on an AMD EPYC other weights, in which frechet is 0.091, 0.038 and 0.179.
"""

import sys
import time
from functools import partial
from pathlib import Path

import jax
import tyro

from subsel.gan import data, features
from subsel.gan.metrics.images import images
from subsel.lab import cells
from subsel.lab.errors import UsageError, exit_status


def measure(name: str, data_dir: str | None) -> dict:
    """Trains the network of a data set, or loads it, and compares the two splits."""
    train, test = (data.load(name, data_dir, split) for split in ("train", "test"))
    began = time.perf_counter(), time.process_time()
    network = features.network(
        name, (train.rows, train.labels), (test.rows, test.labels)
    )
    ended = time.perf_counter(), time.process_time()
    rows = train.rows[: len(test.rows)]
    real, reference = (features.compute(network.apply, x) for x in (rows, test.rows))
    floor = jax.jit(images)(real, reference, jax.random.key(0))
    return {
        "network": network.name,
        "accuracy": network.accuracy,
        "seconds": round(ended[0] - began[0], 1),
        "cpu_seconds": round(ended[1] - began[1], 1),  # whoever else is at work
        "samples": len(rows),
        "floor": {metric: float(value) for metric, value in floor.items()},
    }


def table(report: dict) -> str:
    shown = ("frechet", "kernel_distance", "precision", "recall", "density", "coverage")
    lines = [f"{'network':26}accuracy  seconds  of CPUs  samples  {'  '.join(shown)}"]
    for cell in report["cells"].values():
        floor = "  ".join(f"{cell['floor'][key]:{len(key)}.3g}" for key in shown)
        lines.append(
            f"{cell['network']:26}{cell['accuracy']:8.2%}{cell['seconds']:9.1f}"
            f"{cell['cpu_seconds']:9.1f}{cell['samples']:9}  {floor}"
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
    protocol = {"recipe": features.RECIPE, "backend": jax.default_backend()}
    plan = {name: partial(measure, name, data_dir) for name in datasets}
    out = cells.place("feature_networks", quick, out)
    report = cells.run(out, protocol, plan)
    print(table(report))
    print(f"\nsaved as {out}")


if __name__ == "__main__":
    sys.exit(exit_status(lambda: tyro.cli(main, description=__doc__)))
