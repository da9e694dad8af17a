"""Oracles that evaluate gradients at other points, through ``grad_fn``.

``tx.update(grads, state, params, grad_fn=grad_fn)`` takes a function from parameters to
gradients, on the same batch, dropout key and statistics as ``grads``: candidates that
differ in these would be variance reduction, not selection. Where nothing else uses the
incoming gradient, as in :func:`reflect`, XLA removes its computation.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from subsel import arguments, linalg
from subsel.candidates import Candidates, Oracle, at, from_rows, needed, stateless
from subsel.minnorm import min_norm_weights


def ball(size: int, radius: float | Callable, seed: int = 0) -> Oracle:
    r"""The gradient and ``size - 1`` others, at points uniform in a ball.

    .. math::
        y_k = x + r z_k, \qquad z_k \sim U(\{z : \|z\| \le 1\})

    With :func:`subsel.mean` this is randomised smoothing, with :func:`subsel.min_norm`
    and a line search gradient sampling. Costs ``size - 1`` evaluations, one after the
    other, and ``size`` times the parameters while it runs.

    Args:
        size: K, at least 1.
        radius: r, Euclidean, in the units of the parameters; a number or a schedule.
            Of P parameters each moves by r / sqrt(P) or so: where their dtype has no
            numbers that near, every point is x.
        seed: of the points; their keys are split from ``fold_in(key(seed), count)``.
            Another one than keys of your own are made of, or draws are the same.

    Raises:
        ValueError: ``size`` < 1, ``radius`` <= 0, or no ``params`` or ``grad_fn``.

    References:
        Burke, Lewis and Overton, A robust gradient sampling algorithm, 2005. Duchi,
        Bartlett and Wainwright, Randomized smoothing for stochastic optimization, 2012.
    """
    arguments.size("ball", 1, size)
    arguments.seed("ball", seed)
    arguments.number_or_schedule("ball", *arguments.POSITIVE, radius=radius)

    def propose(updates, context):
        params = needed(context, "params", "ball()")
        grad_fn = needed(context, "grad_fn", "ball()")
        reach = at(radius, context.count)

        def probe(key):
            offset = linalg.scale(linalg.unit_ball(key, params), reach)
            return grad_fn(linalg.add(params, offset)), linalg.norm(offset)

        keys = jax.random.split(_address(seed, context), size - 1)
        rows, distance = jax.lax.map(probe, keys)
        rows = [jax.tree.map(lambda x, k=k: x[k], rows) for k in range(size - 1)]
        distance = jnp.concatenate([jnp.zeros_like(distance, shape=1), distance])
        return from_rows((updates, *rows), newest=0, distance=distance)

    if size == 1:
        return stateless(lambda updates, context: from_rows((updates,)))
    return stateless(propose)


def segment(size: int, radius: float | Callable, seed: int = 0) -> Oracle:
    r"""Cuts from the segment that a Goldstein step would take (INGD).

    Starting from u, the gradient at x, each of ``size - 1`` evaluations is at a point

    .. math::
        y \sim U[x,\; x - r\, u / \|u\|],

    and u becomes the shortest vector between u and the gradient at y. The candidates
    are the last u and the last gradient (K = 2): :func:`subsel.min_norm` then finishes
    the search, and with ``scale="unit"`` and the learning rate r the step is
    Goldstein's. Memory is two copies of the parameters while it runs.

    Args:
        size: evaluations, the incoming one included; at least 2.
        radius: r, Euclidean, in the units of the parameters; a number or a schedule.
        seed: of the points; their keys are split from ``fold_in(key(seed), count)``.
            Another one than keys of your own are made of, or draws are the same.

    Raises:
        ValueError: ``size`` < 2, ``radius`` <= 0, or no ``params`` or ``grad_fn``.

    References:
        Zhang, Lin, Jegelka, Sra and Jadbabaie, Complexity of finding stationary points
        of nonsmooth nonconvex functions, 2020. Davis, Drusvyatskiy, Lee, Padmanabhan
        and Ye, A gradient sampling method with complexity guarantees, 2022.
    """
    arguments.size("segment", 2, size)
    arguments.seed("segment", seed)
    arguments.number_or_schedule("segment", *arguments.POSITIVE, radius=radius)

    def propose(updates, context):
        params = needed(context, "params", "segment()")
        grad_fn = needed(context, "grad_fn", "segment()")
        reach = jnp.asarray(at(radius, context.count), linalg.accumulator(updates))

        def cut(carry, key):
            u, newest, _ = carry
            weights = min_norm_weights(_relative_gram((u, newest)))
            u = linalg.combine((u, newest), weights)
            distance = reach * jax.random.uniform(key, dtype=weights.dtype)
            offset = linalg.resize(u, linalg.norm(u), -distance)
            newest = linalg.cast(grad_fn(linalg.add(params, offset)), u)
            return (u, newest, distance), None

        none = jnp.zeros((), linalg.accumulator(updates))
        keys = jax.random.split(_address(seed, context), size - 1)
        (u, newest, distance), _ = jax.lax.scan(cut, (updates, updates, none), keys)
        return from_rows((u, newest), distance=jnp.stack([none, distance]))

    return stateless(propose)


def lookahead(step: float | Callable | optax.GradientTransformation) -> Oracle:
    r"""The gradient, and the one at the point that a trial step leads to.

    .. math:: y = x - \eta\, g(x)

    The candidate at y counts as the newest. With :func:`subsel.latest`, the learning
    rate eta after it, and the descent fields of both players as one pytree, this is
    extragradient: ``update(field(z), state, z, grad_fn=field)``. Costs one evaluation.

    Args:
        step: eta, the learning rate of the trial step, a number or a schedule; or any
            Optax optimizer that makes the trial step, such as ``optax.adam(1e-3)``,
            whose state is then kept beside.

    Raises:
        ValueError: ``step`` <= 0, or no ``params`` or ``grad_fn`` in ``update``.

    References:
        Korpelevich, The extragradient method for finding saddle points, 1976. Gidel,
        Berard, Vignoud, Vincent and Lacoste-Julien, A variational inequality
        perspective on generative adversarial networks, 2019.
    """
    if not isinstance(step, optax.GradientTransformation):
        arguments.number_or_schedule("lookahead", *arguments.POSITIVE, step=step)
        step = optax.sgd(step)

    def trial(updates, state, context):
        return step.update(updates, state, context.params)

    def propose(updates, state, context):
        params = needed(context, "params", "lookahead()")
        grad_fn = needed(context, "grad_fn", "lookahead()")
        offset, _ = trial(updates, state, context)
        distance = linalg.norm(offset)
        return from_rows(
            (updates, grad_fn(linalg.add(params, offset))),
            distance=jnp.stack([jnp.zeros_like(distance), distance]),
        )

    def observe(state, candidates, selected, context):
        return trial(candidates.rows[0], state, context)[1]

    return Oracle(step.init, propose, observe)


class ReflectState(NamedTuple):
    """The point of the update before, and whether there was one."""

    previous: Any
    started: jax.Array


def reflect() -> Oracle:
    r"""The gradient at the reflection of the last point (K = 1).

    .. math:: y = 2 x_t - x_{t-1}

    Where the field is linear this is the optimistic method. In a game the field is that
    of all players: a player alone whose gradient does not depend on its own parameters,
    as in xy, has nothing to reflect. The incoming gradient is not used, so inside one
    compiled program this costs no extra evaluation. Memory: one copy of the parameters.

    Raises:
        ValueError: no ``params`` or ``grad_fn`` in ``update``.

    References:
        Malitsky, Projected reflected gradient methods for monotone variational
        inequalities, 2015.
    """

    def init(params):
        return ReflectState(jax.tree.map(jnp.zeros_like, params), jnp.zeros((), bool))

    def propose(updates, state, context) -> Candidates:
        params = needed(context, "params", "reflect()")
        grad_fn = needed(context, "grad_fn", "reflect()")
        ahead = jax.tree.map(lambda x, past: 2 * x - past, params, state.previous)
        return from_rows((grad_fn(linalg.where(state.started, ahead, params)),))

    def observe(state, candidates, selected, context):
        return ReflectState(context.params, jnp.ones((), bool))

    return Oracle(init, propose, observe)


def _address(seed, context):
    return jax.random.fold_in(jax.random.key(seed), context.count)


def _relative_gram(rows):
    """The Gram matrix of two vectors, up to a factor that keeps it in range."""
    pair = from_rows(rows)
    return linalg.common_scale(pair.gram, pair.scale)
