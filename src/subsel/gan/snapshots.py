r"""Snapshots of D, and G's gradient as it is selected from those against all of them.

By Danskin's theorem, with :math:`\varphi(G) = \max_D V(D, G)`, V differentiable in G,
continuous with this derivative, and the discriminators a compact set,

.. math::
    \partial \varphi(G)
        = \mathrm{conv} \{\nabla_G V(D, G) : D \in \arg\max_D V(D, G)\},

(Clarke's subdifferential), so that a program which follows the gradient against one D
has chosen one element of a hull. Here the candidates are G's gradients against the D
that has just moved and against D as it was at earlier steps, all on one batch, and
:func:`subsel.select_subgradient` chooses. The theorem vouches for it only as far as the
snapshots are near the maximum still, and what G minimises is V: so it is with the
minimax and the wasserstein loss, and not with the non-saturating one.

References:
    Danskin, The theory of max-min, with applications, 1966. Clarke, Generalized
    gradients and applications, 1975. Ge, Xia, Chen, Berry and Wu, Fictitious GAN,
    2018 (the mean).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from subsel.gan.models import Variables
from subsel.gan.objective import Found


class Snapshots(NamedTuple):
    """Which earlier discriminators there are, and what is made of the gradients."""

    count: int
    every: int  # steps between two of them
    select: optax.GradientTransformation  # of gradients stacked, the newest D's last


def empty(rule: Snapshots, d: Variables) -> Variables:
    """A ring of ``count`` places ``[count, ...]`` that nothing was put into yet."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (rule.count, *x.shape)), d)


def taken(rule: Snapshots, ring: Variables, d: Variables, step) -> Variables:
    """The ring after ``step`` steps: where one is due, ``d`` takes the oldest place."""
    due = step % rule.every == 0
    oldest = (step // rule.every - 1) % rule.count
    return jax.tree.map(
        lambda kept, x: kept.at[oldest].set(jnp.where(due, x, kept[oldest])), ring, d
    )


def gradient(of_g: Callable, rule: Snapshots | None) -> Callable:
    """``of_g``, or what is selected from it against D and each of its snapshots.

    K = 1 + ``count`` gradients cost K passes forward and back through D and K back
    through G, but one forward through G, whose part ``vmap`` leaves alone.

    Returns:
        ``(state, params, stats, batch, count) -> (Found, state of the selection)``. The
        report is of the current D.
    """
    if rule is None:
        return lambda state, *at: (of_g(*at), state.selection)

    def selected(state, params, stats, batch, count):
        now = Variables(params.d, stats.d)
        # Until a place is filled D stands there itself, which is no selection: the
        # untrained D is no maximiser, and its gradient is as short as min_norm likes.
        filled = jnp.arange(rule.count) < state.step // rule.every
        earlier = jax.vmap(optax.tree.where, (0, 0, None))(filled, state.snapshots, now)
        all_of = jax.tree.map(
            lambda kept, x: jnp.concatenate([kept, x[None]]), earlier, now
        )

        def against(d):
            both = params._replace(d=d.params), stats._replace(d=d.stats)
            return of_g(*both, batch, count)

        # That no D has a say in G's statistics is checked: they come out without K.
        found = jax.vmap(against, out_axes=Found(0, None, 0))(all_of)
        grads, selection = rule.select.update(found.grads, state.selection, params.g)
        report = {name: values[-1] for name, values in found.report.items()}
        return Found(grads, found.stats, report), selection

    return selected
