r"""Losses of the two players, as pure functions of logits.

With D(x) = sigmoid(r) on real and D(G(z)) = sigmoid(f) on generated samples, the logs
of the article are softplus functions of the logits,

.. math::
    -\log D(x) = \log(1 + e^{-r}), \qquad -\log(1 - D(G(z))) = \log(1 + e^{f}),

which neither overflow nor lose their gradient at large logits. The other losses have no
sigmoid: what D puts out, still called a logit, is a score without a scale.

Every loss is ``loss(real, fake, mean=jnp.mean)`` of logits ``[B]`` and ``[B]``, and
returns a scalar to be minimised, which is a mean over them: where the batch is split
over devices, the mean of the parts' losses is that of the batch. Not so where a mean is
inside of a softplus: the relativistic losses take one over the whole batch with
``mean``.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax.nn import sigmoid, softplus

from subsel import kinks


class Loss(NamedTuple):
    """The losses of one game, and what is reported as D's opinion of a sample."""

    d: Callable  # (real, fake, mean=jnp.mean) -> scalar
    g: Callable  # (real, fake, mean=jnp.mean) -> scalar
    score: Callable  # logits -> scores: probabilities of "real" where D has any


def d_cross_entropy(real, fake, mean=jnp.mean):
    r"""-E[log D(x)] - E[log(1 - D(G(z)))]: the article's -L_D (Goodfellow 2014)."""
    return jnp.mean(softplus(-real)) + jnp.mean(softplus(fake))


def g_minimax(real, fake, mean=jnp.mean):
    r"""-E[log D(x)] + E[log(1 - D(G(z)))]: the article's L_G, saturating.

    The first term has no gradient in G; it is kept so that the number is the article's.
    The gradient of the second is sigmoid(f), which vanishes when D wins.
    """
    return jnp.mean(softplus(-real)) - jnp.mean(softplus(fake))


def g_non_saturating(real, fake, mean=jnp.mean):
    r"""-E[log D(G(z))], whose gradient vanishes when G wins (Goodfellow 2014)."""
    del real
    return jnp.mean(softplus(-fake))


def d_hinge(real, fake, mean=jnp.mean):
    r"""E[max(0, 1 - r)] + E[max(0, 1 + f)] (Lim and Ye 2017; Miyato 2018).

    At the kinks r = 1 and f = -1 the derivative is 0, as in the published programs,
    which write relu(1 - r): a sample on the margin does not pull any more.
    """
    return jnp.mean(_hinge(real)) + jnp.mean(_hinge(-fake))


def g_linear(real, fake, mean=jnp.mean):
    r"""-E[f]: G's loss of the hinge (Lim and Ye 2017) and of the Wasserstein game."""
    del real
    return -jnp.mean(fake)


def d_least_squares(real, fake, mean=jnp.mean):
    r"""E[(r - 1)^2] / 2 + E[f^2] / 2 (Mao 2017).

    The 0-1 coding: labels a = 0 of generated and b = 1 of real samples, and c = 1 for
    what G wants D to say. The other coding of the paper, a = -1, b = 1, c = 0, makes G
    minimise a Pearson divergence, which this one does not.
    """
    return jnp.mean(jnp.square(real - 1)) / 2 + jnp.mean(jnp.square(fake)) / 2


def g_least_squares(real, fake, mean=jnp.mean):
    r"""E[(f - 1)^2] / 2, the 0-1 coding (Mao 2017)."""
    del real
    return jnp.mean(jnp.square(fake - 1)) / 2


def d_wasserstein(real, fake, mean=jnp.mean):
    r"""E[f] - E[r]: minus the distance that a 1-Lipschitz D sees (Arjovsky 2017).

    Unbounded below unless something keeps D Lipschitz: clipped weights, a gradient
    penalty or spectral normalisation.
    """
    return jnp.mean(fake) - jnp.mean(real)


def d_relativistic(real, fake, mean=jnp.mean):
    r"""E[softplus(-(r - E[f]))] + E[softplus(f - E[r])]: RaSGAN's D.

    D says by how much a real sample is more real than the average generated one, and
    the reverse (Jolicoeur-Martineau 2019).
    """
    return jnp.mean(softplus(mean(fake) - real)) + jnp.mean(softplus(fake - mean(real)))


def g_relativistic(real, fake, mean=jnp.mean):
    r"""E[softplus(-(f - E[r]))] + E[softplus(r - E[f])]: RaSGAN's G.

    The two parts change places; both have a gradient in G (Jolicoeur-Martineau 2019).
    """
    return d_relativistic(fake, real, mean)


def _hinge(margin):
    return kinks.hinge(margin, at_kink="right")


def _identity(logits):
    return logits


LOSSES = {
    "minimax": Loss(d_cross_entropy, g_minimax, sigmoid),
    "non_saturating": Loss(d_cross_entropy, g_non_saturating, sigmoid),
    "hinge": Loss(d_hinge, g_linear, _identity),
    "least_squares": Loss(d_least_squares, g_least_squares, _identity),
    "wasserstein": Loss(d_wasserstein, g_linear, _identity),
    "relativistic": Loss(d_relativistic, g_relativistic, _identity),
}
