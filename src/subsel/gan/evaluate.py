"""How good a generator is: the metrics of a run, and the protocol they are made by."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subsel.gan import data, features, game, step
from subsel.gan.config import Config
from subsel.gan.game import Game
from subsel.gan.metrics import histogram
from subsel.gan.metrics.images import images
from subsel.gan.metrics.mixture import mixture
from subsel.gan.step import State

_CHUNK = 1000  # samples drawn at once
_STACKED = "mnist"  # whose classifier tells the digits of a stack apart


class Evaluation(NamedTuple):
    """Metrics of a state, when they are due, and what real data score."""

    due: Callable  # steps done -> bool
    run: Callable  # state -> {metric: number} and the protocol
    floor: dict  # {metric: number} of real samples in place of generated ones


def evaluation(cfg: Config, playing: Game) -> Evaluation:
    """What a configuration asks for; builds nothing where it asks for none.

    Points are compared with the known density of the mixture; images and signals with
    the test split, in the features of a classifier that never saw it; stacked digits
    by the classes that the classifier finds in them. Real samples for the floor are
    from the training split, as many as generated ones.

    Raises:
        UsageError: no test split to compare with.
    """
    every = cfg.eval_every
    points = playing.dataset.noise > 0
    if every is None:
        every = cfg.log_every if points else cfg.steps
    if not every:
        return Evaluation(lambda done: False, lambda state: {}, {})
    if points:
        measure, count, protocol = _of_points(cfg, playing)
    else:
        measure, count, protocol = _of_images(cfg, playing)
    averaged = f"ema {cfg.ema}" if cfg.ema else "last iterate"
    protocol = f"{count} samples, {protocol}, {averaged}"
    draw, real = game.sampler(playing), _real(playing)
    labels = jax.jit(lambda key: real(key, count)[1])  # of data, without the data

    def run(state: State) -> dict:
        key = jax.random.fold_in(state.key, step.EVALUATION)
        z_key, label_key, own_key = jax.random.split(key, 3)
        z = jax.random.normal(z_key, (count, cfg.latent))
        label = labels(label_key)
        generator = step.generator(state)
        drawn = np.concatenate(
            [
                np.asarray(draw(generator, z[i : i + _CHUNK], label[i : i + _CHUNK]))
                for i in range(0, count, _CHUNK)
            ]
        )
        found = measure(drawn, own_key)
        return {name: float(value) for name, value in found.items()} | {
            "protocol": protocol
        }

    def due(done: int) -> bool:
        return done % every == 0 or done == cfg.steps

    key = jax.random.fold_in(jax.random.key(cfg.seed), step.EVALUATION)
    floor = {name: float(x) for name, x in measure(real(key, count)[0], key).items()}
    return Evaluation(due, run, floor)


def _real(playing):
    """``(key, count) -> [count, ...], [count]``: samples of the training split."""
    dataset = playing.dataset

    def draw(key, count):
        return data.batch(
            dataset.rows,
            dataset.labels,
            key,
            count,
            noise=dataset.noise,
            stack=dataset.stack,
        )

    return draw


def _of_points(cfg, playing):
    centres, sd = jnp.asarray(playing.dataset.rows), playing.dataset.noise

    @jax.jit
    def measure(samples, key):
        return mixture(samples, centres, sd, key)

    return measure, cfg.eval_samples, "known density"


def _of_images(cfg, playing):
    """Of images, signals and stacks of images, by a classifier of single ones."""
    name = _STACKED if playing.dataset.stack > 1 else cfg.dataset
    train, test = (data.load(name, cfg.data_dir, split) for split in ("train", "test"))
    network = features.network(
        name, (train.rows, train.labels), (test.rows, test.labels)
    )
    of = functools.partial(features.compute, network.apply)
    if playing.dataset.stack > 1:
        against = f"{train.classes**playing.dataset.stack} equal classes"
        measure = _of_stacks(of, train.classes)
        protocol = f"{against}, {network.name}"
        return measure, cfg.eval_samples, protocol
    count = min(cfg.eval_samples, len(test.rows))
    reference = of(data.scaled(test.rows[:count]))
    compare = jax.jit(images)

    def measure(samples, key):
        return compare(of(samples), reference, key)

    return measure, count, f"test split, {network.name}"


def _of_stacks(of, classes):
    def measure(samples, key):
        digits = [
            jnp.argmax(of(samples[..., c : c + 1])[1], axis=1)
            for c in range(samples.shape[-1])
        ]
        labels = histogram.joint(jnp.stack(digits, axis=1), classes)
        counts = histogram.count(labels, classes ** len(digits))
        return {
            "modes": histogram.modes(counts),
            "reverse_kl": histogram.kl_to_uniform(counts),
        }

    return measure
