"""Selectors: which element of the candidates' hull becomes the update.

A selector sees only K numbers of each kind, never a parameter, so it costs nothing
beside the two passes that make the Gram matrix and the weighted sum.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from subsel.minnorm import min_norm_weights

KINDS = ("onehot", "simplex", "affine")


class Geometry(NamedTuple):
    """What a selector may know of K candidates."""

    gram: jax.Array  # [K, K] inner products, up to one common positive factor
    norm: jax.Array  # [K] Euclidean norms; gram may underflow where these do not
    valid: jax.Array  # [K] booleans; gram is zero, and weights must be, elsewhere
    age: jax.Array  # [K] int32, updates since the candidate was evaluated
    distance: jax.Array  # [K] Euclidean distance from the point; 0 where not measured
    newest: int  # index of the one that stands for no selection at all


class Selector(NamedTuple):
    """``weights(geometry) -> [K]`` and the set that the weights lie in.

    ``kind`` is ``"onehot"`` (the candidate is passed on bit for bit), ``"simplex"`` or
    ``"affine"``. Only the first two select from the hull, so only they may carry a
    stationarity certificate.
    """

    weights: Callable[[Geometry], jax.Array]
    kind: str


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


def min_norm() -> Selector:
    """The shortest element of the hull (Wolfe 1976; Désidéri 2012)."""
    return Selector(lambda g: min_norm_weights(g.gram, g.valid, g.norm), "simplex")


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
