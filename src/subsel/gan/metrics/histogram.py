"""Histograms of modes or classes: how many there are, how even they are.

All logarithms are natural. An empty histogram has infinite divergence, never NaN.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import entr


def count(labels, classes: int, kept=True) -> jax.Array:
    """How often each of ``0 … classes - 1`` occurs, ``[classes]`` int32.

    Args:
        labels: ``[N]`` int32; those out of range are not counted.
        classes: a Python int.
        kept: ``[N]`` bool, which of the labels to count; all of them by default.
    """
    inside = (labels >= 0) & (labels < classes)  # or -1 would count as the last class
    kept = (inside & kept).astype(jnp.int32)
    return jnp.zeros(classes, jnp.int32).at[labels].add(kept, mode="drop")


def modes(counts) -> jax.Array:
    """How many of the bins ``[K]`` hold at least one sample.

    Of ``N`` samples of a perfect sampler :math:`K (1 - (1 - 1/K)^N)` on average.
    """
    return jnp.sum(counts > 0)


def honest_modes(counts, samples: int) -> jax.Array:
    r"""How many of the bins ``[K]`` hold at least a quarter of their fair share.

    That is :math:`n_k \ge N / (4 K)`. One stray sample captures no mode: uniform noise
    captures half of a mixture's modes by the rule of one sample, and none by this.

    Args:
        counts: ``[K]`` int32.
        samples: ``N``, all that were drawn; those that fell in no bin among them.
    """
    return jnp.sum(4 * len(counts) * counts >= samples)  # integers, so that = is exact


def entropy(counts) -> jax.Array:
    """Of the histogram ``[K]``, at most log K; 0 where it is empty."""
    counts = jnp.asarray(counts, jnp.float32)
    return jnp.sum(entr(counts / jnp.maximum(jnp.sum(counts), 1)))


def kl_to_uniform(counts) -> jax.Array:
    r"""Reverse KL divergence of the histogram ``[K]`` to the uniform distribution.

    .. math:: \sum_k \frac{n_k}{n} \log\frac{K n_k}{n}, \qquad n = \sum_k n_k

    infinite where the histogram is empty. A perfect sampler scores about
    :math:`(K - 1) / 2n`, not 0. (Lin et al., PacGAN, 2018.)
    """
    divergence = jnp.log(float(len(counts))) - entropy(counts)
    return jnp.where(jnp.sum(counts) > 0, jnp.maximum(divergence, 0), jnp.inf)


def joint(labels, classes: int) -> jax.Array:
    """One label for several of ``classes``, ``[N, C]`` to ``[N]``; the first leads.

    The digits 3, 1, 4 of a stacked MNIST image are mode 314 of 1,000.
    """
    weights = classes ** np.arange(labels.shape[1] - 1, -1, -1, dtype=np.int32)
    return jnp.sum(labels * weights[None, :], axis=1)


def classifier_score(logits) -> jax.Array:
    r"""The inception score, of any classifier: 1 to the number of classes.

    .. math:: \exp E_x\, KL(p(y|x) \,\|\, p(y)), \qquad p(y) = E_x\, p(y|x)

    Args:
        logits: ``[N, K]``.

    Salimans et al., Improved techniques for training GANs, 2016; in one split.
    """
    log_p = jax.nn.log_softmax(logits)
    log_mean = jax.nn.logsumexp(log_p, axis=0) - jnp.log(float(len(logits)))
    p = jnp.exp(log_p)
    # A class without probability adds nothing, where inf - inf would be NaN.
    gain = jnp.where(p > 0, p * (log_p - log_mean[None, :]), 0)
    return jnp.exp(jnp.mean(jnp.sum(gain, axis=1)))


def precision_recall_curve(
    samples, reference, angles: int = 1001
) -> tuple[jax.Array, jax.Array]:
    r"""Precision and recall of one histogram for another, along all trade-offs.

    .. math::
        \alpha(\lambda) = \sum_k \min(\lambda r_k, s_k), \qquad
        \beta(\lambda) = \alpha(\lambda) / \lambda

    with lambda the tangents of ``angles`` angles from 0 to a right one.

    Args:
        samples, reference: ``[K]`` counts or probabilities of the same bins, not empty.
        angles: a Python int.

    Returns:
        Precision and recall, ``[angles]`` each.

    Sajjadi et al., Assessing generative models via precision and recall, 2018.
    """
    s, r = samples / jnp.sum(samples), reference / jnp.sum(reference)
    epsilon = 1e-6  # keeps both ends finite
    slopes = jnp.tan(jnp.linspace(epsilon, jnp.pi / 2 - epsilon, angles))
    precision = jnp.sum(jnp.minimum(slopes[:, None] * r[None, :], s[None, :]), axis=1)
    return jnp.clip(precision, 0, 1), jnp.clip(precision / slopes, 0, 1)


def f_score(precision, recall, beta: float = 1.0) -> jax.Array:
    r""":math:`(1 + \beta^2) P R / (\beta^2 P + R)`; 0 where both are 0."""
    below = beta**2 * precision + recall
    above = (1 + beta**2) * precision * recall
    return jnp.where(below > 0, above / jnp.where(below > 0, below, 1), 0)
