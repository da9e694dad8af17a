"""Generators and discriminators: pure init/apply pairs of Flax Linen modules."""

import math
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from subsel import kinks

# TensorFlow's default slope, which the article's program uses; Flax's own is 0.01.
SLOPE = 0.2
OUTPUTS = {"tanh": jnp.tanh, "identity": lambda x: x}


class Net(NamedTuple):
    """A network as two pure functions. The parameters are a pytree of arrays."""

    init: Callable  # key -> params
    apply: Callable  # (params, [B, ...]) -> [B, ...]


class MLP(nn.Module):
    """Dense layers with leaky ReLU between them; flattens what comes in."""

    hidden: tuple[int, ...]
    features: int
    relu_at_zero: float

    @nn.compact
    def __call__(self, x):
        x = x.reshape(x.shape[0], -1)
        for width in self.hidden:
            x = nn.Dense(width)(x)
            x = kinks.leaky_relu(x, SLOPE, at_kink=self.relu_at_zero)
        return nn.Dense(self.features)(x)


def discriminator(
    shape: tuple[int, ...], hidden: tuple[int, ...], relu_at_zero: float = 1.0
) -> Net:
    """``[B, *shape]`` to logits ``[B]``: the log-odds that a sample is real.

    ``relu_at_zero``, here and in :func:`generator`, is the derivative of the leaky ReLU
    at 0, from ``SLOPE`` to 1, which is Flax's.
    """
    module = MLP(hidden, 1, relu_at_zero)

    def init(key: jax.Array):
        return module.init(key, jnp.zeros((1, *shape)))["params"]

    def apply(params, x):
        return module.apply({"params": params}, x)[:, 0]

    return Net(init, apply)


def generator(
    latent: int,
    shape: tuple[int, ...],
    hidden: tuple[int, ...],
    output: str,
    relu_at_zero: float = 1.0,
) -> Net:
    """Noise ``[B, latent]`` to samples ``[B, *shape]``.

    ``output`` names the last activation: ``"tanh"`` for images, which are scaled to
    [-1, 1]; ``"identity"`` for points of the plane.
    """
    module = MLP(hidden, math.prod(shape), relu_at_zero)

    def init(key: jax.Array):
        return module.init(key, jnp.zeros((1, latent)))["params"]

    def apply(params, z):
        x = module.apply({"params": params}, z)
        return OUTPUTS[output](x).reshape(-1, *shape)

    return Net(init, apply)


def great_circle(start, end, count: int) -> jax.Array:
    r"""``count`` points from each row of ``start`` to that of ``end``, both ``[R, L]``.

    With theta the angle between them, a share t of the way is

    .. math::
        \frac{\sin((1 - t)\theta)}{\sin\theta} a + \frac{\sin(t\theta)}{\sin\theta} b

    which keeps the length that normal vectors have in high dimension (Shoemake,
    Animating rotation with quaternion curves, 1985). Returns ``[R * count, L]``.
    """
    length = jnp.linalg.norm(start, axis=1) * jnp.linalg.norm(end, axis=1)
    theta = jnp.arccos(jnp.sum(start * end, axis=1) / length)[:, None, None]
    t = jnp.linspace(0, 1, count)[None, :, None]
    a, b = start[:, None, :], end[:, None, :]
    points = jnp.sin((1 - t) * theta) * a + jnp.sin(t * theta) * b
    return (points / jnp.sin(theta)).reshape(-1, start.shape[1])
