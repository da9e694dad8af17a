r"""Regularisers of the discriminator: functions added to its loss, and a projection.

A penalty is ``penalty(d, real, fake, keys)``:

- ``d`` takes samples ``[B, ...]`` to logits ``[B]``, each sample on its own: the
  gradients of all samples come from one backward pass, so a D that mixes the samples of
  a batch, as batch normalisation does, is penalised for something else
- ``real``, ``fake``: samples ``[B, ...]``, held constant
- ``keys``: ``[B]`` PRNG keys, one for each sample, so that what is drawn for a sample
  does not depend on how the batch is split over devices

and returns a scalar, the mean over samples, without the factor lambda. Its gradient in
D's parameters is a second derivative of D, which ReLU networks have piecewise.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

# Standard deviation of DRAGAN's perturbation, in the units of the samples.
_REACH = 0.15


def wgan_gp(d: Callable, real, fake, keys) -> jax.Array:
    r"""E[(\|\nabla D(x)\| - 1)^2], x = e r + (1 - e) f, e ~ U[0, 1] (Gulrajani 2017).

    One e for each pair of a real and a generated sample. Published with lambda = 10.
    """
    e = _broadcast(jax.vmap(jax.random.uniform)(keys), real)
    return _to_one(d, e * real + (1 - e) * fake)


def dragan(d: Callable, real, fake, keys) -> jax.Array:
    r"""E[(\|\nabla D(x)\| - 1)^2], x = r + s n, n ~ N(0, I) (Kodali 2017).

    The perturbation is the paper's, N(0, c I), with sqrt(c) = s = 0.15. The authors'
    program adds instead 0.5 std U[0, 1]^n, where std is that of all numbers of the
    batch, and so makes a sample's perturbation depend on the other samples. Its root
    mean square, 0.29 std, is about 0.15 on images in [-1, 1], whose std is about a
    half. The authors' advice is to choose c by the range of the data. Published with
    lambda = 10.
    """
    del fake
    noise = jax.vmap(lambda key: jax.random.normal(key, real.shape[1:]))(keys)
    return _to_one(d, real + _REACH * noise)


def r1(d: Callable, real, fake, keys) -> jax.Array:
    r"""E[\|\nabla D(r)\|^2] / 2 on real samples (Mescheder 2018).

    Published with lambda (their gamma) = 10. Draws nothing.
    """
    del fake, keys
    return jnp.mean(_squared_slopes(d, real)) / 2


def r2(d: Callable, real, fake, keys) -> jax.Array:
    r"""E[\|\nabla D(f)\|^2] / 2 on fake samples, as :func:`r1` (Mescheder 2018)."""
    del real, keys
    return jnp.mean(_squared_slopes(d, fake)) / 2


def clip_weights(bound: float) -> optax.GradientTransformation:
    r"""Keeps parameters in a box, by shortening the updates that would leave it.

    .. math::
        u' = \min(\max(p + u, -c), c) - p

    No penalty but a projection, up to the rounding of p + u': stands last in D's chain.
    Parameters that start outside are brought in by the first update.

    Args:
        bound: c > 0; published as 0.01.

    Returns:
        A stateless transformation, whose ``update`` needs ``params``.

    Raises:
        ValueError: ``bound`` is not positive, or ``update`` is not given ``params``.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from subsel.gan.penalties import clip_weights
        >>> tx = optax.chain(optax.sgd(1.0), clip_weights(0.01))
        >>> params = jnp.array([0.0, 0.005])
        >>> updates, _ = tx.update(jnp.array([3.0, 0.001]), tx.init(params), params)
        >>> [round(float(p), 6) for p in optax.apply_updates(params, updates)]
        [-0.01, 0.004]

    References:
        Arjovsky, Chintala and Bottou, Wasserstein GAN, 2017
    """
    if not bound > 0:
        raise ValueError(f"clip_weights: bound {bound}; expected a positive number")

    def shorten(update, param):
        return jnp.clip(param + update, -bound, bound) - param

    def update_fn(updates, params):
        if params is None:
            raise ValueError("clip_weights: update needs params, and was given none")
        return jax.tree.map(shorten, updates, params)

    return optax.stateless(update_fn)


def _to_one(d, x):
    """E[(|grad D(x)| - 1)^2]. Where the gradient is 0, so is the norm's derivative.

    That is the shortest of its subgradients; the square root's would be NaN. A D that
    is flat at a sample is penalised, but not told into which direction to tilt.
    """
    squared = _squared_slopes(d, x)
    flat = squared == 0
    norms = jnp.where(flat, 0, jnp.sqrt(jnp.where(flat, 1, squared)))
    return jnp.mean(jnp.square(norms - 1))


def _squared_slopes(d, x):
    """|grad D(x)|^2 of each sample, ``[B]``."""
    slopes = jax.grad(lambda x: jnp.sum(d(x)))(x)
    return jnp.sum(jnp.square(slopes), axis=tuple(range(1, x.ndim)))


def _broadcast(values, x):
    """``[B]`` as ``[B, 1, ...]``, of as many axes as x."""
    return values.reshape(-1, *[1] * (x.ndim - 1))


PENALTIES: dict[str, Callable] = {
    "wgan_gp": wgan_gp,
    "dragan": dragan,
    "r1": r1,
    "r2": r2,
}
