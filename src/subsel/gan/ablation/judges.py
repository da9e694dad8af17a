"""How good generators are on a task: the same metrics and noise for all of them."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subsel.gan import data, evaluate, game
from subsel.gan.ablation.tasks import Task
from subsel.gan.config import Config
from subsel.gan.game import Game
from subsel.gan.metrics.images import images
from subsel.gan.metrics.mixture import mixture

_DIRECTIONS = 0  # key of what a metric draws: one for all that is compared
_FLOORS = 8  # draws of real samples
# What takes most of the time of an evaluation, and decides nothing here.
_LEFT_OUT = ("mmd", "kernel_distance", "kernel_distance_error", "sliced_wasserstein")


class Judge(NamedTuple):
    """How good generators are: ``(generators [M], keys [M]) -> {metric: [M]}``."""

    points: Callable  # of a curve, on few samples
    final: Callable  # on all of them
    floor: dict[str, float]  # the mean of what as many real samples score
    curve_floor: float  # the same of the primary metric, on those of a curve
    protocol: str


@functools.lru_cache(maxsize=4)
def judge(task: Task, data_dir: str | None, counts: tuple) -> Judge:
    """The metrics of a task, compiled for many generators at a time.

    Args:
        task: what is judged.
        data_dir: where tensorflow-datasets keeps its sets.
        counts: samples of a point of a curve, and of the final evaluation; of images
            no more than the test split has.

    Raises:
        UsageError: no test split to compare images with.
    """
    own = playing(task.config, data_dir)
    if own.dataset.noise:
        measure, most = _of_points(task, own)
        against = "known density"
    else:
        measure, most, against = _of_images(task, own, data_dir)
    counts = [min(count, most) for count in counts]

    def primary(samples):
        return {task.primary: measure(samples)[task.primary]}

    compiled = [
        jax.jit(functools.partial(_of_generators, task.config, own, of, count))
        for of, count in zip((primary, measure), counts, strict=True)
    ]
    keys = jax.random.split(jax.random.key(_DIRECTIONS), _FLOORS)
    few, floor = (
        _floor(own.dataset, jax.jit(of), count, keys)
        for of, count in zip((primary, measure), counts, strict=True)
    )
    return Judge(
        *compiled,
        floor,
        few[task.primary],
        f"{counts[1]} samples, of curves {counts[0]}, {against}, last iterate",
    )


def _floor(dataset, measure, count, keys):
    found = [measure(data.real(dataset, key, count)) for key in keys]
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def _of_points(task, own):
    centres, sd = jnp.asarray(own.dataset.rows), own.dataset.noise

    def measure(samples):
        found = mixture(samples, centres, sd, jax.random.key(_DIRECTIONS))
        kept = {name: x for name, x in found.items() if name not in _LEFT_OUT}
        return kept | {task.primary: found[task.primary]}

    return measure, math.inf


def _of_images(task, own, data_dir):
    network, test = evaluate.classifier(task.config.dataset, data_dir, own.dataset)

    def features(rows):
        one = functools.partial(jax.tree.map, lambda x: x[0])
        return jax.lax.map(lambda x: one(network.apply(x[None])), rows, batch_size=100)

    reference = jax.jit(features)(data.scaled(test.rows))

    def measure(samples):
        compared = jax.tree.map(lambda x: x[: len(samples)], reference)
        key = jax.random.key(_DIRECTIONS)
        found = images(features(samples), compared, key)
        return {name: x for name, x in found.items() if name not in _LEFT_OUT}

    return measure, len(test.rows), f"test split, {network.name}"


def _of_generators(cfg, own, measure, count, generators, keys):
    def one(given):
        generator, key = given
        z_key, label_key = jax.random.split(key)
        z = jax.random.normal(z_key, (count, cfg.latent))
        label = data.draw(own.dataset, label_key, count)[1]
        return measure(own.draw(generator, z, label))

    return jax.lax.map(one, (generators, keys))


def shape(task: Task, data_dir: str | None) -> tuple[int, ...]:
    """Of one sample."""
    return playing(task.config, data_dir).dataset.shape


def playing(cfg: Config, data_dir: str | None) -> Game:
    """The game of a configuration, with its data."""
    return game.build(cfg, data.load(cfg.dataset, data_dir))
