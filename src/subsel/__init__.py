"""Subgradient selection for Optax. Depends on jax and optax alone.

The transform, ``select_subgradient(candidates, select, on_zero, scale)``:

- candidates: :func:`current`, :func:`history`, :func:`aggregate`, :func:`stacked`
- selectors: :func:`latest`, :func:`mean`, :func:`min_norm`
- zero rules: :func:`stop`, :func:`last`, :func:`rescale`, :func:`explore`,
  :func:`expand`, :func:`ladder`

Ready-made: :func:`adam`, :func:`goldstein`. The solver: :func:`min_norm_weights`.
"""

from subsel.candidates import (
    Candidates,
    Context,
    Oracle,
    aggregate,
    current,
    from_rows,
    history,
    stacked,
)
from subsel.minnorm import min_norm_weights
from subsel.optimizers import adam, goldstein
from subsel.selection import Geometry, Selector, latest, mean, min_norm
from subsel.transform import SelectReport, SelectState, select_subgradient
from subsel.zero import Zero, ZeroRule, expand, explore, ladder, last, rescale, stop

__all__ = [
    "Candidates",
    "Context",
    "Geometry",
    "Oracle",
    "SelectReport",
    "SelectState",
    "Selector",
    "Zero",
    "ZeroRule",
    "adam",
    "aggregate",
    "current",
    "expand",
    "explore",
    "from_rows",
    "goldstein",
    "history",
    "ladder",
    "last",
    "latest",
    "mean",
    "min_norm",
    "min_norm_weights",
    "rescale",
    "select_subgradient",
    "stacked",
    "stop",
]
