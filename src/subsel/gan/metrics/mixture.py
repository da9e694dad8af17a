"""Points of the plane against a mixture of equal isotropic normal distributions.

The mixture has M centres of equal weight and one standard deviation, both known; so the
two distances are to the density itself and not to a sample of it.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr

from subsel.gan.metrics import histogram

WITHIN = 3.0  # standard deviations: VEEGAN's and PacGAN's rule for the plane
_ROWS = 256  # of the matrix of kernel values that exist at a time


def mixture(samples, centres, sd, key) -> dict[str, jax.Array]:
    r"""All metrics of samples of the plane, as scalars.

    ====================  ==========================================================
    modes                 of M, with at least one high-quality sample (VEEGAN)
    modes_honest          of M, with at least N / 4 M of them, a quarter of the fair
                          share of all samples
    high_quality          share of samples within 3 sd, strictly, of the nearest centre
    reverse_kl            of their histogram over the modes to uniform, natural log;
                          infinite where no sample is of high quality
    sliced_wasserstein    SW2 to the density, in the units of the plane
    mmd                   unbiased MMD^2 to the density, RBF kernel, :func:`length`
    ====================  ==========================================================

    As in PacGAN's program, only high-quality samples enter the histogram. A perfect
    sampler scores 98.889 % (:math:`1 - e^{-9/2}`), and a reverse KL of (M - 1) / 2 N:
    a larger share of high quality means modes that are too narrow. Read the six
    together: uniform noise has "captured" half of the modes of the ring.

    Args:
        samples: ``[N, 2]``; one that is not finite is not of high quality.
        centres: ``[M, 2]``, distinct.
        sd: the standard deviation of each component.
        key: of the turn of the directions of :func:`sliced_wasserstein`.

    Srivastava et al., VEEGAN, 2017; Lin et al., PacGAN, 2018.
    """
    counts = high_quality(samples, centres, WITHIN * sd)
    return {
        "modes": histogram.modes(counts),
        "modes_honest": histogram.honest_modes(counts, len(samples)),
        "high_quality": jnp.sum(counts) / len(samples),
        "reverse_kl": histogram.kl_to_uniform(counts),
        "sliced_wasserstein": sliced_wasserstein(samples, centres, sd, key),
        "mmd": mmd(samples, centres, sd, length(centres, sd)),
    }


def high_quality(samples, centres, radius) -> jax.Array:
    """Samples nearer than ``radius`` to their nearest centre, counted by centre.

    ``[N, d]`` and ``[M, d]`` to ``[M]`` int32. With one standard deviation for all, the
    Mahalanobis distance of PacGAN is this one over it.
    """
    squared = _squared(samples, centres)
    near = jnp.min(squared, axis=1) < radius**2
    return histogram.count(jnp.argmin(squared, axis=1), len(centres), near)


def sliced_wasserstein(samples, centres, sd, key, directions: int = 64) -> jax.Array:
    r"""Sliced 2-Wasserstein distance of ``[N, 2]`` samples to the density.

    .. math::
        SW_2^2 = E_\theta \frac1N \sum_i
            \left( x_{(i)} - F_\theta^{-1}((i - 1/2) / N) \right)^2

    with :math:`x_{(i)}` the sorted projections and :math:`F_\theta` the distribution
    function of the projected mixture, inverted by linear interpolation between 65
    points a component. The directions divide the half circle evenly, after a random
    turn, so that the average over the key is that over all directions.

    The floor, that of a perfect sampler, is of the order of the distance between the
    modes over the fourth root of N: it is how uneven N draws are over the modes.
    """
    turn = jnp.arange(directions) + jax.random.uniform(key)
    angle = turn * (jnp.pi / directions)
    theta = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
    level = (jnp.arange(len(samples)) + 0.5) / len(samples)

    def slice(direction):
        along = jnp.sum(centres * direction[None, :], axis=1)
        points = along[:, None] + sd * jnp.linspace(-6, 6, 65)[None, :]
        points = jnp.sort(points.ravel())
        below = ndtr((points[:, None] - along[None, :]) / sd)
        below = jax.lax.cummax(jnp.mean(below, axis=1))  # whatever rounding has done
        own = jnp.sort(jnp.sum(samples * direction[None, :], axis=1))
        return jnp.mean((own - jnp.interp(level, below, points)) ** 2)

    return jnp.sqrt(jnp.mean(jax.lax.map(slice, theta)))


def length(centres, sd) -> jax.Array:
    """Of the RBF kernel: half of the smallest distance between centres, or ``sd``.

    It tells neighbouring modes apart, and is the same for all samples.
    """
    squared = _squared(centres, centres)
    others = jnp.where(jnp.eye(len(centres), dtype=bool), jnp.inf, squared)
    nearest = jnp.sqrt(jnp.min(others))
    return jnp.where(jnp.isfinite(nearest), jnp.maximum(nearest / 2, sd), sd)


def mmd(samples, centres, sd, length) -> jax.Array:
    r"""Unbiased squared MMD of ``[N, d]`` samples to the density, for an RBF kernel.

    .. math::
        \frac{1}{N (N - 1)} \sum_{i \ne j} k_0(x_i, x_j)
        - \frac{2}{N M} \sum_{i m} k_{s^2}(x_i, c_m)
        + \frac{1}{M^2} \sum_{m m'} k_{2 s^2}(c_m, c_{m'})

    where :math:`k_v(x, y) = (l^2 / (l^2 + v))^{d/2} \exp(-|x - y|^2 / 2 (l^2 + v))` is
    the kernel :math:`e^{-|x - y|^2 / 2 l^2}` with noise of variance v on its arguments.
    0 on average for a perfect sampler, and may be negative.

    Gretton et al., A kernel two-sample test, 2012.
    """
    n, d = samples.shape

    def kernel(squared, noise):
        total = length**2 + noise
        return (length**2 / total) ** (d / 2) * jnp.exp(-squared / (2 * total))

    def row(x):
        return jnp.mean(kernel(jnp.sum((x[None, :] - samples) ** 2, axis=1), 0.0))

    rows = jax.lax.map(row, samples, batch_size=min(_ROWS, n))
    own = (jnp.mean(rows) - 1 / n) * (n / (n - 1))  # the diagonal is n ones
    cross = jnp.mean(kernel(_squared(samples, centres), sd**2))
    return own - 2 * cross + jnp.mean(kernel(_squared(centres, centres), 2 * sd**2))


def _squared(x, y):
    # Not by the inner products: the radius of a mode is small beside its centre.
    return jnp.sum((x[:, None, :] - y[None, :, :]) ** 2, axis=-1)
