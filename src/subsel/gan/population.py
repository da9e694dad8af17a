"""Many runs as one program: over seeds, and over options that are numbers.

A population is a list of configurations that differ in their seed and in `CONTINUOUS`
options alone: one XLA program steps all its members at once, on one pool of data, and
compiles once for any numbers. A member is what a run of its own would be, up to the
order of sums; among the members of one program it is the same bit for bit, whoever the
others are.

A member whose losses, gradients or parameters stop being finite stays as it was before
that step; the others do not notice. Its ``step`` says how far it came.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from subsel.gan import game, step
from subsel.gan.config import Config
from subsel.gan.game import Game
from subsel.gan.step import Devices, State
from subsel.lab.errors import UsageError

CONTINUOUS = (
    *("d_learning_rate", "g_learning_rate", "b1", "b2", "eps"),
    *("radius", "penalty_weight", "lookahead_share"),
)


def structure(cfg: Config) -> Config:
    """What members of one population have in common; equal for those that fit."""
    same = dict.fromkeys(("learning_rate", *CONTINUOUS), 0.5)  # fit for all
    return dataclasses.replace(cfg, seed=0, **same)


def numbers(members: Sequence[Config]) -> dict[str, jax.Array]:
    """The `CONTINUOUS` options of all members, float32 ``[M]`` each, and the seeds.

    Raises:
        UsageError: there is no member, or they differ in another option.
    """
    if not members:
        raise UsageError("a population of no members: expected one or more")
    first = dataclasses.asdict(structure(members[0]))
    for cfg in members[1:]:
        other = dataclasses.asdict(structure(cfg))
        differ = [name for name in first if first[name] != other[name]]
        if differ:
            raise UsageError(
                f"members of a population differ in {', '.join(differ)}: expected one "
                f"value of all but seed, learning_rate, {', '.join(CONTINUOUS)}"
            )
    seeds = {"seed": jnp.array([cfg.seed for cfg in members], jnp.uint32)}
    return seeds | {
        name: jnp.array([_number(cfg, name) for cfg in members], jnp.float32)
        for name in CONTINUOUS
    }


def _number(cfg, name):
    if name.endswith("_learning_rate"):
        return cfg.of(name[0], "learning_rate")
    return getattr(cfg, name)


def fresh(members: Sequence[Config], playing: Game) -> State:
    """All members before their first step: a `State` with an axis ``[M]`` in front."""

    def start(own):
        tx, rules = _own(members[0], playing, own)
        return step.init(playing.nets, tx, rules, jax.random.key(own["seed"]))

    return jax.jit(jax.vmap(start), out_shardings=step.sharding())(numbers(members))


def make_step(cfg: Config, playing: Game, devices: Devices = step.ALONE) -> Callable:
    """A step of all members: ``(states, (numbers, pool), slots) -> (states, metrics)``.

    Goes into :func:`step.make_run` in place of the step of one run.

    Args:
        cfg: any member.
        playing: its game, for what members have in common.
        devices: as in :func:`step.make_step`; members are not shared out, batches are.
            A study shares out its populations, by a process for each device.

    Returns:
        The step; metrics are ``[M]``, not finite where a member stays what it was.
    """

    def one(state, own, pool, slots):
        tx, rules = _own(cfg, playing, own)
        after, metrics = step.make_step(playing.nets, tx, rules, devices)(
            state, pool, slots
        )
        fine = jax.tree.map(lambda x: jnp.isfinite(x).all(), (after.params, metrics))
        fine = jnp.all(jnp.stack(jax.tree.leaves(fine)))
        return optax.tree.where(fine, after, state), metrics

    def all_of(states, given, slots):
        own, pool = given
        return jax.vmap(one, in_axes=(0, 0, None, None))(states, own, pool, slots)

    return all_of


def member(states: State, i: int) -> State:
    """The state of one member, as a run of its own has it."""
    return jax.tree.map(lambda x: x[i], states)


def _own(cfg, playing, own):
    """Optimizers and rules with a member's own numbers, traced ones too."""
    cfg = dataclasses.replace(cfg, **own)
    return game.players(cfg), game.rules(cfg, playing.dataset)
