"""The transform: candidates x selector x zero rule, as one Optax transformation.

In one file because the greater part of it is one function and its contract.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from subsel import arguments, linalg
from subsel.candidates import Context, Oracle, at, by_leaf, current
from subsel.selection import KINDS, Choice, Selector, choose, latest
from subsel.zero import Zero, ZeroRule, stop

SCALES = {
    "raw": lambda choice: choice.selected,
    "unit": lambda choice: linalg.resize(choice.selected, choice.norm, 1.0),
    "match": lambda choice: linalg.resize(
        choice.selected, choice.norm, choice.newest_norm
    ),
}
GRANULARITIES = ("tree", "leaf")
COMPARISONS = ("newest", "incoming")
_DECAY = 0.99  # of the running norm that ``rtol`` refers to


class SelectReport(NamedTuple):
    """What the last update did; for logs, by ``optax.tree.get(state, "cosine")``."""

    selected_norm: jax.Array  # Euclidean norm of the selection, before ``scale``
    norm_ratio: jax.Array  # that, over the norm of the newest candidate
    cosine: jax.Array  # between the selection and what ``compare`` says
    entropy: jax.Array  # of the weights, in nats; a mean over leaves
    fired: jax.Array  # whether the zero rule acted
    firings: jax.Array  # int32, how often it has acted so far


class SelectState(NamedTuple):
    """State of :func:`select_subgradient`."""

    count: jax.Array  # type: ignore[assignment]  # int32, number of updates so far
    oracle: Any
    zero: Any
    running_norm: jax.Array  # moving average of the norms that were not small
    streak: jax.Array  # int32, small selections in a row
    report: SelectReport


def select_subgradient(
    candidates: Oracle | None = None,
    select: Selector | None = None,
    on_zero: ZeroRule | None = None,
    scale: str = "raw",
    *,
    granularity: str = "tree",
    compare: str = "newest",
    tol: float | Callable = 0.0,
    rtol: float | Callable = 0.0,
    patience: int = 1,
) -> optax.GradientTransformationExtraArgs:
    r"""Choose which element of the candidates' hull becomes the update.

    With candidates :math:`g_1 \dots g_K` and their Gram matrix G, a selector w and a
    zero rule z, the update is

    .. math::
        u = \sum_k w_k(G)\, g_k, \qquad
        u' = \begin{cases} s(u) & \|u\| > \tau \\ z(u) & \text{otherwise}\end{cases}
        \qquad \tau = \max(\text{tol}, \text{rtol} \cdot \overline{\|u\|})

    where s is ``scale``. The defaults are the identity, bit for bit. Use it in a chain
    before a preconditioner (the selection is then Euclidean), or after it.

    Args:
        candidates: where candidates come from; :func:`subsel.current` by default.
        select: which element is taken; :func:`subsel.latest` by default.
        on_zero: what is done when the element is small; :func:`subsel.stop` by default.
        scale: ``"raw"``; ``"unit"`` (u / |u|: the step length is then the learning
            rate); ``"match"`` (the length of the newest candidate). Zero stays zero,
            and what a zero rule emits keeps its own length.
        granularity: ``"tree"``, one selection for all parameters; or ``"leaf"``, one
            for each leaf, its length scaled by itself. Zero rules see the whole update
            in both.
        compare: what the reported cosine is to, the ``"newest"`` candidate or the
            ``"incoming"`` update. They differ for rules that evaluate elsewhere; for
            :func:`subsel.reflect`, which has no use for the latter, it then has to be
            computed.
        tol: selections of at most this Euclidean norm are small; a number or a schedule
            of the count. 0 means exactly zero, or what a selector such as
            :func:`subsel.min_norm` takes for it.
        rtol: the same, relative to the running norm of the selections so far.
        patience: the zero rule acts from this many small selections in a row.

    Returns:
        An ``optax.GradientTransformationExtraArgs``. Its ``update`` takes ``grad_fn``
        (parameters to gradients) and ``value_fn`` (to values), for rules that evaluate,
        and ignores extra arguments that it does not know. Without such a rule it needs
        none of ``params``, ``grad_fn`` and ``value_fn``.

    Raises:
        ValueError: unknown ``scale``, ``granularity``, ``compare`` or kind of selector,
            a selector whose weights are not ``[K]``, negative tolerances, ``patience``
            < 1, stacked updates with ``compare="incoming"``, updates of another tree
            structure than the parameters, or an argument that a rule needs and
            ``update`` was not given; at construction or at trace time.
        TypeError: an argument that is no oracle, selector or zero rule; a parameter
            that is neither real nor complex, from ``init``.

    Example:
        >>> import jax, jax.numpy as jnp, optax, subsel
        >>> tx = optax.chain(
        ...     subsel.select_subgradient(subsel.history(2), subsel.min_norm()),
        ...     optax.scale_by_learning_rate(0.1),
        ... )
        >>> params = jnp.array([1.0, -2.0])
        >>> state = tx.init(params)
        >>> updates, state = tx.update(jax.grad(lambda x: abs(x).sum())(params), state)
        >>> updates
        Array([-0.1,  0.1], dtype=float32)

    References:
        Clarke, Optimization and Nonsmooth Analysis, 1983. Goldstein, Optimization of
        Lipschitz continuous functions, 1977.
    """
    candidates = current() if candidates is None else candidates
    select = latest() if select is None else select
    on_zero = stop() if on_zero is None else on_zero
    arguments.kind("candidates", candidates, Oracle, "subsel.history(4)")
    arguments.kind("select", select, Selector, "subsel.min_norm()")
    arguments.kind("on_zero", on_zero, ZeroRule, "subsel.last()")
    if scale not in SCALES:
        raise ValueError(f"scale={scale!r}: expected one of {tuple(SCALES)}")
    if granularity not in GRANULARITIES:
        raise ValueError(
            f"granularity={granularity!r}: expected one of {GRANULARITIES}"
        )
    if compare not in COMPARISONS:
        raise ValueError(f"compare={compare!r}: expected one of {COMPARISONS}")
    if select.kind not in KINDS:
        raise ValueError(f"a selector of kind {select.kind!r}: expected one of {KINDS}")
    rescaled = SCALES[scale]
    at_once = isinstance(patience, int) and patience == 1
    called = "select_subgradient"
    arguments.number_or_schedule(called, *arguments.at_least(0), tol=tol, rtol=rtol)
    arguments.number(called, *arguments.at_least(1), patience=patience)

    def init(params):
        _require_inexact(params)

        # Every field its own array: a state whose fields share one cannot be donated.
        def number():
            return jnp.zeros((), linalg.accumulator(params))

        def none():
            return jnp.zeros((), jnp.int32)

        return SelectState(
            count=none(),
            oracle=candidates.init(params),
            zero=on_zero.init(params),
            running_norm=number(),
            streak=none(),
            report=SelectReport(
                selected_norm=number(),
                norm_ratio=number(),
                cosine=number(),
                entropy=number(),
                fired=jnp.zeros((), bool),
                firings=none(),
            ),
        )

    def update(
        updates, state, params=None, *, grad_fn=None, value_fn=None, **extra_args
    ):
        del extra_args
        updates, params = jax.tree.map(jnp.asarray, (updates, params))  # Python numbers
        if params is not None:
            _require_structure(updates, params)
        context = Context(params, state.count, grad_fn, value_fn)
        proposed = candidates.propose(updates, state.oracle, context)
        if params is not None:
            _require_shapes(proposed.rows, params)
        leaves, structure = jax.tree.flatten(updates)
        by_leaves = granularity == "leaf" and len(leaves) > 1
        if by_leaves:
            parts = enumerate(by_leaf(proposed))
            choices = [choose(select, part, state.count, i) for i, part in parts]
        else:
            choices = [choose(select, proposed, state.count)]
        norm = _together([choice.norm for choice in choices])

        threshold = jnp.maximum(
            at(tol, state.count), at(rtol, state.count) * state.running_norm
        ).astype(norm.dtype)
        small = norm <= threshold
        streak = jnp.where(small, optax.safe_increment(state.streak), 0)
        if at_once:  # constants that XLA sees through
            fired, waiting = small, jnp.zeros((), bool)
        else:
            fired = streak >= patience
            waiting = small & ~fired
        zero = Zero(fired, waiting, norm, threshold)
        pieces = [choice.selected for choice in choices]
        scaled = [linalg.where(zero.fired, c.selected, rescaled(c)) for c in choices]
        if by_leaves:
            selected, emitted = map(structure.unflatten, (pieces, scaled))
        else:
            (selected,), (emitted,) = pieces, scaled
        emitted, zero_state = on_zero.apply(emitted, state.zero, zero, context)

        report = _report(
            choices,
            zero.fired,
            state.report.firings + zero.fired.astype(jnp.int32),
        )
        if compare == "incoming":
            _require_candidate(selected, updates)
            report = report._replace(cosine=linalg.cosine(selected, updates))
        following = SelectState(
            count=optax.safe_increment(state.count),
            oracle=candidates.observe(state.oracle, proposed, selected, context),
            zero=zero_state,
            running_norm=_running(state.running_norm, norm, small),
            streak=streak,
            report=report,
        )
        # Gradients may be wider than the parameters: neither the updates nor the state
        # then change their dtypes from one step to the next.
        return linalg.cast(emitted, updates), linalg.cast(following, state)

    return optax.GradientTransformationExtraArgs(init, update)


def _running(before, norm, small):
    """The moving average of the norms that were neither small nor NaN or infinite."""
    after = jnp.where(before > 0, before * _DECAY + norm * (1 - _DECAY), norm)
    return jnp.where(small | ~jnp.isfinite(norm), before, after)


def _together(lengths):
    """The Euclidean norm of a tree, from those of its parts."""
    return lengths[0] if len(lengths) == 1 else linalg.norm(lengths)


def _report(choices: list[Choice], fired, firings) -> SelectReport:
    """Over all leaves."""
    norm = _together([choice.norm for choice in choices])
    newest = _together([choice.newest_norm for choice in choices])
    lengths = [length + (length == 0) for length in (norm, newest)]
    return SelectReport(
        selected_norm=norm,
        norm_ratio=norm / lengths[1],
        cosine=sum(
            choice.cosine
            * (choice.norm / lengths[0])
            * (choice.newest_norm / lengths[1])
            for choice in choices
        ),
        entropy=jnp.asarray(sum(choice.entropy for choice in choices) / len(choices)),
        fired=fired,
        firings=firings,
    )


def _require_inexact(params):
    for path, leaf in jax.tree.leaves_with_path(params):
        dtype = jnp.result_type(leaf)
        if not jnp.issubdtype(dtype, jnp.inexact):
            raise TypeError(
                f"parameter {jax.tree_util.keystr(path)} has dtype {dtype}; expected a "
                "real or complex one; leave it out of the tree, or wrap the transform "
                "in optax.masked"
            )


def _require_shapes(rows, params):
    """Or a column would be broadcast against a row, and the step be of a wrong size."""
    expected = _shapes(params)
    for given in map(_shapes, reversed(rows)):  # what was given is the last
        if given != expected:
            raise ValueError(
                f"the updates have the shapes {given}; expected those of the "
                f"parameters, {expected}"
            )


def _shapes(tree):
    return [jnp.shape(x) for x in jax.tree.leaves(tree)]


def _require_candidate(selected, updates):
    shapes = [_shapes(selected), _shapes(updates)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f'compare="incoming": the incoming updates have the shapes {shapes[1]} and '
            f"the selection {shapes[0]}, so there is no one vector to compare it with; "
            'use compare="newest"'
        )


def _require_structure(updates, params):
    given, expected = jax.tree.structure(updates), jax.tree.structure(params)
    if given != expected:
        raise ValueError(
            f"the updates are structured as {given}; expected the structure of the "
            f"parameters, {expected}"
        )
