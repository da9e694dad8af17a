"""Selectors: which element of the candidates' hull becomes the update.

A selector sees only K numbers of each kind, never a parameter, so it costs nothing
beside the two passes that make the Gram matrix and the weighted sum.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from subsel import arguments, linalg
from subsel.candidates import Candidates
from subsel.minnorm import min_norm_weights

KINDS = ("onehot", "simplex", "affine")


class Geometry(NamedTuple):
    """What a selector may know of K candidates."""

    gram: jax.Array  # [K, K] inner products, up to one common positive factor
    norm: jax.Array  # [K] Euclidean norms; gram may underflow where these do not
    valid: jax.Array  # [K] booleans; gram is zero, and weights must be, elsewhere
    age: jax.Array  # [K] int32, updates since the candidate was evaluated
    distance: jax.Array  # [K] Euclidean distance from the point; 0 where not measured
    newest: int | jax.Array  # index of the one that stands for no selection at all
    count: jax.Array  # type: ignore[assignment]  # int32, updates before this one
    part: int | None = None  # index of the leaf, where each leaf has a selection


class Selector(NamedTuple):
    """``weights(geometry) -> [K]`` and the set that the weights lie in.

    ``kind`` is ``"onehot"`` (the candidate is passed on bit for bit), ``"simplex"`` or
    ``"affine"``. Only the first two select from the hull, so only they may carry a
    stationarity certificate. ``rounding`` is what weights that are not 0 are each known
    to, in units of rounding: a sum that is shorter than that share of its longest term
    is taken for zero.

    Example:
        Softmin of the lengths, in ten lines; invalid candidates get no weight.

        >>> import jax, jax.numpy as jnp, subsel
        >>> def weights(geometry):
        ...     length = geometry.norm / jnp.max(geometry.norm)
        ...     return jax.nn.softmax(-length, where=geometry.valid)
        >>> softmin = subsel.Selector(weights, "simplex")
        >>> tx = subsel.select_subgradient(subsel.stacked(), softmin)
        >>> grads = jnp.array([[3.0, 0.0], [0.0, 3.0]])
        >>> tx.update(grads, tx.init(grads[0]))[0]
        Array([1.5, 1.5], dtype=float32)
    """

    weights: Callable[[Geometry], jax.Array]
    kind: str
    rounding: float = 0.0


def latest() -> Selector:
    """The newest candidate: what a program without selection does."""
    return Selector(
        lambda g: jax.nn.one_hot(g.newest, len(g.valid), dtype=g.gram.dtype), "onehot"
    )


def mean() -> Selector:
    """The mean of the valid candidates (Duchi, Bartlett and Wainwright 2012)."""
    return Selector(
        lambda g: g.valid.astype(g.gram.dtype) / jnp.sum(g.valid), "simplex"
    )


def mean_of_nonzero() -> Selector:
    """The mean of the valid candidates that are not exactly zero; zero if all are.

    With :func:`subsel.ball` this revives what is dead within the radius, where the
    shortest element of the hull is zero at any radius: zero is among the candidates.
    """

    def weights(g):
        alive = g.valid & (g.norm != 0)
        alive = jnp.where(alive.any(), alive, g.valid)
        return alive.astype(g.gram.dtype) / jnp.sum(alive)

    return Selector(weights, "simplex")


def uniform(seed: int = 0) -> Selector:
    """One of the valid candidates at random; the control of any other selector.

    The address of a draw is (seed, count), and the leaf where each has its own.
    """
    arguments.seed("uniform", seed)

    def weights(g):
        key = jax.random.fold_in(jax.random.key(seed), g.count)
        if g.part is not None:
            key = jax.random.fold_in(key, g.part)
        index = jax.random.categorical(key, jnp.where(g.valid, 0.0, -jnp.inf))
        return jax.nn.one_hot(index, len(g.valid), dtype=g.gram.dtype)

    return Selector(weights, "onehot")


def min_norm() -> Selector:
    """The shortest element of the hull (Wolfe 1976; Désidéri 2012).

    Zero where n of the candidates cancel to 8 n units of rounding, of which what is
    left is made: 3e-6 of the longest of three in float32. Thin hulls may leave more;
    where these are stationary, give ``tol`` or ``rtol``.
    """

    def weights(g):
        return min_norm_weights(g.gram, g.valid, g.norm)

    return Selector(weights, "simplex", rounding=8.0)


def optimistic() -> Selector:
    """Twice the newest less the one before it; outside of the hull, for games.

    With ``history(2)`` this is the optimistic, or past-extragradient, method (Popov
    1980; Daskalakis, Ilyas, Syrgkanis and Zeng 2018). The newest alone where there is
    no candidate of age 1.
    """

    def weights(g):
        newest = jax.nn.one_hot(g.newest, len(g.valid), dtype=g.gram.dtype)
        before = (g.valid & (g.age == 1)).astype(g.gram.dtype)
        return newest * (1 + jnp.sum(before)) - before

    return Selector(weights, "affine")


class Choice(NamedTuple):
    """What a selector chose."""

    selected: Any  # shaped like a candidate
    norm: jax.Array  # of the selection
    newest_norm: jax.Array  # of the newest candidate
    cosine: jax.Array  # between the selection and the newest candidate
    entropy: jax.Array  # of the weights, in nats


def choose(
    select: Selector, candidates: Candidates, count: jax.Array, part: int | None = None
) -> Choice:
    """The selection of a selector, of whole candidates or of one part of them.

    Lengths are divided by the largest among the valid candidates, so that no entry of
    the Gram matrix overflows.

    Raises:
        ValueError: the selector's weights are not ``[K]``.
    """
    valid = candidates.valid
    gram = linalg.common_scale(candidates.gram, jnp.where(valid, candidates.scale, 0))
    geometry = Geometry(
        gram=jnp.where(valid[:, None] & valid[None, :], gram, 0),
        norm=jnp.where(valid, linalg.root(jnp.diag(candidates.gram)), 0)
        * candidates.scale,
        valid=valid,
        age=candidates.age,
        distance=candidates.distance,
        newest=candidates.newest,
        count=count,
        part=part,
    )
    weights = jnp.asarray(select.weights(geometry), gram.dtype)
    if weights.shape != valid.shape:
        raise ValueError(
            f"the selector returned weights of shape {weights.shape}; expected "
            f"{valid.shape}, one for each candidate"
        )
    share = jnp.abs(weights) / jnp.sum(jnp.abs(weights))
    if select.kind == "onehot":
        index = jnp.argmax(weights)
        selected, norm = linalg.pick(candidates.rows, index), geometry.norm[index]
    else:
        selected = linalg.combine(candidates.rows, weights)
        # No conditional, as in linalg.norm: its operands would have to lie in memory.
        longest = longest_term(weights, geometry.norm)
        near = linalg.power_of_two(longest)
        unit = linalg.scale(selected, 1 / near)
        norm = near * linalg.root(linalg.inner(unit, unit))
        if select.rounding:
            nothing = cancels(norm, weights, geometry.norm, select.rounding)
            selected = jax.tree.map(lambda x: jnp.where(nothing, 0, x), selected)
            norm = jnp.where(nothing, 0, norm)
    return Choice(
        selected=selected,
        norm=norm,
        newest_norm=geometry.norm[geometry.newest],
        cosine=_cosine(candidates, weights),
        entropy=-jnp.sum(share * jnp.log(jnp.where(share == 0, 1, share))),
    )


def longest_term(weights, lengths):
    """The length of the longest ``weights[k] * g_k``, by the lengths of the g_k."""
    return jnp.max(jnp.where(weights == 0, 0, jnp.abs(weights) * lengths))


def cancels(norm, weights, lengths, rounding):
    """Whether a sum of this norm is zero, as far as its weights can tell."""
    known = rounding * jnp.sum(weights != 0) * jnp.finfo(norm.dtype).eps
    return norm <= known * longest_term(weights, lengths)


def _cosine(candidates: Candidates, weights):
    """Between the selection and the newest candidate, from the Gram matrix alone."""
    newest = candidates.newest
    involved = (weights != 0) | (jnp.arange(len(weights)) == newest)
    gram = jnp.where(involved[:, None] & involved[None, :], candidates.gram, 0)
    part = weights * candidates.scale
    top = jnp.max(jnp.abs(part))
    part = part / jnp.where(top == 0, 1, top)
    product = jnp.matmul(gram, part, precision=jax.lax.Precision.HIGHEST)
    lengths = (part @ product) * gram[newest, newest]
    cosine = product[newest] / jnp.sqrt(jnp.where(lengths <= 0, 1, lengths))
    return jnp.clip(cosine, -1, 1)
