"""The minimum-norm point of the convex hull of K vectors, from their Gram matrix."""

import jax
import jax.numpy as jnp

from subsel import linalg

_STEPS_PER_CANDIDATE = 8  # one is enough as a rule


@jax.jit  # without it, a call outside of jit would compile the loop anew
def min_norm_weights(gram, valid=None, norm=None):
    r"""Weights of the shortest vector in the hull of K vectors.

    .. math::
        w^\star \in \arg\min_{w \ge 0,\ \sum_k w_k = 1} \tfrac12 w^\top G w,
        \qquad G_{kl} = \langle g_k, g_l \rangle

    K = 2 is solved in closed form. K > 2 starts from the shortest vector, so that the
    result is never longer than it, and alternates two steps with exact line search: a
    pairwise Frank–Wolfe step, which lets one vertex in, and a step towards the affine
    minimiser of the vertices that are in, as in Wolfe's algorithm, which is exact once
    the right vertices are. Neither can increase the length.

    Args:
        gram: ``[K, K]`` real Gram matrix, finite; the scale is immaterial.
        valid: ``[K]`` booleans; a candidate that is not valid gets weight zero. All, if
            left out. At least one must hold.
        norm: ``[K]`` lengths, where the diagonal may have underflowed; they only decide
            which candidate is the shortest.

    Returns:
        ``[K]`` weights on the simplex, in float32 at least, exactly zero off the
        support. All NaN when an entry of a valid candidate is NaN or infinite.

    Raises:
        ValueError: ``gram``, ``valid`` or ``norm`` is of another shape.

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
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or gram.size == 0:
        raise ValueError(f"gram has shape {gram.shape}; expected [K, K] with K >= 1")
    size = len(gram)
    valid = jnp.ones(size, bool) if valid is None else jnp.asarray(valid)
    gram = gram.astype(linalg.accumulator(gram))
    norm = jnp.sqrt(jnp.diag(gram)) if norm is None else jnp.asarray(norm)
    for name, array in {"valid": valid, "norm": norm}.items():
        if array.shape != (size,):
            raise ValueError(f"{name} has shape {array.shape}; expected ({size},)")
    gram = jnp.where(valid[:, None] & valid[None, :], gram, 0)
    longest = jnp.max(jnp.diag(gram))
    shortest = jnp.argmin(jnp.where(valid, norm, jnp.inf))
    solve = _pair if size == 2 else _alternate
    weights = solve(gram / jnp.where(longest > 0, longest, 1), valid, shortest)
    return jnp.where(jnp.isfinite(gram).all(), weights, jnp.nan)


def _pair(gram, valid, shortest):
    """<b, b - a> and <a, a - b> over |a - b|^2: each to its own relative accuracy."""
    pulls = jnp.diag(gram) - gram[0, 1]
    distance = jnp.sum(pulls)
    shares = jnp.clip(pulls[::-1] / jnp.where(distance > 0, distance, 1), 0, 1)
    alone = jax.nn.one_hot(shortest, 2, dtype=gram.dtype)
    return jnp.where(valid.all() & (distance > 0), shares, alone)


@jax.custom_jvp
def _alternate(gram, valid, shortest):
    """Pairwise Frank–Wolfe steps, a step of Wolfe's algorithm after each."""
    size = len(gram)
    eps = jnp.finfo(gram.dtype).eps
    infinite = jnp.asarray(jnp.inf, gram.dtype)
    length = jnp.sqrt(jnp.diag(gram))
    divisor = jnp.where(length > 0, length, 1)
    cosines = gram / divisor[:, None] / divisor[None, :]

    def slope_at(weights):
        return jnp.matmul(gram, weights, precision=jax.lax.Precision.HIGHEST)

    def lowest(slope):
        return jnp.argmin(jnp.where(valid, slope, infinite))

    def pairwise(weights, slope):
        """Weight moves to the steepest vertex, from where that shortens the most."""
        up = lowest(slope)
        fall = slope - slope[up]
        sizes = length[up] ** 2 + length**2
        curvature = jnp.maximum(sizes - 2 * gram[up], eps * sizes)
        gain = jnp.where((weights > 0) & (fall > 0), fall**2 / curvature, -infinite)
        down = jnp.argmax(gain)
        share = jnp.minimum(weights[down], fall[down] / curvature[down])
        return weights.at[up].add(share).at[down].add(-share)

    def corrective(weights):
        """Towards the affine minimiser of the support, as far as the simplex goes.

        In lengths of its own every candidate is a unit vector, so that one solve serves
        candidates of any length.
        """
        on = weights > 0
        inverse = jnp.where(on, 1 / divisor, 0)
        inverse = inverse / jnp.max(inverse)
        system = jnp.where(on[:, None] & on[None, :], cosines, 0)
        system += inverse[:, None] * inverse[None, :]
        system += jnp.diag(jnp.where(on, size * eps, 1))
        factor = jax.scipy.linalg.cho_factor(system)
        best = inverse * jax.scipy.linalg.cho_solve(factor, inverse)
        direction = best / jnp.sum(best) - weights
        room = jnp.where(direction < 0, -weights / direction, infinite)
        share = jnp.minimum(jnp.min(room), 1)
        moved = jnp.maximum(weights + share * direction, 0)
        moved = jnp.where(room <= share, 0, moved)
        moved = moved / jnp.sum(moved)
        shorter = moved @ slope_at(moved) < weights @ slope_at(weights)
        return jnp.where(shorter, moved, weights)

    def gapes(weights, slope, shrank):
        """As far as rounding lets the two sides of the gap be told apart; less far once
        the length itself has stopped changing."""
        up = lowest(slope)
        rounding = eps * length[up] * (weights @ length)
        gap = weights @ slope - slope[up]
        return gap > jnp.where(shrank, 4, 32) * rounding

    def unfinished(carry):
        step, *_, open_ = carry
        return open_ & (step < _STEPS_PER_CANDIDATE * size)

    def body(carry):
        step, weights, slope, _ = carry
        following = corrective(pairwise(weights, slope))
        after = slope_at(following)
        shrank = following @ after < weights @ slope
        return step + 1, following, after, gapes(following, after, shrank)

    # The last of what is carried, and not computed in the condition: see linalg.
    weights = jax.nn.one_hot(shortest, size, dtype=gram.dtype)
    slope = slope_at(weights)
    _, weights, *_ = jax.lax.while_loop(
        unfinished, body, (0, weights, slope, gapes(weights, slope, True))
    )
    return weights / jnp.sum(weights)


@_alternate.defjvp
def _of_support(primals, tangents):
    """The derivative while the support stays: dG w + G dw is the same on all of it."""
    gram, change = primals[0], tangents[0]
    weights = _alternate(*primals)
    on = weights > 0
    # with 1 everywhere, since dw sums to 0: regular for a hull around zero too
    system = jnp.where(on[:, None] & on[None, :], gram + 1, 0)
    system += jnp.diag(jnp.where(on, len(gram) * jnp.finfo(gram.dtype).eps, 1))
    factor = jax.scipy.linalg.cho_factor(system)
    ones, pull = (
        jax.scipy.linalg.cho_solve(factor, jnp.where(on, x, 0))
        for x in (jnp.ones_like(weights), change @ weights)
    )
    return weights, ones * (jnp.sum(pull) / jnp.sum(ones)) - pull
