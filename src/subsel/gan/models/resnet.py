"""Residual networks: SNGAN's.

Miyato, Kataoka, Koyama and Yoshida, Spectral normalization for generative adversarial
networks, 2018, and the authors' program for what its tables leave open. They have
batch normalisation in G, by class where there are any, and a slope of 0; spectral
normalisation in D is theirs, and here an option. By how often the sides are halved:

- up to 3 times (32 pixels, table 4): all blocks of D have ``width`` channels, those of
  G twice as many; the paper's are 128 and 256. D halves twice at most.
- 4 times and more (64 and 128 pixels, table 5): ``width`` at the highest resolution,
  doubled at each level, up to 16 times; the paper's is 64. The table is for 128 pixels;
  at 64, D has its first five blocks, of which the authors' program pools the last too.

Where D is to be normalised, its first block and its last features are not, as in
WGAN-GP (Gulrajani et al., 2017).
"""

import math

import flax.linen as nn
import jax.numpy as jnp

from subsel.gan.models.layers import Layers
from subsel.gan.models.sizes import base, levels

_SIZE = 3
_WIDEST = 16  # times the width
_FLAT = 3  # levels up to which no width is doubled
_RESIDUAL = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")


class Up(nn.Module):
    """A block of G: ``[B, *sides, K]`` to ``[B, *(2 sides), features]``."""

    layers: Layers
    features: int

    @nn.compact
    def __call__(self, x, label):
        layers, features = self.layers, self.features
        h = doubled(layers.act(layers.norm(x, label)))
        h = layers.conv(h, features, _SIZE, kernel_init=_RESIDUAL)
        h = layers.act(layers.norm(h, label))
        h = layers.conv(h, features, _SIZE, kernel_init=_RESIDUAL)
        # The same as doubling first, as the paper does, for a fraction of the work.
        return h + doubled(layers.conv(x, features, 1))


class Down(nn.Module):
    """A block of D: ``[B, *sides, K]`` to ``[B, *(sides / 2), features]``.

    The ``first`` sees samples, which are neither normalised nor rectified.
    """

    layers: Layers
    features: int
    first: bool
    halve: bool

    @nn.compact
    def __call__(self, x):
        layers, features = self.layers, self.features
        if self.first:
            h = layers.conv(x, features, _SIZE, kernel_init=_RESIDUAL)
        else:
            h = layers.act(layers.norm(x))
            h = layers.conv(h, x.shape[-1], _SIZE, kernel_init=_RESIDUAL)
            h = layers.norm(h)
        h = layers.conv(layers.act(h), features, _SIZE, kernel_init=_RESIDUAL)
        if self.halve:
            h, x = halved(h), halved(x)  # x before its convolution, as in Up
        if self.halve or x.shape[-1] != features:
            x = layers.conv(x, features, 1)
        return h + x


def discriminator(layers: Layers, x, label):
    """``[B, *sides, C]`` to logits ``[B]``: blocks, then the sum over all sides."""
    count = levels(x.shape[1:])
    halvings = min(count, 2) if count <= _FLAT else count
    for level in range(count + 1):
        features = layers.arch.width * _multiple(level, count)
        x = Down(layers, features, first=level == 0, halve=level < halvings)(x)
    sides = range(1, x.ndim - 1)
    phi = jnp.sum(layers.act(x), axis=sides, dtype=jnp.float32)
    return layers.logit(phi, label)


def generator(layers: Layers, z, label, shape: tuple[int, ...]):
    """``[B, latent]`` to ``[B, *shape]``; the class scales and shifts the channels."""
    count, sides = levels(shape), base(shape)
    width = layers.arch.width * (2 if count <= _FLAT else 1)
    first, *rest = (width * _multiple(level, count) for level in range(count, -1, -1))
    x = layers.dense(z, math.prod(sides) * first).reshape(-1, *sides, first)
    for features in rest:
        x = Up(layers, features)(x, label)
    return layers.conv(layers.act(layers.norm(x)), shape[-1], _SIZE)


def doubled(x):
    """Each entry of ``[B, *sides, C]`` repeated twice along each side."""
    for axis in range(1, x.ndim - 1):
        x = jnp.repeat(x, 2, axis)
    return x


def halved(x):
    """Means of neighbours: ``[B, *sides, C]`` to ``[B, *(sides / 2), C]``."""
    window = (2,) * (x.ndim - 2)
    return nn.avg_pool(x, window, window)


def _multiple(level, count):
    return 1 if count <= _FLAT else min(2**level, _WIDEST)
