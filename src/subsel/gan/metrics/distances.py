"""Distances between two sets of features (or of flattened images), ``[N, d]`` each.

In float32 on the device, with the products of matrices at the highest precision that it
has: the small difference of large numbers is what they measure.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

_dot = jax.tree_util.Partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


class Moments(NamedTuple):
    """Mean and covariance, the latter as a root: ``root.T @ root``, unbiased."""

    mean: jax.Array  # [d]
    root: jax.Array  # [d, d]


def moments(samples) -> Moments:
    """Of ``[N, d]`` samples, N at least 2, with N - 1 below the covariance.

    The root is the triangle of a QR decomposition, which keeps the small eigenvalues
    that a covariance in float32 has lost already.
    """
    n, d = samples.shape
    mean = jnp.mean(samples, axis=0)
    root = jnp.linalg.qr((samples - mean[None, :]) / jnp.sqrt(n - 1.0), mode="r")
    return Moments(mean, jnp.pad(root, ((0, d - len(root)), (0, 0))))


def from_covariance(mean, covariance) -> Moments:
    """Of a mean ``[d]`` and a covariance ``[d, d]``, of whatever rank."""
    values, vectors = jnp.linalg.eigh(jnp.asarray(covariance))
    return Moments(
        jnp.asarray(mean), jnp.sqrt(jnp.maximum(values, 0))[:, None] * vectors.T
    )


def frechet(samples, reference) -> jax.Array:
    r"""Squared Fréchet (2-Wasserstein) distance between two normal distributions.

    .. math::
        |m_1 - m_2|^2 + \mathrm{tr}(S_1 + S_2 - 2 (S_1 S_2)^{1/2})
        = |m_1 - m_2|^2 + \min_U \|R_1 - U R_2\|_F^2

    over the orthogonal U, where :math:`S = R^T R`. The right side needs no root of an
    eigenvalue, exists for covariances of every rank, and does not cancel: its relative
    error is about 1e-5. The best U is the polar factor of :math:`R_1 R_2^T`.

    Args:
        samples, reference: ``[N, d]`` and ``[M, d]``, or their :class:`Moments`.

    Between two sets of N samples of one normal distribution it is not 0 but about
    :math:`2 d / N + d (d + 1) / 2 N` (after whitening): never compare it across N.

    Dowson and Landau, The Fréchet distance between multivariate normal distributions,
    1982; Heusel et al., GANs trained by a two time-scale update rule, 2017 (FID).
    """
    a, b = (x if isinstance(x, Moments) else moments(x) for x in (samples, reference))
    left, _, right = jnp.linalg.svd(_dot(a.root, b.root.T))
    u = _dot(left, right)
    # One Newton-Schulz step: the error of the sum is of second order in which
    # orthogonal matrix U is, but of first order in how orthogonal it is.
    u = 1.5 * u - 0.5 * _dot(u, _dot(u.T, u))
    covariances = jnp.sum((a.root - _dot(u, b.root)) ** 2)
    return jnp.sum((a.mean - b.mean) ** 2) + covariances


def kernel_distance(
    samples, reference, block: int = 1000
) -> tuple[jax.Array, jax.Array]:
    r"""Unbiased squared MMD for the kernel :math:`(x \cdot y / d + 1)^3` (KID).

    Both sets are cut, in their order, into the same number of equal blocks of at most
    ``block`` samples; those that are left over, fewer than there are blocks, are not
    used. It is 0 on average for equal distributions, and may be negative.

    Args:
        samples, reference: ``[N, d]`` and ``[M, d]``, at least 2 of each in a block.
        block: a Python int.

    Returns:
        The mean over the blocks and its standard error (NaN where there is one block).

    Bińkowski et al., Demystifying MMD GANs, 2018; blocks as in TF-GAN.
    """
    blocks = -(-max(len(samples), len(reference)) // block)

    def cut(x):
        size = len(x) // blocks
        return x[: size * blocks].reshape(blocks, size, x.shape[1])

    values = jax.lax.map(lambda pair: _poly3(*pair), (cut(samples), cut(reference)))
    error = jnp.std(values, ddof=1) if blocks > 1 else jnp.array(jnp.nan)
    return jnp.mean(values), error / blocks**0.5


def _poly3(x, y):
    def kernel(a, b):  # less 1, which cancels in the end and would only be rounded
        t = _dot(a, b.T) / a.shape[1]
        return t * (3 + t * (3 + t))

    def own(a):  # without the diagonal
        k, n = kernel(a, a), len(a)
        return (jnp.sum(k) - jnp.trace(k)) / (n * (n - 1))

    return own(x) + own(y) - 2 * jnp.mean(kernel(x, y))


def sliced_wasserstein(
    samples, reference, key, directions: int = 128, order: int = 2
) -> jax.Array:
    r"""Wasserstein distance of projections on random directions.

    .. math:: \left( E_\theta W_p^p(\theta \cdot X, \theta \cdot Y) \right)^{1/p}

    Between isotropic normal distributions and for p = 2 its square is
    :math:`|m_1 - m_2|^2 / d + (s_1 - s_2)^2`. Of two sets of different sizes the
    quantiles at the levels :math:`(i + 1/2) / \max(N, M)` are compared.

    Args:
        samples, reference: ``[N, d]`` and ``[M, d]``.
        key: the directions are a function of it; one key for all that is compared.
        directions, order: Python ints; order is p.

    Rabin et al., Wasserstein barycenter and its application to texture mixing, 2011.
    """
    theta = jax.random.normal(key, (samples.shape[1], directions))
    theta = theta / jnp.linalg.norm(theta, axis=0, keepdims=True)
    n = max(len(samples), len(reference))

    def quantiles(x):
        level = (2 * jnp.arange(n) + 1) * len(x) // (2 * n)
        return jnp.sort(_dot(x, theta), axis=0)[level]

    gaps = jnp.abs(quantiles(samples) - quantiles(reference))
    return jnp.mean(gaps**order) ** (1 / order)
