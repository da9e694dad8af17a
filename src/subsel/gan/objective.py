"""What each player minimises on a batch, and its gradient."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from subsel.gan.losses import Loss
from subsel.gan.models import Variables


class Pair(NamedTuple):
    """One thing for each player, the discriminator's first."""

    d: Any
    g: Any


class Batch(NamedTuple):
    """What the losses are evaluated on; every array has a place of the batch a row."""

    real: jax.Array  # [b, ...]
    label: jax.Array | None  # [b] int32, of the real and of the generated one
    z: jax.Array  # [b, latent]
    keys: jax.Array  # [b], for whatever else is drawn in this place


class Devices(NamedTuple):
    """What is averaged over devices and how; alone on one by default."""

    axis: str | None = None

    def mean(self, tree):
        """Mean over the devices of every leaf, as one message: waiting costs more."""
        if self.axis is None or jax.lax.axis_size(self.axis) == 1:
            return tree
        flat, restored = ravel_pytree(tree)
        return restored(jax.lax.pmean(flat, self.axis))

    def batch_mean(self, x):
        """Mean over the whole batch of ``x`` ``[b]``, of which each device has some."""
        return self.mean(jnp.mean(x))


class Found(NamedTuple):
    """A gradient of one player, with what was seen on the way."""

    grads: Any
    stats: Any  # the player's running statistics after this batch
    report: dict


def packed(x, size: int):
    """``[b, ..., C]`` to ``[b / size, ..., size * C]``: PacGAN's samples (Lin 2018)."""
    if size == 1:
        return x
    x = jnp.moveaxis(x.reshape(-1, size, *x.shape[1:]), 1, -2)
    return x.reshape(*x.shape[:-2], -1)


def objectives(
    nets: Pair,
    loss: Loss,
    penalty: Callable | None,
    penalty_every: int,
    augment: Callable,
    pack: int,
    devices: Devices,
) -> Pair:
    """Both players' objectives, ``(params, stats, batch, count) -> (value, aux)``.

    ``params`` and ``stats`` are pairs, ``count`` the number of D's updates so far, and
    ``aux`` the player's statistics after the batch and a report. A penalty that is due
    every k updates only is then k times as heavy (Karras 2020).
    """

    def generated(params, stats, batch):
        return nets.g.apply(Variables(params.g, stats.g), batch.z, batch.label, True)

    def shown(x, keys):
        return packed(augment(x, keys), pack)

    def split(batch):
        """``[B, 3]``: of each sample, for real and generated ones and the penalty."""
        return jax.vmap(lambda key: jax.random.split(key, 3))(batch.keys)

    def judged(params, stats, batch, fake):
        """Logits of real and generated samples, D's statistics after them, and both."""
        keys = split(batch)
        real, fake = shown(batch.real, keys[:, 0]), shown(fake, keys[:, 1])
        d = Variables(params.d, stats.d)
        on_real, after = nets.d.apply(d, real, batch.label, True)
        d = Variables(params.d, after)
        on_fake, after = nets.d.apply(d, fake, batch.label, True)
        return on_real, on_fake, after, (real, fake)

    def d(params, stats, batch, count):
        fake = jax.lax.stop_gradient(generated(params, stats, batch)[0])
        on_real, on_fake, after, samples = judged(params, stats, batch, fake)
        value = loss.d(on_real, on_fake, devices.batch_mean)
        report = {
            "d_loss": value,
            "d_real": jnp.mean(loss.score(on_real)),
            "d_fake": jnp.mean(loss.score(on_fake)),
        }
        if penalty is None:
            return value, (after, report)

        def due():
            def logits(x):
                d = Variables(params.d, stats.d)
                return nets.d.apply(d, x, batch.label, True)[0]

            return penalty_every * penalty(logits, *samples, split(batch)[::pack, 2])

        if penalty_every == 1:
            report["d_penalty"] = due()
        else:
            zero = jnp.zeros_like(value)
            report["d_penalty"] = jax.lax.cond(
                count % penalty_every == 0, due, lambda: zero
            )
        return value + report["d_penalty"], (after, report)

    def g(params, stats, batch, count):
        del count
        fake, after = generated(params, stats, batch)
        on_real, on_fake, _, _ = judged(params, stats, batch, fake)
        value = loss.g(on_real, on_fake, devices.batch_mean)
        return value, (after, {"g_loss": value})

    return Pair(d, g)


def gradients(objective: Pair, microbatches: int, devices: Devices) -> Pair:
    """Both players' gradients, ``(params, stats, batch, count) -> Found``.

    The mean over ``microbatches`` equal parts of the batch, of which one at a time is
    in memory; what a loss or a norm averages over the batch, it averages over a part.
    """

    def gradient(player):
        value_and_grad = jax.value_and_grad(
            lambda own, params, stats, batch, count: getattr(objective, player)(
                params._replace(**{player: own}), stats, batch, count
            ),
            has_aux=True,
        )

        def of_part(params, stats, part, count):
            own = getattr(params, player)
            (_, (after, report)), grads = value_and_grad(
                own, params, stats, part, count
            )
            return Found(grads, after, report)

        def of_batch(params, stats, batch, count):
            if microbatches == 1:
                found = of_part(params, stats, batch, count)
            else:
                parts = jax.tree.map(
                    lambda x: x.reshape(microbatches, -1, *x.shape[1:]), batch
                )
                found = _mean_over(
                    lambda after, part: of_part(
                        params, stats._replace(**{player: after}), part, count
                    ),
                    getattr(stats, player),
                    parts,
                    microbatches,
                )
            grads, report = devices.mean((found.grads, found.report))
            report[f"{player}_grad_norm"] = optax.tree.norm(grads)
            return Found(grads, found.stats, report)

        return of_batch

    return Pair(gradient("d"), gradient("g"))


def _mean_over(of_part, stats, parts, count):
    """Found, averaged over parts; the statistics go from part to part."""

    def one(carry, part):
        after, total = carry
        found = of_part(after, part)
        seen = (found.grads, found.report)
        return (found.stats, jax.tree.map(jnp.add, total, seen)), None

    first = jax.tree.map(lambda x: x[0], parts)
    seen = jax.eval_shape(lambda: of_part(stats, first))
    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), (seen.grads, seen.report)
    )
    (after, total), _ = jax.lax.scan(one, (stats, zeros), parts)
    grads, report = jax.tree.map(lambda x: x / count, total)
    return Found(grads, after, report)
