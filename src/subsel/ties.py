"""How derivatives are chosen where branches are tied: what is under subsel.kinks."""

import numbers
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from subsel import linalg


class Random(NamedTuple):
    """The choice that :func:`random` makes."""

    key: jax.Array


AtKink = float | str | Random


def random(key: jax.Array) -> Random:
    """Uniform between the one-sided derivatives, for each element on its own.

    The draw depends on the key and the shape alone: give each use its own key.
    """
    return Random(key)


def grad(f: Callable) -> Callable:
    """The gradient alone of :func:`value_and_grad`."""

    def of(x, *args, along):
        return value_and_grad(f)(x, *args, along=along)[1]

    return of


def value_and_grad(f: Callable) -> Callable:
    r"""The value of f, and its gradient with the ties decided along a direction.

    .. math::
        f(x), \quad \nabla_d f'(x; d), \qquad
        f'(x; d) = \lim_{t \downarrow 0} \frac{f(x + t d) - f(x)}{t}

    Directional derivatives obey the chain rule at kinks, where derivatives need not,
    and are piecewise linear in d: the slope in d is the gradient of the piece of f that
    lies along d, which is a Clarke subgradient. Where d itself runs along a kink, as
    zero does, the tie goes to the left or first, and this may be lost. Costs about two
    evaluations of ``jax.value_and_grad``. Kinks that were given another choice keep it.

    Args:
        f: real function of a pytree and of ``*args``, which are held constant. It must
            have a forward derivative, as ``jax.custom_vjp`` has not.

    Returns:
        ``of(x, *args, along) -> (value, gradient)``; ``along`` is shaped like x.

    Raises:
        TypeError: in ``of``, if f is not scalar or ``along`` is not shaped like x.

    Example:
        >>> import jax
        >>> from subsel import kinks
        >>> def zero(x, at_kink):
        ...     flipped = kinks.relu(-x, at_kink=at_kink)
        ...     return flipped + x - kinks.relu(x, at_kink=at_kink)
        >>> float(jax.grad(zero)(0.0, "left"))
        1.0
        >>> float(kinks.grad(zero)(0.0, "direction", along=1.0))
        0.0

    References:
        Khan and Barton, A vector forward mode of automatic differentiation for
        generalized derivative evaluation, 2015. Khan, Branch-locking AD techniques for
        nonsmooth composite functions and nonsmooth implicit functions, 2018.
    """

    def of(x, *args, along):
        def slope(along):
            return jax.jvp(lambda x: f(x, *args), (x,), (along,))[::-1]

        gradient, value = jax.grad(slope, has_aux=True)(linalg.cast(along, x))
        return value, gradient

    return of


def check(who: str, at_kink: AtKink, words: tuple, interval: tuple | None = None):
    """Raises ValueError unless ``at_kink`` is a choice of the function ``who``."""
    words = (*words, "mid", "direction")
    numeric = isinstance(at_kink, numbers.Real)
    if interval and numeric and interval[0] <= at_kink <= interval[1]:
        return
    if isinstance(at_kink, Random) or (isinstance(at_kink, str) and at_kink in words):
        return
    number = f"a number from {interval[0]} to {interval[1]}, " if interval else ""
    raise ValueError(
        f"{who}(at_kink={at_kink!r}): expected {number}"
        f"{', '.join(map(repr, words))} or random(key)"
    )


def broken(who: str, value: Callable, kinks: list, x, at_kink: AtKink) -> jax.Array:
    """``value(x)``, by element, with kinks (breakpoint, left slope, right slope)."""
    for _, *slopes in kinks:
        check(who, at_kink, ("left", "right"), (min(slopes), max(slopes)))
    x = jnp.asarray(x)
    draw = _draw(jax.random.uniform, at_kink, x)

    def slope(left, right, draw):
        if isinstance(at_kink, Random):
            return left + (right - left) * draw
        choices = {"left": left, "mid": (left + right) / 2, "right": right}
        return choices[at_kink] if isinstance(at_kink, str) else float(at_kink)

    @jax.custom_jvp
    def function(x, draw):
        return value(x)

    @function.defjvp
    def rule(primals, tangents):
        (x, draw), (t, _) = primals, tangents
        y, dy = jax.jvp(value, (x,), (t,))
        for at, left, right in kinks:
            if at_kink == "direction":
                chosen = jnp.where(t > 0, right * t, left * t)
            else:
                chosen = slope(left, right, draw) * t
            dy = jnp.where(x == at, chosen, dy)
        return y, _nonlinear.bind(dy) if at_kink == "direction" else dy

    return function(x, draw)


def tied(
    value: Callable, places: Callable, x, at_kink: AtKink, sign: int = 1
) -> jax.Array:
    """``value(x)``, the largest (of ``sign`` -1, the smallest) entries of groups of x.

    ``places(x, outside)`` has the entries of each group, ``[K, *value(x).shape]``, and
    ``outside`` where there is none.
    """
    entries = jax.eval_shape(lambda x: places(x, jnp.nan), x)
    draw = _draw(jax.random.exponential, at_kink, entries)

    def shares(on, t, draw):
        """Of the entries that are ``on``; they sum to 1 over the first axis."""
        if isinstance(at_kink, Random):
            # Exponential variables over their sum: uniform on the simplex.
            lot = jnp.where(on, draw, 0)
            return lot / jnp.maximum(lot.sum(0, keepdims=True), jnp.finfo(t.dtype).tiny)
        if at_kink == "mid":
            return 1 / jnp.maximum(on.sum(0, keepdims=True), 1).astype(t.dtype)
        if isinstance(at_kink, numbers.Real):
            whole = jnp.asarray([at_kink, 1 - at_kink], t.dtype)
            return whole.reshape(2, *(1,) * (t.ndim - 1))
        size = len(on)
        if at_kink == "direction":
            index = jnp.argmax(jnp.where(on, sign * t, -jnp.inf), 0)
        else:
            last = size - 1 - jnp.argmax(on[::-1], 0)
            index = jnp.argmax(on, 0) if at_kink == "first" else last
        return jax.nn.one_hot(index, size, dtype=t.dtype, axis=0)

    @jax.custom_jvp
    def function(x, draw):
        return value(x)

    @function.defjvp
    def rule(primals, tangents):
        (x, draw), (t, _) = primals, tangents
        y, dy = jax.jvp(value, (x,), (t,))
        on, t = places(x, jnp.nan) == y[None], places(t, 0)
        chosen = jnp.where(on, shares(on, t, draw) * t, 0).sum(0)
        dy = jnp.where(on.sum(0) > 1, chosen, dy)
        return y, _nonlinear.bind(dy) if at_kink == "direction" else dy

    return function(x, draw)


def _draw(distribution, at_kink, like):
    """Outside of the rule, which must not close over a traced key."""
    if isinstance(at_kink, Random) and jnp.issubdtype(like.dtype, jnp.floating):
        return distribution(at_kink.key, like.shape, like.dtype)
    return ()


def _transpose(cotangent, t):
    raise TypeError(
        'a kink with at_kink="direction" met reverse mode, which knows no direction: '
        "write subsel.kinks.grad(f)(x, along=d) for jax.grad(f)(x)"
    )


# The identity, on tangents that are not linear in the direction: jax.grad meets it
# first on its way back, and can be told so.
_nonlinear = Primitive("nonlinear_tangent")
_nonlinear.def_impl(lambda t: t)
_nonlinear.def_abstract_eval(lambda t: t)
mlir.register_lowering(_nonlinear, lambda _, t: [t])
batching.primitive_batchers[_nonlinear] = lambda t, axes: (_nonlinear.bind(*t), *axes)
ad.defjvp(_nonlinear, lambda t, _: t)
ad.primitive_transposes[_nonlinear] = _transpose
