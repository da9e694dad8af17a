"""Ready-made optimizers, for those who want one line."""

import optax

from subsel.candidates import Oracle, history
from subsel.selection import Selector, min_norm
from subsel.transform import select_subgradient
from subsel.zero import ZeroRule, ladder, last, rescale


def adam(
    learning_rate: optax.ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    *,
    candidates: Oracle | None = None,
    select: Selector | None = None,
    on_zero: ZeroRule | None = None,
    scale: str = "raw",
    tol: float = 1e-5,
) -> optax.GradientTransformationExtraArgs:
    """Adam behind a subgradient selection; by default, Adam that does not stall."""
    on_zero = ladder(rescale(), last()) if on_zero is None else on_zero
    return optax.chain(
        select_subgradient(candidates, select, on_zero, scale, tol=tol),
        optax.scale_by_adam(b1, b2, eps),
        optax.scale_by_learning_rate(learning_rate),
    )


def goldstein(
    learning_rate: optax.ScalarOrSchedule, size: int = 2
) -> optax.GradientTransformationExtraArgs:
    """Normalised descent along the min-norm element of the last gradients."""
    return optax.chain(
        select_subgradient(history(size), min_norm(), scale="unit"),
        optax.scale_by_learning_rate(learning_rate),
    )
