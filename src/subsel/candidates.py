"""Oracles: where the candidate (sub)gradients of a selection come from.

An oracle is an :class:`Oracle` of three pure functions. Its candidates are a tuple of
K pytrees shaped like the parameters, with the Gram matrix that the selectors work on.
A tuple of trees, and not one tree with a leading axis, so that every candidate keeps
the parameters' sharding and rank.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from subsel import linalg


class Context(NamedTuple):
    """What an oracle or a zero rule may look at beside its own state."""

    params: Any  # the point, or None where the caller passed none
    count: jax.Array  # int32, number of updates before this one
    grad_fn: Callable | None  # params -> gradients, or None


class Candidates(NamedTuple):
    """K candidates. ``gram`` is that of ``rows[k] / scale[k]``: nothing overflows."""

    rows: tuple  # K pytrees shaped like the parameters
    gram: jax.Array  # [K, K]
    scale: jax.Array  # [K] powers of two, near the candidates' norms
    valid: jax.Array  # [K] booleans: may be selected
    age: jax.Array  # [K] int32, updates since the candidate was evaluated
    distance: jax.Array  # [K] Euclidean distance from the point; 0 where not measured
    newest: int  # index of the one that stands for no selection at all


class Oracle(NamedTuple):
    """``init(params) -> state``, ``propose(updates, state, context) -> Candidates``,
    ``observe(state, candidates, selected, context) -> state``."""

    init: Callable
    propose: Callable
    observe: Callable


def from_rows(rows, newest: int = -1, **fields) -> Candidates:
    """Candidates from a tuple of pytrees: K norms and K (K - 1) / 2 inner products.

    Args:
        rows: the K pytrees. ``newest`` is the index of the one that stands for no
            selection at all: the gradient at the point, or at the trial point.
        **fields: any other field of :class:`Candidates`, instead of its default: all
            valid, of age and distance 0.
    """
    size = len(rows)
    norm = jnp.stack([linalg.norm(row) for row in rows])
    scale = linalg.power_of_two(norm)
    unit = [linalg.scale(row, 1 / s) for row, s in zip(rows, scale, strict=True)]
    upper = {(k, k): (norm[k] / scale[k]) ** 2 for k in range(size)}
    for k, j in itertools.combinations(range(size), 2):
        upper[k, j] = linalg.inner(unit[k], unit[j])
    gram = [[upper[min(k, j), max(k, j)] for j in range(size)] for k in range(size)]
    return Candidates(
        rows=tuple(rows),
        gram=jnp.array(gram),
        scale=scale,
        valid=jnp.ones(size, bool),
        age=jnp.zeros(size, jnp.int32),
        distance=jnp.zeros(size, scale.dtype),
        newest=newest % size,
    )._replace(**fields)


def stateless(propose: Callable) -> Oracle:
    """An oracle that carries nothing: ``propose(updates, context) -> Candidates``."""
    return Oracle(
        init=lambda params: (),
        propose=lambda updates, state, context: propose(updates, context),
        observe=lambda state, candidates, selected, context: state,
    )


def current() -> Oracle:
    """The gradient that came in, alone (K = 1). No memory."""
    return stateless(lambda updates, context: from_rows((updates,)))


def stacked() -> Oracle:
    """The incoming updates carry the candidates on a leading axis of every leaf.

    Microbatches, tasks, replicas or opponents: the caller's ``vmap`` or ``jacrev``
    makes them. Leaves are ``[K, *parameter_shape]``; the selection has the parameters'
    shapes. The last candidate counts as the newest.

    Raises:
        ValueError: leaves disagree on K, or do not fit the parameters, where given.
    """

    def propose(updates, context):
        named = jax.tree.leaves_with_path(updates)
        if not named:
            return from_rows((updates,))
        shapes = {jax.tree_util.keystr(path): x.shape for path, x in named}
        lead = named[0][1].shape[:1]
        points = [jnp.shape(x) for x in jax.tree.leaves(context.params)]
        points = points or [shape[1:] for shape in shapes.values()]
        fitting = dict(zip(shapes, [lead + p for p in points], strict=True))
        if lead in ((), (0,)) or shapes != fitting:
            raise ValueError(
                "stacked() takes updates with one leading axis of K candidates before "
                f"the shape of every parameter; the shapes are {shapes}, and {fitting} "
                "would fit"
            )
        (size,) = lead
        rows = [jax.tree.map(lambda x, k=k: x[k], updates) for k in range(size)]
        return from_rows(rows)

    return stateless(propose)


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
    if size < 1:
        raise ValueError(f"history(size={size}): expected at least 1 candidate")
    if isinstance(max_distance, int | float) and max_distance < 0:
        raise ValueError(f"history(max_distance={max_distance}): expected at least 0")
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
    if not 0 <= floor <= 1:
        raise ValueError(f"aggregate(floor={floor}): expected a weight in [0, 1]")

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


def at(number, count):
    """The value of a number or of a schedule at ``count``."""
    return number(count) if callable(number) else number


def needed(context: Context, field: str, who: str):
    """A field of the context that ``who`` cannot do without."""
    given = getattr(context, field)
    if given is None:
        calls = {
            "params": "tx.update(updates, state, params)",
            "grad_fn": "tx.update(updates, state, params, grad_fn=grad_fn), grad_fn "
            "being a function from parameters to gradients",
        }
        raise ValueError(f"{who} needs {field}; call {calls[field]}")
    return given
