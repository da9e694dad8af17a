"""Optimizers by name: tables of factories, so that an ablation is a list of names.

Each factory takes the :class:`Numbers` of a player; what an optimizer has no use for is
ignored, and everything else is at Optax's own default.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import subsel

_APART = 2**30  # between the seeds of runs and those of balls


class Numbers(NamedTuple):
    """What an optimizer may be given; all but ``candidates`` may be traced."""

    learning_rate: Any  # a number or a schedule
    b1: Any = 0.5
    b2: Any = 0.999
    eps: Any = 1e-8
    radius: Any = 0.1
    candidates: int = 2
    seed: Any = 0  # of what a selection draws; a player's own


def _longest() -> subsel.Selector:
    """The longest candidate, which is the longest element of the hull: `min_norm`'s
    criterion reversed, as its control."""

    def weights(g):
        length = jnp.where(g.valid, g.norm, -jnp.inf)
        return jax.nn.one_hot(jnp.argmax(length), len(length), dtype=g.gram.dtype)

    return subsel.Selector(weights, "onehot")


def _adam(of: Numbers, candidates=None, select=None, **options):
    """Adam behind a selection, and nothing else: no zero rule."""
    return optax.chain(
        subsel.select_subgradient(candidates, select, **options),
        optax.scale_by_adam(of.b1, of.b2, of.eps),
        optax.scale_by_learning_rate(of.learning_rate),
    )


def _ball(select):
    """``select`` makes a selector from a seed.

    Keys made of a run's own seed and of the count of steps are those of its batches.
    """
    return lambda of: _adam(
        of, subsel.ball(of.candidates, of.radius, of.seed + _APART), select(of.seed)
    )


def _history(select, **options):
    return lambda of: _adam(of, subsel.history(of.candidates), select, **options)


def _after(of: Numbers):
    return optax.chain(
        optax.scale_by_adam(of.b1, of.b2, of.eps),
        subsel.select_subgradient(subsel.history(of.candidates), subsel.min_norm()),
        optax.scale_by_learning_rate(of.learning_rate),
    )


OPTIMIZERS = {
    "subsel": lambda of: subsel.adam(of.learning_rate, of.b1, of.b2, of.eps),
    "sgd": lambda of: optax.sgd(of.learning_rate),
    "momentum": lambda of: optax.sgd(of.learning_rate, momentum=of.b1),
    "adam": lambda of: optax.adam(of.learning_rate, of.b1, of.b2, of.eps),
    "adamw": lambda of: optax.adamw(of.learning_rate, of.b1, of.b2, of.eps),
    "rmsprop": lambda of: optax.rmsprop(of.learning_rate, decay=of.b2, eps=of.eps),
    "adabelief": lambda of: optax.adabelief(of.learning_rate, of.b1, of.b2),
    "radam": lambda of: optax.radam(of.learning_rate, of.b1, of.b2, of.eps),
    "lion": lambda of: optax.lion(of.learning_rate, of.b1, of.b2),
    "optimistic_adam": lambda of: optax.optimistic_adam_v2(
        of.learning_rate, b1=of.b1, b2=of.b2, eps=of.eps
    ),
    # Selections before Adam, among gradients of one player
    "history_min_norm": _history(subsel.min_norm()),
    "history_matched": _history(subsel.min_norm(), scale="match"),
    "history_by_leaf": _history(subsel.min_norm(), granularity="leaf"),
    "history_random": lambda of: _history(subsel.uniform(of.seed))(of),
    "history_longest": _history(_longest()),
    "ball_min_norm": _ball(lambda seed: subsel.min_norm()),
    "ball_mean": _ball(lambda seed: subsel.mean()),
    "ball_random": _ball(subsel.uniform),
    "ball_longest": _ball(lambda seed: _longest()),
    # each player at the reflection of its own parameters, the other where it is; both
    # at once, as in Malitsky 2015, is the game "reflected"
    "reflect": lambda of: _adam(of, subsel.reflect(), compare="incoming"),
    # and after it
    "history_after": _after,
}

# Those that ask for gradients at other points than the one where the player is.
EVALUATE = {"reflect"} | {name for name in OPTIMIZERS if name.startswith("ball_")}

# (learning_rate, steps) -> what Optax takes as a learning rate
SCHEDULES = {
    "constant": lambda lr, steps: lr,
    "linear": lambda lr, steps: optax.linear_schedule(lr, 0.0, steps),
    "cosine": lambda lr, steps: optax.cosine_decay_schedule(lr, steps),
}


def _ahead(trial, select=None):
    return subsel.select_subgradient(
        subsel.lookahead(trial), select, compare="incoming"
    )


# What is made of the gradients of both players before each player's optimizer, given
# the optimizer of the pair for a trial step, and a seed of what the selection draws;
# None where the players alternate.
GAMES = {
    "alternating": lambda trial, seed: None,
    "simultaneous": lambda trial, seed: optax.identity(),
    "extragradient": lambda trial, seed: _ahead(trial),
    "extragradient_mean": lambda trial, seed: _ahead(trial, subsel.mean()),
    "extragradient_random": lambda trial, seed: _ahead(trial, subsel.uniform(seed)),
    # the trial step uphill, as a control
    "extragradient_reversed": lambda trial, seed: _ahead(
        optax.chain(trial, optax.scale(-1.0))
    ),
    "past_extragradient": lambda trial, seed: subsel.select_subgradient(
        subsel.history(2), subsel.optimistic()
    ),
    "reflected": lambda trial, seed: subsel.select_subgradient(
        subsel.reflect(), compare="incoming"
    ),
}


def _stacked(select):
    return subsel.select_subgradient(subsel.stacked(), select)


# What is made of G's gradients against D and its snapshots, given a seed.
SNAPSHOTS = {
    "min_norm": lambda seed: _stacked(subsel.min_norm()),
    "mean": lambda seed: _stacked(subsel.mean()),
    "random": lambda seed: _stacked(subsel.uniform(seed)),
}
