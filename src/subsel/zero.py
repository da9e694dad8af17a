"""Zero rules: what is done when the selection is (nearly) zero.

A rule is a :class:`ZeroRule`. Its ``apply`` runs in every step, inside the compiled
program; where ``zero.fired`` does not hold it must return the update bit for bit.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from subsel import arguments, linalg
from subsel.candidates import at, needed


class Zero(NamedTuple):
    """What a zero rule is told about the selection of this step."""

    fired: jax.Array  # the selection has been small for long enough: act
    waiting: jax.Array  # it is small, but not for long enough yet
    norm: jax.Array  # Euclidean norm of the selection
    threshold: jax.Array


class ZeroRule(NamedTuple):
    """``init(params) -> state`` and
    ``apply(update, state, zero, context) -> (update, state)``."""

    init: Callable
    apply: Callable


def stop() -> ZeroRule:
    """Stationary: emit zero. What is zero already is passed on bit for bit."""

    def apply(update, state, zero, context):
        zeros = jax.tree.map(jnp.zeros_like, update)
        return linalg.where(zero.fired & (zero.norm > 0), zeros, update), state

    return ZeroRule(lambda params: (), apply)


def last() -> ZeroRule:
    """Emit the update before once more. Memory: one copy of the parameters.

    With patience, small updates that were let through are not remembered.
    """

    def apply(update, state, zero, context):
        update = linalg.where(zero.fired, state, update)
        # Without patience this is the update itself: no second array is written.
        return update, linalg.where(zero.waiting, state, update)

    return ZeroRule(lambda params: jax.tree.map(jnp.zeros_like, params), apply)


def rescale(floor: float | Callable | None = None) -> ZeroRule:
    """Keep the direction and lengthen it to ``floor``; an exact zero stays zero.

    What is longer than the floor, though it is small, stays as it is.

    Args:
        floor: the length restored, a number or a schedule of the count; the threshold
            itself if left out, which makes the emitted length continuous in the norm.

    Raises:
        ValueError: ``floor`` is not positive.
    """
    if floor is not None:
        arguments.number_or_schedule("rescale", *arguments.POSITIVE, floor=floor)

    def apply(update, state, zero, context):
        length = zero.threshold if floor is None else at(floor, context.count)
        length = jnp.maximum(length, zero.norm)
        lengthened = linalg.resize(update, zero.norm, length)
        return linalg.where(zero.fired, lengthened, update), state

    return ZeroRule(lambda params: (), apply)


def explore(radius: float | Callable, seed: int = 0) -> ZeroRule:
    """Emit a random vector, uniform in the ball of ``radius``.

    Raises:
        ValueError: ``radius`` is not positive.
    """
    arguments.number_or_schedule("explore", *arguments.POSITIVE, radius=radius)
    arguments.seed("explore", seed)

    def apply(update, state, zero, context):
        def draw(update):
            key = jax.random.fold_in(jax.random.key(seed), context.count)
            return linalg.scale(
                linalg.unit_ball(key, update), at(radius, context.count)
            )

        return _when(zero.fired, draw, lambda update: update, update), state

    return ZeroRule(lambda params: (), apply)


class ExpandState(NamedTuple):
    """How many gradients the rule has evaluated so far."""

    evaluations: jax.Array


def expand(
    radius: float | Callable = 1e-2,
    growth: float = 2.0,
    cap: float = 100.0,
    size: int = 8,
    seed: int = 0,
) -> ZeroRule:
    """Look for life in a growing ball; the mean of the gradients that are not zero.

    ``size`` points are drawn uniformly from the ball of ``radius`` around the
    parameters, and the ball grows by ``growth`` until one of their gradients is neither
    zero nor NaN nor infinite, or until ``cap``. Of these, the minimum-norm element
    would be 0 at any radius, for 0 is among them; the mean of the others is not, and
    revives a dead unit. Gradients are evaluated one after the other, and only when the
    rule fires (under ``vmap``: whenever any member's fires).

    Args:
        radius: first radius, Euclidean, in the units of the parameters.
        growth: factor from one ball to the next.
        cap: largest radius tried; past it the update stays zero.
        size: points in each ball.
        seed: of the points; the address of a draw is (seed, count, ball, point).

    Raises:
        ValueError: an argument out of range, or no ``params`` or ``grad_fn`` in
            ``update``.
    """
    arguments.size("expand", 1, size)
    arguments.seed("expand", seed)
    arguments.number_or_schedule("expand", *arguments.POSITIVE, radius=radius)
    arguments.number("expand", *arguments.POSITIVE, cap=cap)
    growing = "a number of more than 1", lambda x: x > 1
    arguments.number("expand", *growing, growth=growth)
    if isinstance(radius, int | float):
        beyond = f"a number of at least the first radius, {radius}"
        arguments.number("expand", beyond, lambda x: x >= radius, cap=cap)

    def search(update, zero, context, params, grad_fn):
        base = jax.random.fold_in(jax.random.key(seed), context.count)

        def probe(carry, key):
            total, alive, reach = carry
            offset = linalg.scale(linalg.unit_ball(key, params), reach)
            gradient = grad_fn(jax.tree.map(jnp.add, params, offset))
            gradient = linalg.cast(gradient, total)
            length = linalg.norm(gradient)
            lives = (length != 0) & jnp.isfinite(length)  # f need not be so far away
            total = linalg.where(lives, jax.tree.map(jnp.add, total, gradient), total)
            return (total, alive + lives, reach), None

        def ball(carry):
            total, alive, reach, tried = carry
            keys = jax.random.split(jax.random.fold_in(base, tried), size)
            (total, alive, _), _ = jax.lax.scan(probe, (total, alive, reach), keys)
            return total, alive, reach * growth, tried + 1

        def searching(carry):
            total, alive, reach, tried = carry
            # Under vmap this also runs for members whose rule has not fired.
            return zero.fired & (alive == 0) & (reach <= last)

        wide = linalg.accumulator(update)
        zeros = jax.tree.map(
            lambda x: jnp.zeros_like(x, jnp.promote_types(x.dtype, wide)), update
        )
        first = linalg.nought(update) + at(radius, context.count)
        last = jnp.minimum(cap, jnp.finfo(first.dtype).max)
        none = linalg.nought(update, jnp.int32)
        total, alive, _, tried = jax.lax.while_loop(
            searching, ball, (zeros, none, first, none)
        )
        mean = linalg.scale(total, 1 / jnp.maximum(alive, 1))
        return linalg.cast(mean, update), tried * size

    def apply(update, state, zero, context):
        given = [needed(context, name, "expand()") for name in ("params", "grad_fn")]
        update, spent = _when(
            zero.fired,
            lambda update: search(update, zero, context, *given),
            lambda update: (update, linalg.nought(update, jnp.int32)),
            update,
        )
        return update, ExpandState(state.evaluations + spent)

    return ZeroRule(lambda params: ExpandState(jnp.zeros((), jnp.int32)), apply)


def ladder(*rules: ZeroRule) -> ZeroRule:
    """Try rules in turn, each on the selection, until one emits more than zero."""
    for rule in rules:
        arguments.kind("a rung of ladder", rule, ZeroRule, "subsel.last()")

    def apply(selection, states, zero, context):
        following, update = [], selection
        for rule, state in zip(rules, states, strict=True):
            update = linalg.where(zero.fired, selection, update)
            update, state = rule.apply(update, state, zero, context)
            following.append(state)
            zero = zero._replace(fired=zero.fired & linalg.is_zero(update))
        return update, tuple(following)

    return ZeroRule(lambda params: tuple(rule.init(params) for rule in rules), apply)


def _when(fired, act, otherwise, update):
    """``lax.cond``, which outside of jit would compile both anew at every update."""
    if isinstance(fired, jax.core.Tracer):
        return jax.lax.cond(fired, act, otherwise, update)
    return act(update) if fired else otherwise(update)
