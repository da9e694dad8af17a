r"""Functions with kinks, and the choice of their derivative there.

Values are those of ``jax.nn`` and ``jax.numpy``, bit for bit, and so are derivatives
off the kinks. At a kink ``at_kink`` chooses between the two one-sided derivatives:

- a number: the derivative itself; of :func:`maximum` and :func:`minimum` the share of
  the first argument, from 0 to 1
- ``"left"``, ``"right"``; where several arguments are tied, ``"first"``, ``"last"``
- ``"mid"``: halfway between; where several are tied, equal shares
- ``random(key)``: uniform between the two, or over the shares, by element
- ``"direction"``: the branch that is taken from here along a direction, which
  :func:`grad` and :func:`value_and_grad` ask for; ``jax.jvp`` gives f'(x; d), and
  ``jax.grad``, which knows no direction, raises TypeError

Defaults are JAX's own choices: relu 0, leaky_relu 1, abs 1, equal shares of maximum,
minimum and clip, the first of a pooling window; tests/test_kinks.py pins them.

References:
    Bolte and Pauwels, A mathematical model for automatic differentiation in machine
    learning, 2020. Bertoin, Bolte, Gerchinovitz and Pauwels, Numerical influence of
    ReLU'(0) on backpropagation, 2021. Khan, Branch-locking AD techniques for nonsmooth
    composite functions and nonsmooth implicit functions, 2018.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from subsel.ties import AtKink, broken, check, grad, random, tied, value_and_grad

__all__ = [
    "abs",
    "clip",
    "grad",
    "hinge",
    "leaky_relu",
    "max_pool",
    "maximum",
    "minimum",
    "piecewise",
    "random",
    "relu",
    "value_and_grad",
]


def relu(x, *, at_kink: AtKink = "left") -> jax.Array:
    """max(x, 0), of any shape; its derivative at 0 is chosen from [0, 1].

    Raises:
        ValueError: ``at_kink`` is no choice, or a number outside of the interval.

    Example:
        >>> import jax
        >>> from subsel import kinks
        >>> [float(jax.grad(kinks.relu)(0.0, at_kink=s)) for s in (0.25, "right")]
        [0.25, 1.0]
    """
    return broken("relu", jax.nn.relu, [(0.0, 0.0, 1.0)], x, at_kink)


def leaky_relu(
    x, negative_slope: float = 0.01, *, at_kink: AtKink = "right"
) -> jax.Array:
    """x where x >= 0, else ``negative_slope`` (a number) x; between the two at 0."""

    def value(x):
        return jax.nn.leaky_relu(x, negative_slope)

    kinks = [(0.0, float(negative_slope), 1.0)]
    return broken("leaky_relu", value, kinks, x, at_kink)


def abs(x, *, at_kink: AtKink = "right") -> jax.Array:
    """|x| of real x; as :func:`relu`, chosen from [-1, 1]."""
    return broken("abs", jnp.abs, [(0.0, -1.0, 1.0)], x, at_kink)


def hinge(x, *, at_kink: AtKink = "mid") -> jax.Array:
    """max(0, 1 - x); as :func:`relu`, chosen from [-1, 0] at 1."""

    def value(x):
        return jnp.maximum(0, 1 - x)

    return broken("hinge", value, [(1.0, -1.0, 0.0)], x, at_kink)


def piecewise(pieces: Sequence[Callable], breakpoints: Sequence[float]) -> Callable:
    r"""A continuous function of one variable from smooth pieces.

    .. math::
        f(x) = p_k(x), \; b_k \le x < b_{k+1}; \qquad
        f'(b_k) \text{ between } p_{k-1}'(b_k) \text{ and } p_k'(b_k)

    Args:
        pieces: functions of an array, by element, that JAX can differentiate; one more
            than there are breakpoints. Each is evaluated on its own interval only.
        breakpoints: increasing numbers.

    Returns:
        ``f(x, *, at_kink="mid")``, by element; NaN where x is NaN.

    Raises:
        ValueError: breakpoints that do not increase, not one piece more than of them,
            or pieces that do not meet there or have no finite slope.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from subsel import kinks
        >>> f = kinks.piecewise([jnp.negative, jnp.square], [0.0])
        >>> [float(jax.grad(f)(0.0, at_kink=s)) for s in ("left", "mid", "right")]
        [-1.0, -0.5, 0.0]
    """
    pieces, ends = tuple(pieces), tuple(map(float, breakpoints))
    increasing = all(a < b for a, b in itertools.pairwise(ends))
    if not ends or len(pieces) != len(ends) + 1 or not increasing:
        raise ValueError(
            f"piecewise: {len(pieces)} pieces and breakpoints {list(ends)}; expected "
            "increasing breakpoints, and one piece more than there are of them"
        )
    kinks = [_meet(pieces[k], pieces[k + 1], at) for k, at in enumerate(ends)]

    def value(x):
        place = sum((x >= at).astype(jnp.int32) for at in ends)
        y = jnp.full_like(x, jnp.nan)
        for k, piece in enumerate(pieces):
            mine = (place == k) & ~jnp.isnan(x)
            # Off its interval a piece may be NaN, and so would be its derivative.
            y = jnp.where(mine, piece(jnp.where(mine, x, ends[max(k - 1, 0)])), y)
        return y

    def function(x, *, at_kink: AtKink = "mid"):
        x = jnp.asarray(x, jnp.result_type(x, float))
        return broken("piecewise", value, kinks, x, at_kink)

    return function


def maximum(x, y, *, at_kink: AtKink = "mid") -> jax.Array:
    """The larger of x and y, broadcast; where they are equal, x gets a share in [0, 1].

    Raises:
        ValueError: ``at_kink`` is no choice, or a number outside of the interval.

    Example:
        >>> import jax
        >>> from subsel import kinks
        >>> slopes = jax.grad(kinks.maximum, argnums=(0, 1))(2.0, 2.0, at_kink=0.25)
        >>> [float(slope) for slope in slopes]
        [0.25, 0.75]
    """
    return _of_two(jnp.maximum, "maximum", x, y, at_kink)


def minimum(x, y, *, at_kink: AtKink = "mid") -> jax.Array:
    """The smaller of x and y; otherwise as :func:`maximum`."""
    return _of_two(jnp.minimum, "minimum", x, y, at_kink)


def clip(x, lo, hi, *, at_kink: AtKink = "mid") -> jax.Array:
    """min(max(x, lo), hi), broadcast; at a bound, x gets a share in [0, 1]."""
    check("clip", at_kink, ("left", "right"), (0, 1))
    above = below = at_kink
    if isinstance(at_kink, str) and at_kink in ("left", "right"):
        above, below = (0, 1) if at_kink == "left" else (1, 0)
    return minimum(maximum(x, lo, at_kink=above), hi, at_kink=below)


def max_pool(
    x,
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str | Sequence[tuple[int, int]] = "VALID",
    *,
    at_kink: AtKink = "first",
) -> jax.Array:
    """The largest of each window, as ``flax.linen.max_pool``; the tied share its slope.

    Args:
        x: ``[N, *spatial, C]``, floating.
        window_shape: one length for each spatial dimension.
        strides: as many steps; 1 if left out.
        padding: "VALID", "SAME", or (before, after) for each.
        at_kink: "first" and "last" in row-major order, and "mid", "direction" or
            :func:`random`; no number.

    Raises:
        ValueError: ``at_kink`` is no choice, or ``window_shape`` of the wrong length.
    """
    check("max_pool", at_kink, ("first", "last"))
    x = jnp.asarray(x)
    if x.ndim != len(window_shape) + 2:
        raise ValueError(
            f"max_pool: x has shape {x.shape} and window_shape {tuple(window_shape)}; "
            "expected x [N, *spatial, C] and one length for each spatial dimension"
        )
    window = (1, *window_shape, 1)
    steps = (1, *(strides or (1,) * len(window_shape)), 1)
    if isinstance(padding, str):
        pads = jax.lax.padtype_to_pads(x.shape, window, steps, padding)
    else:
        pads = [(0, 0), *((low, high) for low, high in padding), (0, 0)]

    def value(x):
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, steps, pads)

    def places(x, outside):
        """The entries of each window, ``[K, N, *spatial, C]``."""
        padded = jax.lax.pad(x, jnp.asarray(outside, x.dtype), [(*p, 0) for p in pads])
        shape = jax.eval_shape(value, x).shape

        def strided(start):
            last = [
                a + (n - 1) * s for a, n, s in zip(start, shape, steps, strict=True)
            ]
            return jax.lax.slice(padded, start, [a + 1 for a in last], steps)

        return jnp.stack([strided(s) for s in itertools.product(*map(range, window))])

    return tied(value, places, x, at_kink)


def _of_two(value, who, x, y, at_kink):
    check(who, at_kink, ("first", "last"), (0, 1))
    dtype = jnp.result_type(x, y)
    pair = jnp.broadcast_arrays(jnp.asarray(x, dtype), jnp.asarray(y, dtype))
    sign = 1 if who == "maximum" else -1
    return tied(lambda p: value(*p), lambda p, _: p, jnp.stack(pair), at_kink, sign)


def _meet(before, after, at):
    """The kink (breakpoint, left slope, right slope) at which two pieces meet."""
    with jax.ensure_compile_time_eval():
        (y, left), (z, right) = (
            map(float, jax.value_and_grad(piece)(jnp.asarray(at, float)))
            for piece in (before, after)
        )
    if not all(map(math.isfinite, (left, right))) or not math.isclose(
        y, z, rel_tol=1e-5, abs_tol=1e-5
    ):
        raise ValueError(
            f"piecewise: at the breakpoint {at} the pieces are {y} and {z}, of slopes "
            f"{left} and {right}; expected one value, and finite slopes"
        )
    return at, left, right
