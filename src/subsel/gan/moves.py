"""How the two players move in a step: one after the other, or both at once.

A move is a function ``(state, draw) -> (state, metrics)``; ``draw(i)`` is the i-th
batch of the step. It moves the parameters and what belongs to them; the count of steps
and the averages over steps are :mod:`subsel.gan.step`'s.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from subsel.gan import snapshots
from subsel.gan.objective import Pair


def alternating(
    gradient: Pair, tx: Pair, d_steps: int, earlier: snapshots.Snapshots | None = None
) -> Callable:
    """D moves ``d_steps`` times, then G against the new D, and ``earlier`` ones.

    G is shown what D was shown last, so that with one step of D, G runs forward once.
    What is reported of D is the mean over its steps.
    """
    of_g = snapshots.gradient(gradient.g, earlier)

    def move(state, draw):
        def improve(carry, i, batch):
            params, stats, opt = carry
            count = d_steps * state.step + i

            def found_at(params):
                both = state.params._replace(d=params), state.stats._replace(d=stats)
                return gradient.d(*both, batch, count)

            found = found_at(params)
            params, opt, seen = _update("d", tx.d, found.grads, opt, params, found_at)
            return (params, found.stats, opt), found.report | seen

        d = state.params.d, state.stats.d, state.opt.d
        if d_steps > 1:
            d, earlier = jax.lax.scan(
                lambda d, i: improve(d, i, draw(i)), d, jnp.arange(d_steps - 1)
            )
        batch = draw(d_steps - 1)
        (d, d_stats, d_opt), d_seen = improve(d, d_steps - 1, batch)
        if d_steps > 1:
            d_seen = jax.tree.map(
                lambda before, last: (jnp.sum(before) + last) / d_steps, earlier, d_seen
            )
        stats = state.stats._replace(d=d_stats)

        def found_at(params):
            return of_g(state, Pair(d, params), stats, batch, d_steps * state.step)

        found, selected = found_at(state.params.g)
        g, g_opt, g_seen = _update(
            *("g", tx.g, found.grads, state.opt.g, state.params.g),
            lambda params: found_at(params)[0],
        )
        state = state._replace(
            params=Pair(d, g),
            stats=Pair(d_stats, found.stats),
            opt=Pair(d_opt, g_opt),
            selection=selected,
        )
        g_seen |= _reports("snapshots", selected)
        return state, d_seen | found.report | g_seen

    return move


def joint(
    gradient: Pair, tx: Pair, selection: optax.GradientTransformation
) -> Callable:
    """Both move at once, along what ``selection`` makes of the pair of gradients.

    The selection is offered ``grad_fn``, the field of both players at another pair of
    parameters on the same batch: with ``lookahead`` this is extragradient, with
    ``reflect`` the projected reflected gradient. Each player's own optimizer follows.
    """
    selection = optax.with_extra_args_support(selection)

    def move(state, draw):
        batch = draw(0)

        def found_at(params):
            return Pair(*[f(params, state.stats, batch, state.step) for f in gradient])

        found = found_at(state.params)
        field = Pair(found.d.grads, found.g.grads)
        chosen, selected = selection.update(
            field,
            state.selection,
            state.params,
            grad_fn=lambda params: Pair(*[one.grads for one in found_at(params)]),
        )
        moved, metrics = {}, _reports("pair", getattr(selected, "report", ()))
        for player in Pair._fields:
            own = getattr(state.params, player)

            def found_alone(params, player=player):
                both = state.params._replace(**{player: params})
                of_player = getattr(gradient, player)
                return of_player(both, state.stats, batch, state.step)

            *moved[player], seen = _update(
                player,
                getattr(tx, player),
                getattr(chosen, player),
                getattr(state.opt, player),
                own,
                found_alone,
            )
            metrics |= getattr(found, player).report | seen
        params, opt = (Pair(d, g) for d, g in zip(moved["d"], moved["g"], strict=True))
        state = state._replace(
            params=params,
            stats=Pair(found.d.stats, found.g.stats),
            opt=opt,
            selection=selected,
        )
        return state, metrics

    return move


def _update(player, tx, grads, opt, params, found_at):
    tx = optax.with_extra_args_support(tx)
    updates, opt = tx.update(
        grads, opt, params, grad_fn=lambda params: found_at(params).grads
    )
    return optax.apply_updates(params, updates), opt, _reports(player, opt)


def _reports(who, state):
    """What a subgradient selection among the transformations has to say."""
    reports = {name: optax.tree.get(state, name) for name in ("cosine", "fired")}
    return {
        f"{who}_{name}": jnp.asarray(report, jnp.float32)
        for name, report in reports.items()
        if report is not None
    }
