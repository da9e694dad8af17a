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

_UNROLLED = 3  # candidates of which every product is an operation of its own


class Context(NamedTuple):
    """What an oracle or a zero rule may look at beside its own state."""

    params: Any  # the point, or None where the caller passed none
    count: jax.Array  # type: ignore[assignment]  # int32, updates before this one
    grad_fn: Callable | None  # params -> gradients, or None
    value_fn: Callable | None = None  # params -> a scalar, or None


class Candidates(NamedTuple):
    """K candidates. ``gram`` is that of ``rows[k] / scale[k]``: nothing overflows."""

    rows: tuple  # K pytrees shaped like the parameters
    gram: jax.Array  # [K, K]
    scale: jax.Array  # [K] powers of two, near the candidates' norms
    valid: jax.Array  # [K] booleans: may be selected
    age: jax.Array  # [K] int32, updates since the candidate was evaluated
    distance: jax.Array  # [K] Euclidean distance from the point; 0 where not measured
    newest: int | jax.Array  # index of the one that stands for no selection at all
    aux: Any = ()  # whatever the oracle's propose has to tell its observe


class Oracle(NamedTuple):
    """``init(params) -> state``, ``propose(updates, state, context) -> Candidates``,
    ``observe(state, candidates, selected, context) -> state``.

    Example:
        Two candidates, the gradient and its sign; :func:`stateless` makes the oracle.

        >>> import jax, jax.numpy as jnp, subsel
        >>> def propose(updates, context):
        ...     signs = jax.tree.map(jnp.sign, updates)
        ...     return subsel.from_rows((signs, updates))
        >>> signs = subsel.stateless(propose)
        >>> tx = subsel.select_subgradient(signs, subsel.mean())
        >>> grads = jnp.array([3.0, -2.0])
        >>> tx.update(grads, tx.init(grads))[0]
        Array([ 2. , -1.5], dtype=float32)
    """

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
    if size <= _UNROLLED or not jax.tree.leaves(rows):
        norm, scale, gram = _one_by_one(rows)
    else:
        norm, scale, gram = _as_one(jax.tree.map(lambda *x: jnp.stack(x), *rows))
    return Candidates(
        rows=tuple(rows),
        gram=gram,
        scale=scale,
        valid=jnp.ones(size, bool),
        age=jnp.zeros(size, jnp.int32),
        distance=jnp.zeros(size, scale.dtype),
        newest=newest % size,
    )._replace(**fields)


def _one_by_one(rows):
    """Norms, scales and inner products of few: nothing is copied."""
    size = len(rows)
    norm = jnp.stack([linalg.norm(row) for row in rows])
    scale = linalg.power_of_two(norm)
    unit = [linalg.scale(row, 1 / s) for row, s in zip(rows, scale, strict=True)]
    upper = {(k, k): (norm[k] / scale[k]) ** 2 for k in range(size)}
    for k, j in itertools.combinations(range(size), 2):
        upper[k, j] = linalg.inner(unit[k], unit[j])
    gram = [[upper[min(k, j), max(k, j)] for j in range(size)] for k in range(size)]
    return norm, scale, jnp.array(gram)


@jax.jit  # without it, a call outside of jit would compile the loop anew
def _as_one(stack):
    """The same of many, ``[K, …]``: the program's size does not grow with K."""
    norm = jax.lax.map(linalg.norm, stack)  # vmap would take both of its branches
    scale = linalg.power_of_two(norm)
    unit = jax.vmap(linalg.scale)(stack, 1 / scale)
    against = jax.vmap(linalg.inner, in_axes=(None, 0))
    gram = jax.vmap(against, in_axes=(0, None))(unit, unit)
    diagonal = jnp.eye(len(norm), dtype=bool)
    return norm, scale, jnp.where(diagonal, (norm / scale) ** 2, gram)


def by_leaf(candidates: Candidates) -> list[Candidates]:
    """The same candidates, each leaf on its own: one :class:`Candidates` a leaf."""
    rows = zip(*map(jax.tree.leaves, candidates.rows), strict=True)
    known = candidates._asdict()
    shared = {name: known[name] for name in ("newest", "valid", "age", "distance")}
    return [from_rows(row, **shared) for row in rows]


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
            "value_fn": "tx.update(…, value_fn=value_fn), value_fn being a function "
            "from parameters to the value that is minimised",
        }
        raise ValueError(f"{who} needs {field}; call {calls[field]}")
    if field == "grad_fn":
        return _checked(given, lambda point: point, "gradients, as jax.grad(f) does")
    if field == "value_fn":
        return _checked(given, lambda point: jnp.zeros(()), "a scalar")
    return given


def _checked(function, like, what):
    """The function, refusing at its first call what would be broadcast, or worse."""

    def call(point):
        trees = returned, expected = function(point), like(point)
        kinds = [jax.tree.structure(tree) for tree in trees]
        shapes = [[jnp.shape(x) for x in jax.tree.leaves(tree)] for tree in trees]
        if kinds[0] != kinds[1] or shapes[0] != shapes[1]:
            found, wanted = (jax.tree.map(jnp.shape, tree) for tree in trees)
            name = getattr(function, "__name__", "a function")
            raise ValueError(
                f"{name} returned what is shaped as {found}; expected {what}: {wanted}"
            )
        return returned

    return call
