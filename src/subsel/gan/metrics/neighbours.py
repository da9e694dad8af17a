"""Precision, recall, density and coverage, from balls around nearest neighbours."""

import jax
import jax.numpy as jnp

_ROWS = 64  # of the matrix of distances that exist at a time: they fit a cache


def prdc(samples, reference, k: int = 5) -> dict[str, jax.Array]:
    r"""How well two sets of features cover each other.

    With :math:`B(x)` the open ball around x whose radius is the distance to the k-th
    nearest neighbour of x in its own set, without x itself:

    - precision: the share of samples that are in :math:`B(y)` for some reference y;
    - recall: the share of references that are in :math:`B(x)` for some sample x;
    - density: the number of :math:`B(y)` that a sample is in, over k, on average;
    - coverage: the share of references y with some sample in :math:`B(y)`.

    For equal distributions density is 1 on average and coverage
    :math:`1 - \prod_{i=1}^k (N - i) / (M + N - i)`, about :math:`1 - 2^{-k}`; precision
    and recall depend on the dimension, and are 0.47 in 1,000 dimensions.

    Args:
        samples, reference: ``[M, d]`` and ``[N, d]``, more than k of each.
        k: neighbours; a Python int.

    Returns:
        The four as float32, by these names. Memory is in proportion to M + N.

    Kynkäänniemi et al., Improved precision and recall metric, 2019; Naeem et al.,
    Reliable fidelity and diversity metrics for generative models, 2020 (``prdc``).
    """
    centre = jnp.mean(reference, axis=0)  # near 0 the squares lose fewest digits
    fake, real = samples - centre[None, :], reference - centre[None, :]
    fake_radius, real_radius = _radii(fake, k), _radii(real, k)

    def of_sample(squared):
        inside = squared < real_radius
        return jnp.any(inside), jnp.sum(inside)

    def of_reference(squared, radius):
        return jnp.any(squared < fake_radius), jnp.min(squared) < radius

    precise, balls = _rows(of_sample, fake, real)
    recalled, covered = _rows(of_reference, real, fake, real_radius)
    return {
        "precision": jnp.mean(precise),
        "recall": jnp.mean(recalled),
        "density": jnp.mean(balls) / k,
        "coverage": jnp.mean(covered),
    }


def _radii(x, k):
    """Squared distance of each row to its k-th nearest other; to itself it is 0."""
    return _rows(lambda squared: _smallest(squared, k + 1), x, x)


def _smallest(x, k):
    """The k-th smallest entry, in k passes: on CPUs ten times as fast as top_k."""

    def next_value(_, value):
        higher = jnp.min(x, where=x > value, initial=jnp.inf)
        return jnp.where(jnp.sum(x <= value) < k, higher, value)

    # A loop, for XLA would compute x again in each of several passes.
    return jax.lax.fori_loop(0, k, next_value, -jnp.inf)


def _rows(of_row, x, y, *more):
    """Maps ``of_row(squared distances to y, *more)`` over the rows of ``x``."""
    squares = jnp.sum(y * y, axis=1)

    def row(arguments):
        point, *rest = arguments
        product = jnp.matmul(y, point, precision=jax.lax.Precision.HIGHEST)
        squared = jnp.maximum(jnp.sum(point * point) + squares - 2 * product, 0)
        return of_row(squared, *rest)

    return jax.lax.map(row, (x, *more), batch_size=min(_ROWS, len(x)))
