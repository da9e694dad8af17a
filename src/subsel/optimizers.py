"""Ready-made optimizers, for those who want one line."""

import optax

from subsel import arguments
from subsel.candidates import Oracle
from subsel.memory import history
from subsel.points import lookahead
from subsel.selection import Selector, min_norm
from subsel.transform import select_subgradient
from subsel.zero import ZeroRule, expand, ladder, last, rescale


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
    r"""Adam behind a subgradient selection; by default, Adam that does not stall.

    A gradient of norm above ``tol`` reaches Adam bit for bit. A smaller one is
    lengthened to ``tol``, and for an exact zero what Adam was given before is used
    again. Not for losses that are at their least where the gradient is zero, such as a
    hinge loss on separable data: Adam stops there, and this goes on, as long as it is
    called. Adam's own normalisation gives out where entries fall below ``eps``: a
    gradient of norm 1e-5 has entries of about 1e-8 among a million parameters.

    Args:
        learning_rate: a number or a schedule.
        b1, b2, eps: as in ``optax.adam``.
        candidates, select, on_zero, scale, tol: as in
            :func:`subsel.select_subgradient`; what differs is the zero rule, by default
            ``ladder(rescale(), last())``, and ``tol``.

    Returns:
        The optimizer. State: Adam's, and one copy of the parameters for ``last()``.

    Example:
        >>> import jax.numpy as jnp, optax, subsel
        >>> tx, plain = subsel.adam(0.1), optax.adam(0.1)
        >>> params, zero = jnp.ones(2), jnp.zeros(2)
        >>> grads = jnp.array([3.0, -4.0])
        >>> state = tx.update(grads, tx.init(params))[1]
        >>> tx.update(zero, state)[0].round(3)  # goes on where the gradient is zero
        Array([-0.1,  0.1], dtype=float32)
        >>> state = plain.update(grads, plain.init(params))[1]
        >>> plain.update(zero, state)[0].round(3)  # runs out
        Array([-0.067,  0.067], dtype=float32)

    References:
        Kingma and Ba, Adam: a method for stochastic optimization, 2015.
    """
    return optax.chain(
        select_subgradient(candidates, select, _going_on(on_zero), scale, tol=tol),
        optax.scale_by_adam(b1, b2, eps),
        _step("adam", learning_rate),
    )


def extragradient(
    learning_rate: optax.ScalarOrSchedule,
    *,
    on_zero: ZeroRule | None = None,
    tol: float = 1e-5,
) -> optax.GradientTransformationExtraArgs:
    r"""Extragradient with a zero rule, for games.

    .. math:: z_{t+1} = z_t - \eta\, F(z_t - \eta F(z_t))

    Minimisers that reuse old gradients turn with a rotating field and diverge; a fresh
    look ahead does not. On the game xy the distance from the solution shrinks by
    0.9950, 0.9582 and 0.9014 a step at learning rates 0.1, 0.3 and 0.5, where plain
    descent-ascent grows by 1.0050, 1.0440 and 1.1180 (``tests/test_points.py``). In a
    GAN that is not the last word: see ``docs/rules.md``.

    ``update`` takes the field of both players as one pytree, and as ``grad_fn``: a
    player that maximises hands in the negative of its gradient.

    Args:
        learning_rate: eta, of the trial step and of the step; a number or a schedule.
        on_zero, tol: as in :func:`subsel.adam`.

    Example:
        >>> import jax.numpy as jnp, optax, subsel
        >>> def field(z):  # of min over x, max over y, of x * y
        ...     return {"x": z["y"], "y": -z["x"]}
        >>> z = {"x": jnp.float32(1.0), "y": jnp.float32(1.0)}
        >>> tx = subsel.extragradient(0.5)
        >>> state = tx.init(z)
        >>> for _ in range(100):
        ...     updates, state = tx.update(field(z), state, z, grad_fn=field)
        ...     z = optax.apply_updates(z, updates)
        >>> bool(jnp.hypot(z["x"], z["y"]) < 1e-4)
        True

    References:
        Korpelevich, The extragradient method for finding saddle points, 1976.
    """
    selection = select_subgradient(
        lookahead(learning_rate), on_zero=_going_on(on_zero), tol=tol
    )
    return optax.chain(selection, _step("extragradient", learning_rate))


def goldstein(
    learning_rate: optax.ScalarOrSchedule, size: int = 3
) -> optax.GradientTransformationExtraArgs:
    r"""Normalised descent along the shortest element of the last gradients' hull.

    .. math::
        x_{t+1} = x_t - \eta_t \frac{u_t}{\|u_t\|}, \qquad
        u_t = \arg\min \{\|u\| : u \in \mathrm{conv}(g_t, \dots, g_{t-K+1})\}

    For minimising nonsmooth functions whose kinks form a curved valley: gradients from
    its two sides cancel across it and add up along it. The step length is the learning
    rate itself, so use a schedule that decays to the accuracy wanted; geometric decay
    to 1e-9 over 2,000 steps solves the nonsmooth Rosenbrock function to 1e-8 in 10 of
    10 starts (``tests/test_transform.py``). Not for games, where gradients rotate.

    Three gradients, because the third is what one kink that 50 variables share asks
    for (Chained CB3 II: 1.1e-10 where two reach 6.3e-7), and because more cost more
    where many kinks share nothing (``experiments/nonsmooth.py``). Curved valleys in
    several dimensions want 5 to 8.

    Args:
        learning_rate: the step length, in the units of the parameters; a number or a
            schedule.
        size: K, at least 1. Memory is K - 1 copies of the parameters.

    Example:
        >>> import jax, jax.numpy as jnp, subsel
        >>> f = lambda x: 8 * jnp.abs(x[0] ** 2 - x[1]) + (1 - x[0]) ** 2
        >>> tx = subsel.goldstein(lambda t: 0.3 * 1e-6 ** (t / 1000))
        >>> def step(carry, _):
        ...     x, state = carry
        ...     updates, state = tx.update(jax.grad(f)(x), state)
        ...     return (x + updates, state), None
        >>> x = jnp.array([-1.2, 1.0])
        >>> (x, _), _ = jax.lax.scan(step, (x, tx.init(x)), length=1000)
        >>> bool(f(x) < 1e-5)
        True

    References:
        Goldstein, Optimization of Lipschitz continuous functions, 1977. Zhang, Lin,
        Jegelka, Sra and Jadbabaie, Complexity of finding stationary points of nonsmooth
        nonconvex functions, 2020.
    """
    return optax.chain(
        select_subgradient(history(size), min_norm(), scale="unit"),
        _step("goldstein", learning_rate),
    )


def keep_going(
    optimizer: optax.GradientTransformation,
    *,
    on_zero: ZeroRule | None = None,
    tol: float = 1e-5,
    patience: int = 1,
) -> optax.GradientTransformationExtraArgs:
    """Only the zero rule, in front of a given optimizer.

    Where the gradient is longer than ``tol`` the optimizer sees it bit for bit. A
    shorter one is lengthened to ``tol``; for an exact zero the last gradient is used
    again, and where there never was one, :func:`subsel.expand` looks for life around.
    Of 64 runs of Adam that started on a plateau, or with all ReLU units dead, none
    escaped within 1,000 gradients; behind this rule 64 and 63 did, and on living
    networks it changed no bit (``experiments/zero_gradient.py``). Before SGD it is
    worth less: there 38 of the 64 dead networks revived.

    Args:
        optimizer: any Optax optimizer.
        on_zero: ``ladder(rescale(), last(), expand())`` by default, for which
            ``update`` needs ``params`` and ``grad_fn``. Without ``expand`` it needs
            neither.
        tol, patience: as in :func:`subsel.select_subgradient`.

    Raises:
        TypeError: ``optimizer`` is none.

    Example:
        >>> import jax, jax.numpy as jnp, optax, subsel
        >>> grad_fn = jax.grad(lambda x: jax.nn.relu(x - 1.0) ** 2)  # 0 up to 1
        >>> tx = subsel.keep_going(optax.sgd(0.1))
        >>> x = jnp.float32(0.0)
        >>> u, _ = tx.update(grad_fn(x), tx.init(x), x, grad_fn=grad_fn)
        >>> bool(u != 0)  # where a gradient lives within 100
        True
    """
    wanted = optax.GradientTransformation
    arguments.kind("optimizer", optimizer, wanted, "optax.adam(1e-3)")
    on_zero = ladder(rescale(), last(), expand()) if on_zero is None else on_zero
    selection = select_subgradient(on_zero=on_zero, tol=tol, patience=patience)
    return optax.chain(selection, optimizer)


def _going_on(on_zero):
    return ladder(rescale(), last()) if on_zero is None else on_zero


def _step(call, learning_rate):
    a_rate = "a number", lambda rate: True
    arguments.number_or_schedule(call, *a_rate, learning_rate=learning_rate)
    return optax.scale_by_learning_rate(learning_rate)
