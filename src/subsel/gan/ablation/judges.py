"""How good generators are on a task: the same metrics and noise for all of them."""

import base64
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
from subsel.gan.features import Made
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


class _Measures(NamedTuple):
    of: tuple[Callable, Callable]  # of samples: the primary metric, and all
    counts: list[int]  # of samples for each
    against: str
    network: Made | None  # whose features are compared; of points none are


@functools.lru_cache(maxsize=4)
def judge(
    task: Task, data_dir: str | None, counts: tuple, network: Made | None = None
) -> Judge:
    """The metrics of a task, compiled for many generators at a time.

    Args:
        task: what is judged.
        data_dir: where tensorflow-datasets keeps its sets.
        counts: samples of a point of a curve, and of the final evaluation; of images
            no more than the test split has.
        network: whose features images are compared in, of the study's
            :func:`standard`; this machine's own if left out.

    Raises:
        UsageError: no test split to compare images with.
    """
    own = playing(task.config, data_dir)
    measures = _measures(task, own, data_dir, counts, network)
    compiled = [
        jax.jit(functools.partial(_of_generators, task.config, own, of, count))
        for of, count in zip(measures.of, measures.counts, strict=True)
    ]
    return Judge(*compiled)


def standard(task: Task, data_dir: str | None, counts: tuple) -> dict:
    """What generators are held to in all of a study, as JSON data.

    Returns:
        ``judge``, the protocol in words; ``real``, the mean of what as many real
        samples score in 8 draws, and ``curve_floor``, the same of the primary metric
        on the samples of a curve; the ``shape`` of a sample; and ``network``, the name
        and the weights of the one that images are compared in, or None.
    """
    own = playing(task.config, data_dir)
    measures = _measures(task, own, data_dir, counts, None)
    keys = jax.random.split(jax.random.key(_DIRECTIONS), _FLOORS)
    few, real = (
        _floor(own.dataset, jax.jit(of), count, keys)
        for of, count in zip(measures.of, measures.counts, strict=True)
    )
    few_samples, samples = measures.counts
    network = measures.network
    if network:
        weights = base64.b64encode(network.weights).decode()
        network = network._replace(weights=weights)._asdict()
    return {
        "judge": f"{samples} samples, of curves {few_samples}, {measures.against}, "
        "last iterate",
        "real": real,
        "curve_floor": few[task.primary],
        "shape": list(own.dataset.shape),
        "network": network,
    }


def kept_as(task: Task) -> str:
    """The name of its standard in a store; tasks with the same data share one."""
    return f"{task.config.dataset}/{task.primary}"


def network_of(of: dict) -> Made | None:
    """That of a :func:`standard`; None for points."""
    if of["network"] is None:
        return None
    return Made(of["network"]["name"], base64.b64decode(of["network"]["weights"]))


def _measures(task, own, data_dir, counts, network):
    if own.dataset.noise:
        measure, most = _of_points(task, own)
        against = "known density"
    else:
        measure, most, network = _of_images(task, own, data_dir, network)
        against = f"test split, {network.name}"

    def primary(samples):
        return {task.primary: measure(samples)[task.primary]}

    counts = [min(count, most) for count in counts]
    return _Measures((primary, measure), counts, against, network)


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


def _of_images(task, own, data_dir, network):
    name = task.config.dataset
    found, test = evaluate.classifier(name, data_dir, own.dataset, network)

    def features(rows):
        one = functools.partial(jax.tree.map, lambda x: x[0])
        return jax.lax.map(lambda x: one(found.apply(x[None])), rows, batch_size=100)

    reference = jax.jit(features)(data.scaled(test.rows))

    def measure(samples):
        compared = jax.tree.map(lambda x: x[: len(samples)], reference)
        key = jax.random.key(_DIRECTIONS)
        scores = images(features(samples), compared, key)
        return {name: x for name, x in scores.items() if name not in _LEFT_OUT}

    return measure, len(test.rows), Made(found.name, found.weights)


def _of_generators(cfg, own, measure, count, generators, keys):
    def one(given):
        generator, key = given
        z_key, label_key = jax.random.split(key)
        z = jax.random.normal(z_key, (count, cfg.latent))
        label = data.draw(own.dataset, label_key, count)[1]
        return measure(own.draw(generator, z, label))

    return jax.lax.map(one, (generators, keys))


def playing(cfg: Config, data_dir: str | None) -> Game:
    """The game of a configuration, with its data."""
    return game.build(cfg, data.load(cfg.dataset, data_dir))
