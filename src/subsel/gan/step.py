"""One training step of both players, and the compiled run of many."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from subsel.gan import data, moves, snapshots
from subsel.gan.losses import Loss
from subsel.gan.models import Variables
from subsel.gan.objective import Batch, Devices, Pair, gradients, objectives
from subsel.gan.snapshots import Snapshots
from subsel.points import ReflectState

# Addresses of what is not drawn in a step; steps are 0, 1, 2, …
INIT, SAMPLES, EVALUATION, STANDING = (2**32 - i for i in (1, 2, 3, 4))
ALONE, ALL = Devices(), Devices("devices")  # the latter are those of make_run


class State(NamedTuple):
    """All that a run carries from step to step, and all that a checkpoint holds."""

    step: jax.Array  # int32, steps done
    params: Pair
    stats: Pair  # running statistics of norms; {} where a network has none
    opt: Pair
    selection: Any  # of the selection on both players' gradients, or on G's; or ()
    snapshots: Variables | tuple  # of D, the ring of earlier ones; () without them
    slow: Any  # the pair of parameters that lookahead returns to; () without it
    ema: Variables | tuple  # averages of G's; () without them
    key: jax.Array  # never advances: what step t draws is addressed by fold_in(key, t)


class Rules(NamedTuple):
    """What is played: all of a step but the networks and their optimizers."""

    loss: Loss
    batch_size: int  # samples in the whole batch, over all devices
    latent: int  # dimension of the noise
    noise: float = 0.0  # standard deviation added to the rows drawn
    stack: int = 1  # rows that make one sample
    conditional: bool = False  # whether the networks are told the class
    penalty: Callable | None = None  # (d, real, fake, keys) -> added to D's loss
    penalty_every: int = 1  # updates of D
    augment: Callable = lambda x, keys: x  # of all that D is shown
    pack: int = 1  # samples that D is shown at once
    microbatches: int = 1  # parts of the batch, one in memory at a time
    d_steps: int = 1  # updates of D a step, where the players alternate
    selection: optax.GradientTransformation | None = (
        None  # of the pair; None: alternate
    )
    snapshots: Snapshots | None = None  # that G faces, where they alternate
    lookahead_every: int = 0  # steps between returns to the slow parameters; 0: none
    lookahead_share: float = 0.5  # of the way to the fast ones
    ema: float = 0.0  # decay a step of the average of G; 0: none


def init(nets: Pair, tx: Pair, rules: Rules, key: jax.Array) -> State:
    """A fresh state; the networks' initial parameters are addressed by ``key`` too."""
    keys = jax.random.split(jax.random.fold_in(key, INIT))
    d, g = nets.d.init(keys[0]), nets.g.init(keys[1])
    params = Pair(d.params, g.params)
    selection = () if rules.selection is None else rules.selection.init(params)
    earlier = ()
    if rules.snapshots is not None:
        selection = rules.snapshots.select.init(g.params)
        earlier = snapshots.empty(rules.snapshots, d)
    return State(
        step=jnp.zeros((), jnp.int32),
        params=params,
        stats=Pair(d.stats, g.stats),
        opt=Pair(tx.d.init(params.d), tx.g.init(params.g)),
        selection=selection,
        snapshots=earlier,
        slow=params if rules.lookahead_every else (),
        ema=g if rules.ema else (),
        key=key,
    )


def make_step(nets: Pair, tx: Pair, rules: Rules, devices: Devices = ALONE) -> Callable:
    """A step of training: ``(state, pool, slots) -> (state, metrics)``.

    Args:
        nets: the networks, ``Pair`` of ``models.Net``.
        tx: the optimizers, ``Pair`` of Optax transformations. Their ``update`` is
            offered ``grad_fn``, the player's gradient at other parameters on the same
            batch.
        rules: what is played.
        devices: over which gradients and metrics are averaged.

    Returns:
        The step. ``pool`` is rows ``[N, ...]`` and labels ``[N]`` to draw from;
        ``slots`` ``[b]`` are the places of the batch that this device computes. What
        goes into a place depends on the key, the step and the place alone, so the
        training is the same on one device and on many.
    """
    objective = objectives(
        nets,
        rules.loss,
        rules.penalty,
        rules.penalty_every,
        rules.augment,
        rules.pack,
        devices,
    )
    gradient = gradients(objective, rules.microbatches, devices)
    if rules.selection is None:
        move = moves.alternating(gradient, tx, rules.d_steps, rules.snapshots)
    else:
        move = moves.joint(gradient, tx, rules.selection)

    def step(state: State, pool, slots):
        key = jax.random.fold_in(state.key, state.step)

        def draw(i):
            return _batch(rules, pool, jax.random.fold_in(key, i), slots)

        state, metrics = move(state, draw)
        state = state._replace(step=state.step + 1)
        return _remembered(rules, _averaged(rules, state)), metrics

    return step


def _batch(rules, pool, key, slots):
    data_key, noise_key, other_key = jax.random.split(key, 3)
    size = rules.batch_size
    real, label = data.batch(
        *pool, data_key, size, slots=slots, noise=rules.noise, stack=rules.stack
    )
    z = jax.random.normal(noise_key, (size, rules.latent))[slots]
    keys = jax.random.split(other_key, size)[slots]
    return Batch(real, label if rules.conditional else None, z, keys)


def _averaged(rules, state):
    """Lookahead over both players (Chavdarova 2021), and the mean of G over steps."""
    if rules.lookahead_every:
        ahead = optax.incremental_update(
            state.params, state.slow, rules.lookahead_share
        )
        due = state.step % rules.lookahead_every == 0
        params = optax.tree.where(due, ahead, state.params)
        moved = optax.tree.sub(params, state.params)
        state = state._replace(
            params=params,
            slow=optax.tree.where(due, ahead, state.slow),
            opt=Pair(*map(_moved, state.opt, moved)),
            selection=_moved(state.selection, moved),
        )
    if rules.ema:
        # A short memory at first: else the initial parameters stay in it for long.
        decay = jnp.minimum(rules.ema, (1 + state.step) / (10 + state.step))
        now = Variables(state.params.g, state.stats.g)
        state = state._replace(ema=optax.incremental_update(now, state.ema, 1 - decay))
    return state


def _moved(opt, by):
    """A transformation's state where its parameters were moved, not by a step of its.

    A point that it remembers moves along, or the return would look like a step, and the
    reflection of it would lie behind.
    """

    def one(state):
        if isinstance(state, ReflectState):
            return state._replace(previous=optax.tree.add(state.previous, by))
        return state

    return jax.tree.map(one, opt, is_leaf=lambda x: isinstance(x, ReflectState))


def _remembered(rules, state):
    """D as it is now among its snapshots, where one is due."""
    if rules.snapshots is None:
        return state
    d = Variables(state.params.d, state.stats.d)
    ring = snapshots.taken(rules.snapshots, state.snapshots, d, state.step)
    return state._replace(snapshots=ring)


def make_run(step: Callable, length: int) -> Callable:
    """``length`` steps as one XLA program: ``(state, pool, slots)`` to the same.

    ``slots`` is ``[local devices, b]``; the state and the pool are the same on every
    device, go in and come out without a device axis, and the state is donated. Metrics
    come out as ``[length]`` arrays, with ``finite``: a ``Pair`` of trees of booleans,
    whether every entry of each parameter is finite after the last step.
    """

    def run(state, pool, slots):
        state, metrics = jax.lax.scan(
            lambda state, _: step(state, pool, slots), state, length=length
        )
        finite = jax.tree.map(lambda x: jnp.isfinite(x).all(), state.params)
        return state, metrics, finite

    return jax.pmap(
        run,
        axis_name=ALL.axis,
        in_axes=(None, None, 0),
        out_axes=None,
        donate_argnums=0,
    )


def sharding() -> NamedSharding:
    """The same on every local device, as :func:`make_run` returns the state.

    A state placed in any other way would make the first two calls compile twice.
    """
    mesh = Mesh(np.array(jax.local_devices()), (ALL.axis,))
    return NamedSharding(mesh, PartitionSpec())


def slots(batch_size: int, microbatches: int = 1) -> jax.Array:
    """The places of the batch, ``[local devices, batch_size / all devices]``.

    A microbatch holds the same places on one device as on many.
    """
    places = np.arange(batch_size)
    places = places.reshape(microbatches, jax.device_count(), -1)
    places = places.swapaxes(0, 1).reshape(jax.device_count(), -1)
    here = [jax.devices().index(device) for device in jax.local_devices()]
    return jnp.asarray(places[here])
