"""Subgradient selection for Optax. Depends on jax and optax alone.

The transform, ``select_subgradient(candidates, select, on_zero, scale)``:

- candidates: :func:`current`, :func:`history`, :func:`aggregate`, :func:`stacked`; at
  other points, with ``grad_fn``: :func:`ball`, :func:`segment`, :func:`lookahead`,
  :func:`reflect`, and with ``value_fn`` as well: :func:`cuts`
- selectors: :func:`latest`, :func:`mean`, :func:`mean_of_nonzero`, :func:`min_norm`,
  :func:`optimistic`, :func:`uniform`
- zero rules: :func:`stop`, :func:`last`, :func:`rescale`, :func:`explore`,
  :func:`expand`, :func:`ladder`

Ready-made: :func:`adam`; :func:`goldstein` and :func:`gradient_sampling` to minimise;
:func:`extragradient` for games; :func:`keep_going`, a zero rule for any optimizer.

Also ``subsel.kinks``, the derivative at a kink; ``subsel.problems``, nonsmooth test
problems; and the solver, :func:`min_norm_weights`.
"""

from subsel.candidates import (
    Candidates,
    Context,
    Oracle,
    current,
    from_rows,
    stacked,
    stateless,
)
from subsel.descent import cuts, gradient_sampling
from subsel.memory import aggregate, history
from subsel.minnorm import min_norm_weights
from subsel.optimizers import adam, extragradient, goldstein, keep_going
from subsel.points import ball, lookahead, reflect, segment
from subsel.selection import (
    Geometry,
    Selector,
    latest,
    mean,
    mean_of_nonzero,
    min_norm,
    optimistic,
    uniform,
)
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
    "ball",
    "current",
    "cuts",
    "expand",
    "explore",
    "extragradient",
    "from_rows",
    "goldstein",
    "gradient_sampling",
    "history",
    "keep_going",
    "ladder",
    "last",
    "latest",
    "lookahead",
    "mean",
    "mean_of_nonzero",
    "min_norm",
    "min_norm_weights",
    "optimistic",
    "reflect",
    "rescale",
    "segment",
    "select_subgradient",
    "stacked",
    "stateless",
    "stop",
    "uniform",
]

_ON_DEMAND = ("kinks", "problems")  # load more of JAX than the transform does


def __getattr__(name):
    if name == "__version__":
        import importlib.metadata

        return importlib.metadata.version("subsel")
    if name in _ON_DEMAND:
        import subsel.kinks
        import subsel.problems

        return getattr(subsel, name)
    raise AttributeError(f"module 'subsel' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_ON_DEMAND})
