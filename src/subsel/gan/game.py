"""What a configuration means: the data, the networks, the optimizers, the state."""

import functools
from typing import NamedTuple

import jax
import optax

from subsel.gan import data, models, step
from subsel.gan.config import Config
from subsel.gan.optimizers import OPTIMIZERS, SCHEDULES
from subsel.gan.step import Pair, State


class Game(NamedTuple):
    """Functions, and the data that they are applied to."""

    dataset: data.Dataset
    nets: Pair
    tx: Pair


def build(cfg: Config) -> Game:
    """The data set, networks and optimizers of a checked configuration."""
    dataset = data.load(cfg.dataset, cfg.data_dir)
    shape = dataset.rows.shape[1:]
    output = cfg.output
    if output == "auto":
        output = "tanh" if len(shape) > 1 else "identity"
    nets = Pair(
        d=models.discriminator(shape, cfg.hidden, cfg.relu_at_zero),
        g=models.generator(cfg.latent, shape, cfg.hidden, output, cfg.relu_at_zero),
    )
    return Game(dataset, nets, Pair(_optimizer(cfg, "d"), _optimizer(cfg, "g")))


def _optimizer(cfg: Config, player) -> optax.GradientTransformation:
    rate = SCHEDULES[cfg.schedule](cfg.of(player, "learning_rate"), cfg.steps)
    return OPTIMIZERS[cfg.of(player, "optimizer")](rate, cfg.b1, cfg.b2)


def fresh(cfg: Config, game: Game) -> State:
    """The state before the first step, on all local devices."""
    start = functools.partial(step.init, game.nets, game.tx)
    return jax.jit(start, out_shardings=step.sharding())(jax.random.key(cfg.seed))
