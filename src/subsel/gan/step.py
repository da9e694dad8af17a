"""One training step of both players, and the compiled run of many."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from subsel.gan import data
from subsel.gan.losses import Loss

_DEVICES = "devices"
# Addresses of what is not drawn in a step; steps are 0, 1, 2, …
INIT, SAMPLES = 2**32 - 1, 2**32 - 2


class Pair(NamedTuple):
    """One thing for each player, the discriminator's first."""

    d: Any
    g: Any


class State(NamedTuple):
    """All that a run carries from step to step, and all that a checkpoint holds."""

    step: jax.Array  # int32, steps done
    params: Pair
    opt: Pair
    key: jax.Array  # never advances: what step t draws is addressed by fold_in(key, t)


def init(nets: Pair, tx: Pair, key: jax.Array) -> State:
    """A fresh state; the networks' initial parameters are addressed by ``key`` too."""
    keys = jax.random.split(jax.random.fold_in(key, INIT))
    params = Pair(nets.d.init(keys[0]), nets.g.init(keys[1]))
    opt = Pair(tx.d.init(params.d), tx.g.init(params.g))
    return State(jnp.zeros((), jnp.int32), params, opt, key)


def make_step(
    nets: Pair,
    tx: Pair,
    loss: Loss,
    batch_size: int,
    latent: int,
    noise: float = 0.0,
    mean: Callable = lambda tree: tree,
) -> Callable:
    """A step of training: ``(state, images, slots) -> (state, metrics)``.

    D is updated first; G's update sees the new D, on the batch of samples that D was
    just shown, so that G runs forward once.

    Args:
        nets: the networks, ``Pair`` of ``models.Net``.
        tx: the optimizers, ``Pair`` of Optax transformations. Their ``update`` is
            offered ``grad_fn``, the player's gradient at other parameters on the same
            batch.
        loss: the losses of the two players.
        batch_size: samples in the whole batch, over all devices.
        latent: dimension of the noise.
        noise: standard deviation added to the rows drawn.
        mean: what averages gradients and metrics over devices.

    Returns:
        The step. ``images`` are the rows to draw from ``[N, ...]``; ``slots`` ``[b]``
        are the places of the batch that this device computes. What goes into a place
        depends on the key, the step and the place alone, so the training is the same
        on one device and on many.
    """

    def step(state: State, images, slots):
        key = jax.random.fold_in(state.key, state.step)
        image_key, noise_key = jax.random.split(key)
        real = data.batch(images, noise, image_key, batch_size, slots)
        z = jax.random.normal(noise_key, (batch_size, latent))[slots]

        def d_loss(params):
            fake = jax.lax.stop_gradient(nets.g.apply(state.params.g, z))
            logits = nets.d.apply(params, jnp.concatenate([real, fake]))
            return loss.d(*jnp.split(logits, 2)), logits

        def g_loss(params):
            fake = nets.g.apply(params, z)
            return loss.g(nets.d.apply(d, real), nets.d.apply(d, fake))

        def d_grad(params):
            return mean(jax.grad(d_loss, has_aux=True)(params)[0])

        def g_grad(params):
            return mean(jax.grad(g_loss)(params))

        (d_value, logits), d_grads = jax.value_and_grad(d_loss, has_aux=True)(
            state.params.d
        )
        d, d_opt = _update(tx.d, mean(d_grads), state.opt.d, state.params.d, d_grad)
        g_value, g_grads = jax.value_and_grad(g_loss)(state.params.g)
        g, g_opt = _update(tx.g, mean(g_grads), state.opt.g, state.params.g, g_grad)

        real_score, fake_score = jnp.split(jax.nn.sigmoid(logits), 2)
        metrics = {
            "d_loss": d_value,
            "g_loss": g_value,
            "d_real": jnp.mean(real_score),
            "d_fake": jnp.mean(fake_score),
            **_reports("d", d_opt),
            **_reports("g", g_opt),
        }
        state = State(state.step + 1, Pair(d, g), Pair(d_opt, g_opt), state.key)
        return state, mean(metrics)

    return step


def _update(tx, grads, opt, params, grad_fn):
    tx = optax.with_extra_args_support(tx)
    updates, opt = tx.update(grads, opt, params, grad_fn=grad_fn)
    return optax.apply_updates(params, updates), opt


def _reports(player, opt):
    """What a subgradient selection among the player's transformations has to say."""
    reports = {name: optax.tree.get(opt, name) for name in ("cosine", "fired")}
    return {
        f"{player}_{name}": jnp.asarray(report, jnp.float32)
        for name, report in reports.items()
        if report is not None
    }


def devices_mean(tree):
    """Mean over the devices of :func:`make_run`; for ``make_step``'s ``mean``."""
    return jax.lax.pmean(tree, _DEVICES)


def make_run(step: Callable, length: int) -> Callable:
    """``length`` steps as one XLA program: ``(state, images, slots)`` to the same.

    ``slots`` is ``[devices, b]``; the state and the images are the same on every
    device, go in and come out without a device axis, and the state is donated. Metrics
    come out as ``[length]`` arrays, with ``finite``: a ``Pair`` of trees of booleans,
    whether every entry of each parameter is finite after the last step.
    """

    def run(state, images, slots):
        state, metrics = jax.lax.scan(
            lambda state, _: step(state, images, slots), state, length=length
        )
        finite = jax.tree.map(lambda x: jnp.isfinite(x).all(), state.params)
        return state, metrics, finite

    return jax.pmap(
        run,
        axis_name=_DEVICES,
        in_axes=(None, None, 0),
        out_axes=None,
        donate_argnums=0,
    )


def sharding() -> NamedSharding:
    """The same on every local device, as :func:`make_run` returns the state.

    A state placed in any other way would make the first two calls compile twice.
    """
    mesh = Mesh(np.array(jax.local_devices()), (_DEVICES,))
    return NamedSharding(mesh, PartitionSpec())


def slots(batch_size: int) -> jax.Array:
    """The places of the batch, ``[devices, batch_size / devices]``."""
    return jnp.arange(batch_size).reshape(jax.local_device_count(), -1)
