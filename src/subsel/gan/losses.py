r"""Losses of the two players, as pure functions of logits.

With D(x) = sigmoid(r) on real and D(G(z)) = sigmoid(f) on generated samples, the logs
of the article are softplus functions of the logits,

.. math::
    -\log D(x) = \log(1 + e^{-r}), \qquad -\log(1 - D(G(z))) = \log(1 + e^{f}),

which neither overflow nor lose their gradient at large logits. Every loss takes logits
``real`` ``[B]`` and ``fake`` ``[B]`` and returns a scalar to be minimised.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax.nn import softplus


class Loss(NamedTuple):
    """The discriminator's and the generator's loss of one game."""

    d: Callable
    g: Callable


def d_cross_entropy(real, fake):
    r"""-E[log D(x)] - E[log(1 - D(G(z)))]: the article's -L_D (Goodfellow 2014)."""
    return jnp.mean(softplus(-real)) + jnp.mean(softplus(fake))


def g_minimax(real, fake):
    r"""-E[log D(x)] + E[log(1 - D(G(z)))]: the article's L_G, saturating.

    The first term has no gradient in G; it is kept so that the number is the article's.
    The gradient of the second is sigmoid(f), which vanishes when D wins.
    """
    return jnp.mean(softplus(-real)) - jnp.mean(softplus(fake))


def g_non_saturating(real, fake):
    r"""-E[log D(G(z))], whose gradient vanishes when G wins (Goodfellow 2014)."""
    del real
    return jnp.mean(softplus(-fake))


LOSSES = {
    "minimax": Loss(d_cross_entropy, g_minimax),
    "non_saturating": Loss(d_cross_entropy, g_non_saturating),
}
