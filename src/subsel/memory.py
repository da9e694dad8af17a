"""Oracles that remember: candidates from earlier updates, at no extra evaluation."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from subsel import arguments, linalg
from subsel.candidates import Candidates, Oracle, at, current, from_rows, needed


class HistoryState(NamedTuple):
    """Ring of the last size - 1 gradients; the Gram matrix of the ring is kept."""

    rows: tuple
    points: tuple  # where each was taken; empty where distances are not asked for
    gram: jax.Array
    scale: jax.Array
    taken: jax.Array  # int32 count at which each was taken, -1 for an empty slot


def history(size: int, max_distance: float | Callable | None = None) -> Oracle:
    """The last ``size`` gradients, the incoming one included.

    Memory is (size - 1) times the parameters, twice that with ``max_distance``: points
    are then kept, so that distances are exact. Each update computes ``size`` new inner
    products; the rest of the Gram matrix is carried.

    Args:
        size: K, at least 1.
        max_distance: candidates taken further away than this (Euclidean, in the units
            of the parameters) are left out; a number or a schedule of the count.
            Needs ``params`` in ``update``.

    Raises:
        ValueError: ``size`` < 1, ``max_distance`` < 0, or no ``params`` where needed.
    """
    arguments.size("history", 1, size)
    if max_distance is not None:
        least = arguments.at_least(0)
        arguments.number_or_schedule("history", *least, max_distance=max_distance)
    if size == 1:
        return current()
    slots = range(size - 1)

    def init(params):
        def ring():
            return tuple(jax.tree.map(jnp.zeros_like, params) for _ in slots)

        dtype = linalg.accumulator(params)
        return HistoryState(
            rows=ring(),
            points=() if max_distance is None else ring(),
            gram=jnp.zeros((size - 1, size - 1), dtype),
            scale=jnp.ones(size - 1, dtype),
            taken=jnp.full(size - 1, -1, jnp.int32),
        )

    def propose(updates, state, context):
        valid = state.taken >= 0
        distance = jnp.zeros_like(state.scale)
        if max_distance is not None:
            point = needed(context, "params", "history(max_distance=…)")
            moved = [jax.tree.map(jnp.subtract, point, past) for past in state.points]
            distance = jnp.stack([linalg.norm(move) for move in moved])
            valid &= distance <= at(max_distance, context.count)
        norm = linalg.norm(updates)
        scale = linalg.power_of_two(norm)
        unit = linalg.scale(updates, 1 / scale)
        cross = jnp.stack(
            [
                linalg.inner(unit, linalg.scale(row, 1 / s))
                for row, s in zip(state.rows, state.scale, strict=True)
            ]
        )
        edge = jnp.append(cross, (norm / scale) ** 2)[None, :]
        gram = jnp.concatenate([state.gram, cross[None, :]])
        return Candidates(
            rows=(*state.rows, updates),
            gram=jnp.concatenate([gram, edge.T], axis=1),
            scale=jnp.append(state.scale, scale),
            valid=jnp.append(valid, True),
            age=jnp.append(context.count - state.taken, 0).astype(jnp.int32),
            distance=jnp.append(distance, 0),
            newest=size - 1,
        )

    def observe(state, candidates, selected, context):
        slot = jnp.argmin(state.taken)

        def put(ring, new):
            return tuple(
                linalg.where(slot == k, new, old) for k, old in enumerate(ring)
            )

        row = candidates.gram[-1, :-1].at[slot].set(candidates.gram[-1, -1])
        return HistoryState(
            rows=put(state.rows, candidates.rows[-1]),
            points=put(state.points, context.params),
            gram=state.gram.at[slot, :].set(row).at[:, slot].set(row),
            scale=state.scale.at[slot].set(candidates.scale[-1]),
            taken=state.taken.at[slot].set(context.count),
        )

    return Oracle(init, propose, observe)


class AggregateState(NamedTuple):
    """The previous selection, and whether there has been one."""

    selected: Any
    started: jax.Array


def aggregate(floor: float = 0.1) -> Oracle:
    """The previous selection and the incoming gradient (Kiwiel 1985). K = 2, memory 1.

    The hull is that of ``(1 - floor) * previous + floor * gradient`` and the gradient:
    the weight of the newest is at least ``floor``, so that a selection that has become
    zero does not stay so.

    Args:
        floor: smallest weight of the incoming gradient, in [0, 1].

    Raises:
        ValueError: ``floor`` outside of [0, 1].
    """
    weight = "a weight in [0, 1]", lambda x: 0 <= x <= 1
    arguments.number("aggregate", *weight, floor=floor)

    def init(params):
        return AggregateState(jax.tree.map(jnp.zeros_like, params), jnp.zeros((), bool))

    def propose(updates, state, context):
        weights = jnp.array([1 - floor, floor], linalg.accumulator(updates))
        past = linalg.combine((state.selected, updates), weights)
        valid = jnp.stack([state.started, jnp.ones((), bool)])
        return from_rows((past, updates), valid=valid, age=jnp.array([1, 0], jnp.int32))

    def observe(state, candidates, selected, context):
        return AggregateState(selected, jnp.ones((), bool))

    return Oracle(init, propose, observe)
