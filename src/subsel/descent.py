"""Descent with function values: cuts by bisection, and a line search after them.

In one file because the line search takes the radius and the verdict of the cuts, and
neither is of use alone.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from subsel import arguments, linalg
from subsel.candidates import Candidates, Oracle, needed
from subsel.minnorm import min_norm_weights
from subsel.selection import cancels, min_norm
from subsel.transform import select_subgradient

_BISECTIONS = 20  # of one cut; the last point is then taken as it is
# A hull is taken to hold zero below this share of its longest row; where the radius is
# small beside the first one, below less in proportion, so that a slope along a steep
# wall is told from zero in the end. Burke 2005 lowers tolerance and radius together; to
# do so from the beginning costs gradients where slopes are alike.
_NOTHING = 1e-6
_SMALL = 1e-8


class CutState(NamedTuple):
    """Of :func:`cuts`."""

    radius: jax.Array
    accepted: jax.Array  # whether the last selection promised enough decrease
    evaluations: jax.Array  # int32, gradients beside the incoming ones so far


class _Hull(NamedTuple):
    """The cuts found so far, in the first ``count`` of ``size`` rows."""

    rows: Any  # every leaf [size, ...]
    gram: jax.Array  # of rows[k] / scale[k]
    scale: jax.Array
    distance: jax.Array
    count: jax.Array  # type: ignore[assignment]  # of a tuple, that is a method
    evaluations: jax.Array
    done: jax.Array
    accepted: jax.Array


def cuts(
    size: int = 32, radius: float = 1.0, shrink: float = 0.5, decrease: float = 0.1
) -> Oracle:
    r"""Gradients from a ball that refute the shortest element found so far.

    Let u be the shortest element of the hull, starting from the gradient at x, and r
    the radius. Where

    .. math:: f(x - r\, u / \|u\|) \le f(x) - c\, r \|u\|,

    u promises descent, and the search ends. Elsewhere bisection on the segment finds a
    point whose gradient g has :math:`\langle g, u \rangle \le c \|u\|^2`: it joins the
    hull, which is then shorter. Where u becomes zero, x is stationary for this radius;
    there, and where ``size`` candidates were too few to find descent, the next search
    has a smaller one. At a tie of more than ``size`` pieces the radius shrinks and x
    stays: there, as at the start of Nesterov's problem, take a larger ``size``.

    Deterministic, for losses that are so: no minibatches. Costs a gradient and a value
    for each bisection, a value for each cut; memory while it runs is ``size`` copies of
    the parameters. Use it through :func:`gradient_sampling`.

    Args:
        size: K, at least 2.
        radius: r at the beginning, Euclidean, in the units of the parameters.
        shrink: factor of the radius after a search without descent, in (0, 1).
        decrease: c, in (0, 1).

    Raises:
        ValueError: an argument out of range, or no ``params``, ``grad_fn`` or
            ``value_fn`` in ``update``.

    References:
        Mahdavi-Amiri and Yousefpour, An effective nonsmooth optimization algorithm for
        locally Lipschitz functions, 2012. Gebken and Peitz, An efficient descent method
        for locally Lipschitz multiobjective optimization problems, 2021.
    """
    arguments.size("cuts", 2, size)
    arguments.number("cuts", *arguments.POSITIVE, radius=radius)
    share = "a number between 0 and 1", lambda x: 0 < x < 1
    arguments.number("cuts", *share, shrink=shrink, decrease=decrease)

    def init(params):
        dtype = linalg.accumulator(params)
        return CutState(
            jnp.asarray(radius, dtype), jnp.ones((), bool), jnp.zeros((), jnp.int32)
        )

    def propose(updates, state, context):
        params, grad_fn, value_fn = (
            needed(context, name, "cuts()")
            for name in ("params", "grad_fn", "value_fn")
        )
        value, rounding = value_fn(params), min_norm().rounding
        none = linalg.nought(updates) + jnp.zeros_like(state.radius)
        reach, tries = none + state.radius, linalg.nought(updates, jnp.int32)

        def shortest(hull):
            valid = jnp.arange(size) < hull.count
            lengths = hull.scale * jnp.sqrt(jnp.diag(hull.gram))
            gram = linalg.common_scale(hull.gram, hull.scale)
            weights = min_norm_weights(gram, valid, lengths) * valid
            exact = jax.lax.Precision.HIGHEST
            u = jax.tree.map(
                lambda x: jnp.tensordot(weights, x, 1, precision=exact), hull.rows
            )
            u = linalg.cast(u, updates)
            norm = linalg.norm(u)
            share = _NOTHING * jnp.minimum(1, reach / (_SMALL * radius))
            zero = ~(norm > share * jnp.max(lengths))
            return u, norm, zero | cancels(norm, weights, lengths, rounding)

        def point(u, norm, t):
            return linalg.add(params, linalg.resize(u, norm, -t))

        def excess(u, norm, t):
            """How far f at distance t lies above the decrease asked for."""
            return value_fn(point(u, norm, t)) - value + decrease * t * norm

        def bisect(u, norm, beyond):
            """A gradient whose slope along -u is too flat, and where it was."""

            def body(carry):
                low, high, above, *_, tried = carry
                t = (low + high) / 2
                g = linalg.cast(grad_fn(point(u, norm, t)), updates)
                found = linalg.inner(g, u) <= decrease * norm**2
                here = excess(u, norm, t)
                right = above > here
                low, high = jnp.where(right, t, low), jnp.where(right, high, t)
                above = jnp.where(right, above, here)
                return low, high, above, t, g, found, tried + 1

            def searching(carry):
                *_, found, tried = carry
                return ~found & (tried < _BISECTIONS)

            first = none, reach, beyond, none, updates, none != 0, tries
            *_, t, g, _, tried = jax.lax.while_loop(searching, body, first)
            return t, g, tried

        def search(hull):
            u, norm, zero = shortest(hull)
            beyond = excess(u, norm, reach)
            accepted = ~zero & (beyond <= 0)
            ends = zero | accepted | (hull.count == size)
            t, g, tried = jax.lax.cond(
                ends,
                lambda: (none, updates, tries),
                lambda: bisect(u, norm, beyond),
            )
            grown = _join(hull, g, t)
            hull = linalg.where(ends, hull, grown)
            return hull._replace(
                done=ends, accepted=accepted, evaluations=hull.evaluations + tried
            )

        first = _join(_empty(updates, size), updates, none)
        hull = jax.lax.while_loop(lambda hull: ~hull.done, search, first)
        return Candidates(
            rows=tuple(
                jax.tree.map(lambda x, k=k: x[k], hull.rows) for k in range(size)
            ),
            gram=hull.gram,
            scale=hull.scale,
            valid=jnp.arange(size) < hull.count,
            age=jnp.zeros(size, jnp.int32),
            distance=hull.distance,
            newest=0,
            aux=(hull.accepted, hull.evaluations),
        )

    def observe(state, candidates, selected, context):
        accepted, evaluations = candidates.aux
        return CutState(
            radius=jnp.where(accepted, state.radius, shrink * state.radius),
            accepted=accepted,
            evaluations=state.evaluations + evaluations,
        )

    return Oracle(init, propose, observe)


def _empty(like, size):
    rows = jax.tree.map(lambda x: jnp.stack([jnp.zeros_like(x)] * size), like)
    none, no = (linalg.nought(like, dtype) for dtype in (jnp.int32, bool))
    number = jnp.stack([linalg.nought(like)] * size)
    square = jnp.stack([number] * size)
    # The scale of nothing, which is 0 nowhere.
    return _Hull(rows, square, linalg.power_of_two(number), number, none, none, no, no)


def _join(hull, gradient, distance):
    """The hull with one more row; its Gram matrix has one more row and column."""
    k = hull.count
    scale = linalg.power_of_two(linalg.norm(gradient))
    hull = hull._replace(
        rows=jax.tree.map(
            lambda rows, new: jax.lax.dynamic_update_index_in_dim(rows, new, k, 0),
            hull.rows,
            gradient,
        ),
        scale=hull.scale.at[k].set(scale),
    )
    unit = linalg.scale(gradient, 1 / scale)

    def product(row, scale):
        return linalg.inner(linalg.scale(row, 1 / scale), unit)

    edge = jax.vmap(product)(hull.rows, hull.scale)
    return hull._replace(
        gram=hull.gram.at[k, :].set(edge).at[:, k].set(edge),
        distance=hull.distance.at[k].set(distance.astype(hull.distance.dtype)),
        count=k + 1,
    )


def gradient_sampling(
    radius: float = 1.0, size: int = 32, shrink: float = 0.5, decrease: float = 0.1
) -> optax.GradientTransformationExtraArgs:
    r"""Deterministic gradient sampling: :func:`cuts`, min-norm and a line search.

    The step is the longest of r, 2 r, 4 r, … along the shortest element u for which

    .. math:: f(x - t\, u / \|u\|) \le f(x) - c\, t \|u\|,

    and none where there is no descent at radius r, which then shrinks. For losses
    without noise. The defaults solve 9 of the 10 problems of Haarala et al. 2004 at
    n = 50 to 1e-4 within 2,000 gradients (``experiments/nonsmooth.py``).

    ``update`` takes ``grad_fn`` and ``value_fn``. The state is that of
    :func:`subsel.select_subgradient`; ``optax.tree.get(state, "evaluations")`` counts
    the gradients beside the incoming ones, ``"radius"`` is that of the next search.

    Args:
        radius, size, shrink, decrease: as in :func:`cuts`.

    Example:
        >>> import jax, jax.numpy as jnp, subsel
        >>> f = lambda x: 8 * jnp.abs(x[0] ** 2 - x[1]) + (1 - x[0]) ** 2
        >>> tx, g = subsel.gradient_sampling(), jax.grad(f)
        >>> def step(carry, _):
        ...     x, state = carry
        ...     u, state = tx.update(g(x), state, x, grad_fn=g, value_fn=f)
        ...     return (x + u, state), None
        >>> x = jnp.array([-1.2, 1.0])
        >>> (x, _), _ = jax.lax.scan(step, (x, tx.init(x)), length=200)
        >>> bool(f(x) < 1e-4)
        True

    References:
        Burke, Lewis and Overton, A robust gradient sampling algorithm for nonsmooth,
        nonconvex optimization, 2005; and those of :func:`cuts`.
    """
    selection = select_subgradient(cuts(size, radius, shrink, decrease), min_norm())

    def update(updates, state, params=None, *, value_fn=None, **extra_args):
        selected, following = selection.update(
            updates, state, params, value_fn=value_fn, **extra_args
        )
        norm = following.report.selected_norm
        reach = jnp.zeros_like(norm) + state.oracle.radius
        value = value_fn(params)

        def descends(t):
            moved = linalg.add(params, linalg.resize(selected, norm, -t))
            lower = value_fn(moved) <= value - decrease * t * norm
            return lower & jnp.isfinite(t)  # where f has no lower bound

        def double(carry):
            t, _ = carry
            return 2 * t, descends(4 * t)

        accepted = following.oracle.accepted
        step, _ = jax.lax.while_loop(  # a carried boolean decides: see linalg
            lambda carry: carry[1], double, (reach, accepted & descends(2 * reach))
        )
        step = jnp.where(accepted, step, 0)
        return linalg.resize(selected, norm, -step), following

    return optax.GradientTransformationExtraArgs(selection.init, update)
