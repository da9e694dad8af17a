"""How good a generator is: the metrics of a run, and the protocol they are made by."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subsel.gan import data, features, step
from subsel.gan.config import Config
from subsel.gan.game import Game, drawn_with
from subsel.gan.metrics import histogram
from subsel.gan.metrics.images import images
from subsel.gan.metrics.mixture import mixture
from subsel.gan.step import State
from subsel.lab.errors import UsageError

_CHUNK = 1000  # samples drawn at once
_STACKED = "mnist"  # whose classifier tells the digits of a stack apart


class Evaluation(NamedTuple):
    """Metrics of a state, when they are due, and what real data score.

    ``glance`` is what can be had of any report: ``classes_seen``, how many classes, or
    stacks of classes, the classifier finds in 1,000 samples. Nothing for points, whose
    metrics are quick.
    """

    due: Callable  # steps done -> bool
    run: Callable  # state -> {metric: number} and the protocol
    glance: Callable  # state -> {metric: number}
    floor: Callable  # () -> {metric: number} of real samples in place of generated ones


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
        nothing = {"run": lambda state: {}, "glance": lambda state: {}}
        return Evaluation(lambda done: False, **nothing, floor=dict)
    if points:
        measure, count, protocol = _of_points(cfg, playing)
        classified = None
    else:
        measure, count, protocol, classified = _of_images(cfg, playing)
    # of the data, without the data
    labels = jax.jit(
        lambda key, count: data.draw(playing.dataset, key, count)[1], static_argnums=1
    )

    def drawn(state, count):
        key = jax.random.fold_in(_unplaced(state.key), step.EVALUATION)
        z_key, label_key, own_key = jax.random.split(key, 3)
        z = jax.random.normal(z_key, (count, cfg.latent))
        label = labels(label_key, count)
        generator = playing.generator(state)
        parts = [
            np.asarray(
                playing.draw(generator, z[i : i + _CHUNK], label[i : i + _CHUNK])
            )
            for i in range(0, count, _CHUNK)
        ]
        return np.concatenate(parts), own_key

    def glance(state: State) -> dict:
        if classified is None:
            return {}
        samples, _ = drawn(state, min(count, _CHUNK))
        return {"classes_seen": len(np.unique(classified(samples)))}

    def run(state: State) -> dict:
        found = measure(*drawn(state, count))
        return {name: float(value) for name, value in found.items()} | {
            "protocol": f"{count} samples, {protocol}, {drawn_with(cfg, state)}"
        }

    def due(done: int) -> bool:
        return done % every == 0 or done == cfg.steps

    def floor() -> dict:
        key = jax.random.fold_in(jax.random.key(cfg.seed), step.EVALUATION)
        own_key = jax.random.split(key, 3)[2]  # that of drawn samples
        found = measure(data.real(playing.dataset, key, count), own_key)
        return {name: float(value) for name, value in found.items()}

    return Evaluation(due, run, glance, floor)


def _unplaced(key):
    """A key that is tied to no device, or programs for others are compiled again."""
    return jax.random.wrap_key_data(jax.device_get(jax.random.key_data(key)))


def _of_points(cfg, playing):
    centres, sd = jnp.asarray(playing.dataset.rows), playing.dataset.noise

    @jax.jit
    def measure(samples, key):
        return mixture(samples, centres, sd, key)

    return measure, cfg.eval_samples, "known density"


def _of_images(cfg, playing):
    """Of images, signals and stacks of images, by a classifier of single ones."""
    train = playing.dataset
    name = _STACKED if train.stack > 1 else cfg.dataset
    try:
        network, test = classifier(name, cfg.data_dir, train)
    except UsageError as error:
        raise UsageError(f"{error}. Or train without metrics: --eval-every 0") from None
    of = functools.partial(features.compute, network.apply)
    classified = _classified(of, train.stack, test.classes)
    if train.stack > 1:
        measure = _of_stacks(classified, train.classes)
        protocol = f"{train.classes} equal classes, {network.name}"
        return measure, cfg.eval_samples, protocol, classified
    count = min(cfg.eval_samples, len(test.rows))
    reference = of(test.rows[:count])
    compare = jax.jit(images)

    def measure(samples, key):
        return compare(of(samples), reference, key)

    return measure, count, f"test split, {network.name}", classified


def classifier(
    name: str,
    data_dir: str | None,
    train: data.Dataset,
    made: features.Made | None = None,
) -> tuple[features.Features, data.Dataset]:
    """The network that samples of a set are compared in, and the test split.

    Raises:
        UsageError: no test split to compare with.
    """
    test = data.load(name, data_dir, "test")
    splits = (train.rows, train.labels), (test.rows, test.labels)
    return features.network(name, *splits, made), test


def _classified(of, stack, classes):
    """Of samples, the class of each; of stacks, those of all rows as one number."""

    def labels(samples):
        rows = np.split(samples, stack, axis=-1)
        found = [np.argmax(of(row)[1], axis=1) for row in rows]
        return histogram.joint(np.stack(found, axis=1), classes)

    return labels


def _of_stacks(classified, classes):
    def measure(samples, key):
        counts = histogram.count(classified(samples), classes)
        return {
            "modes": histogram.modes(counts),
            "reverse_kl": histogram.kl_to_uniform(counts),
        }

    return measure
