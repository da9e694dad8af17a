"""The minimum-norm point of the convex hull of K vectors, from their Gram matrix."""

import jax
import jax.numpy as jnp

_STEPS_PER_CANDIDATE = 100


def min_norm_weights(gram, valid=None):
    r"""Weights of the shortest vector in the hull of K vectors.

    .. math::
        w^\star \in \arg\min_{w \ge 0,\ \sum_k w_k = 1} \tfrac12 w^\top G w,
        \qquad G_{kl} = \langle g_k, g_l \rangle

    K = 2 is solved in closed form. K > 2 uses pairwise Frank–Wolfe with exact line
    search, which converges linearly on a polytope, starting from the shortest vector,
    so that the result is never longer than it. The second vertex of a step is chosen by
    the decrease that it allows, as in the working-set rule of LIBSVM.

    Args:
        gram: ``[K, K]`` real Gram matrix. Candidates of very different length should be
            divided by a common factor first, so that no entry overflows.
        valid: ``[K]`` booleans; a candidate that is not valid gets weight zero. All, if
            left out. At least one must hold.

    Returns:
        ``[K]`` weights on the simplex, exactly zero off the support. All NaN when an
        entry of a valid candidate is NaN or infinite.

    Example:
        >>> import jax.numpy as jnp, subsel
        >>> g = jnp.array([[1.0, 1.0], [1.0, -3.0]])
        >>> subsel.min_norm_weights(g @ g.T)
        Array([0.75, 0.25], dtype=float32)

    References:
        Wolfe, Finding the nearest point in a polytope, 1976. Lacoste-Julien and Jaggi,
        On the global linear convergence of Frank–Wolfe optimization variants, 2015.
        Fan, Chen and Lin, Working set selection using second order information, 2005.
    """
    gram = jnp.asarray(gram)
    size = gram.shape[0]
    if gram.shape != (size, size) or size == 0:
        raise ValueError(f"gram has shape {gram.shape}; expected [K, K] with K >= 1")
    valid = jnp.ones(size, bool) if valid is None else valid
    gram = jnp.where(valid[:, None] & valid[None, :], gram, 0)
    weights = _pair(gram, valid) if size == 2 else _pairwise_frank_wolfe(gram, valid)
    return jnp.where(jnp.isfinite(gram).all(), weights, jnp.nan)


def _pair(gram, valid):
    """<a, a - b> / |a - b|^2, clipped, is the weight of b."""
    a, b, ab = gram[0, 0], gram[1, 1], gram[0, 1]
    distance = a + b - 2 * ab
    share = jnp.clip((a - ab) / jnp.where(distance > 0, distance, 1), 0, 1)
    share = jnp.where(distance > 0, share, jnp.where(b < a, 1, 0))
    share = jnp.where(valid[0], jnp.where(valid[1], share, 0), 1).astype(gram.dtype)
    return jnp.stack([1 - share, share])


def _pairwise_frank_wolfe(gram, valid):
    size = gram.shape[0]
    diagonal = jnp.diag(gram)
    eps = jnp.finfo(gram.dtype).eps
    infinite = jnp.asarray(jnp.inf, gram.dtype)
    start = jnp.argmin(jnp.where(valid, diagonal, infinite))

    def gradient(weights):
        return jnp.matmul(gram, weights, precision=jax.lax.Precision.HIGHEST)

    def unfinished(carry):
        step, weights, slope = carry
        up = jnp.argmin(jnp.where(valid, slope, infinite))
        # As close as rounding lets the two sides of the gap be told apart.
        tolerance = eps * jnp.sqrt(diagonal[up] * (weights @ diagonal))
        gap = weights @ slope - slope[up]
        return (gap > tolerance) & (step < _STEPS_PER_CANDIDATE * size)

    def body(carry):
        step, weights, slope = carry
        up = jnp.argmin(jnp.where(valid, slope, infinite))
        fall = slope - slope[up]
        sizes = diagonal[up] + diagonal
        curvature = jnp.maximum(sizes - 2 * gram[up], eps * sizes)
        gain = jnp.where((weights > 0) & (fall > 0), fall**2 / curvature, -infinite)
        down = jnp.argmax(gain)
        share = jnp.minimum(weights[down], fall[down] / curvature[down])
        weights = weights.at[up].add(share).at[down].add(-share)
        return step + 1, weights, gradient(weights)

    weights = jax.nn.one_hot(start, size, dtype=gram.dtype)
    _, weights, _ = jax.lax.while_loop(
        unfinished, body, (0, weights, gradient(weights))
    )
    return weights / jnp.sum(weights)
