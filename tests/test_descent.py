"""Cuts and their line search, against closed forms, SciPy and the decrease promised."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import nnls

import subsel
from subsel.problems import PROBLEMS


def valley(x):
    """|x| + y / 10: the Goldstein subdifferential holds (-1, 0.1) and (1, 0.1)."""
    return jnp.abs(x[0]) + x[1] / 10


def test_the_cut_finds_the_way_along_a_valley():
    tx = subsel.select_subgradient(subsel.cuts(radius=0.5), subsel.min_norm())
    x, grad_fn = jnp.array([0.01, 0.0]), jax.grad(valley)
    u, state = jax.jit(
        lambda x: tx.update(grad_fn(x), tx.init(x), x, grad_fn=grad_fn, value_fn=valley)
    )(x)
    np.testing.assert_allclose(u, [0, 0.1], atol=1e-6)
    assert state.oracle.accepted and state.oracle.radius == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_what_is_accepted_descends_and_is_the_shortest_of_its_hull(seed):
    """On a maximum of linear functions, whose gradients are its rows."""
    with jax.enable_x64(True):
        rows = np.random.default_rng(seed).normal(size=(12, 5)) + 0.5
        f = lambda x: jnp.max(jnp.asarray(rows) @ x)  # noqa: E731
        grad_fn, seen = jax.grad(f), []

        def recorded(x):
            g = grad_fn(x)
            jax.debug.callback(lambda g: seen.append(np.array(g)), g)
            return g

        oracle = subsel.cuts(size=8, radius=0.7, decrease=0.2)
        tx = subsel.select_subgradient(oracle, subsel.min_norm())
        x = jnp.zeros(5) + 0.01
        u, state = jax.jit(
            lambda x: tx.update(grad_fn(x), tx.init(x), x, grad_fn=recorded, value_fn=f)
        )(x)
        jax.effects_barrier()
        assert state.oracle.evaluations == len(seen) > 0
        norm = np.linalg.norm(u)
        if state.oracle.accepted:
            assert f(x - 0.7 * u / norm) <= f(x) - 0.2 * 0.7 * norm
        hull = np.array([grad_fn(x), *seen])
        weights, _ = nnls(
            np.vstack([hull.T, np.ones(len(hull))]), np.append(np.zeros(5), 1.0)
        )
        # Bisection may see gradients that it does not keep: they only shorten the hull.
        assert np.linalg.norm(weights / weights.sum() @ hull) <= norm + 1e-9
        assert (hull @ u).min() <= norm**2 * (1 + 1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["rosenbrock", "chebyshev_rosenbrock_1"])
def test_gradient_sampling_solves_curved_valleys(name, dtype):
    with jax.enable_x64(dtype == "float64"):
        problem = PROBLEMS[name](2)
        tx, grad_fn = subsel.gradient_sampling(), jax.grad(problem.f)

        def descend(x):
            def step(carry, _):
                x, state = carry
                updates, state = tx.update(
                    grad_fn(x), state, x, grad_fn=grad_fn, value_fn=problem.f
                )
                return (x + updates, state), problem.f(x)

            return jax.lax.scan(step, (x, tx.init(x)), length=150)

        noise = 0.1 * np.random.default_rng(0).normal(size=(10, 2))
        starts = jnp.asarray(problem.start + noise, dtype)
        (_, state), values = jax.jit(jax.vmap(descend))(starts)
        assert (np.diff(values, axis=1) <= 0).all()  # never up
        solved = values[:, -1] < (1e-8 if dtype == "float64" else 1e-4)
        assert solved.sum() >= 9
        assert (np.asarray(state.oracle.radius) < 1e-2).all()


def test_a_steep_wall_does_not_hide_a_slope():
    """An exact penalty: the slope along the wall is 1e-8 of that across it."""
    with jax.enable_x64(True):
        f = lambda x: x[0] ** 2 + 1e9 * jnp.abs(x[1])  # noqa: E731
        tx, grad_fn = subsel.gradient_sampling(), jax.grad(f)

        def step(carry, _):
            x, state = carry
            updates, state = tx.update(
                grad_fn(x), state, x, grad_fn=grad_fn, value_fn=f
            )
            return (x + updates, state), None

        start = jnp.array([4.0, 1.0])
        (x, _), _ = jax.lax.scan(step, (start, tx.init(start)), length=150)
        assert f(x) < 1e-6  # 16 where the wall alone is gone


@pytest.mark.parametrize("narrow", ["float32", "bfloat16"])
def test_gradients_may_be_narrower_than_the_parameters(narrow):
    f = lambda x: jnp.sum(jnp.abs(x))  # noqa: E731
    grad_fn = lambda x: jax.grad(f)(x).astype(narrow)  # noqa: E731
    with jax.enable_x64(True):
        tx, x = subsel.gradient_sampling(), jnp.array([0.3, -0.2], "float64")
        state = tx.init(x)
        for _ in range(3):
            u, state = tx.update(grad_fn(x), state, x, grad_fn=grad_fn, value_fn=f)
            x = x + u
        assert x.dtype == "float64" and f(x) < 0.5


def test_room_for_many_cuts_makes_none_of_them_vanish():
    """Short along the valley, by 2e-5 of the slope across it."""
    f = lambda x: jnp.abs(x[0]) + 2e-5 * jnp.abs(x[1] - 1)  # noqa: E731
    tx, x, grad_fn = (
        subsel.gradient_sampling(size=200),
        jnp.array([0.3, 0.0]),
        jax.grad(f),
    )

    def step(carry, _):
        x, state = carry
        u, state = tx.update(grad_fn(x), state, x, grad_fn=grad_fn, value_fn=f)
        return (x + u, state), None

    (x, _), _ = jax.lax.scan(step, (x, tx.init(x)), length=60)
    np.testing.assert_allclose(x, [0, 1], atol=1e-3)


@pytest.mark.parametrize("flat", [1e-22, 1e-30])
def test_gradients_may_differ_by_many_orders(flat):
    """Steep on the right, all but flat on the left, so that x = 0 is the solution."""
    f = lambda x: jnp.where(x[0] > 0, x[0], -flat * x[0])  # noqa: E731
    tx, x, grad_fn = subsel.gradient_sampling(), jnp.array([0.3]), jax.grad(f)
    state = tx.init(x)

    @jax.jit
    def update(x, state):
        updates, state = tx.update(grad_fn(x), state, x, grad_fn=grad_fn, value_fn=f)
        return x + updates, state

    for _ in range(10):
        x, state = update(x, state)
    assert np.isfinite(x).all() and f(x) <= flat
    assert state.oracle.radius < 0.1


def test_where_it_is_stationary_it_stays_and_the_radius_shrinks():
    tx, x = subsel.gradient_sampling(radius=1.0, shrink=0.25), jnp.zeros(3)
    f = lambda x: jnp.sum(jnp.abs(x))  # noqa: E731

    @jax.jit
    def update(state):
        gradient = jnp.sign(x + 1)
        return tx.update(gradient, state, x, grad_fn=jax.grad(f), value_fn=f)

    state = tx.init(x)
    for t in range(3):
        updates, state = update(state)
        assert not updates.any() and state.oracle.radius == 0.25 ** (t + 1)


def test_without_a_lower_bound_the_step_stays_finite():
    """The line search ends, and what it has found is as far as numbers go."""
    tx, x = subsel.gradient_sampling(), jnp.zeros(2)

    @jax.jit
    def update(x):
        grads = jnp.ones(2)
        return tx.update(grads, tx.init(x), x, grad_fn=jnp.ones_like, value_fn=jnp.sum)

    updates, _ = update(x)
    assert np.isfinite(updates).all() and (updates < -1e36).all()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: subsel.cuts(1), r"size=1.*at least 2"),
        (lambda: subsel.cuts(radius=-1.0), r"radius=-1.0.*positive"),
        (lambda: subsel.gradient_sampling(shrink=1.0), r"shrink=1.0.*between 0 and 1"),
        (lambda: subsel.gradient_sampling(decrease=0), r"decrease=0.*between 0 and 1"),
    ],
)
def test_arguments_that_cannot_be(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("missing", ["params", "grad_fn", "value_fn"])
def test_what_is_missing_is_named(missing):
    tx, x = subsel.gradient_sampling(), jnp.ones(2)
    given = {"params": x, "grad_fn": jnp.sign, "value_fn": jnp.sum}
    given[missing] = None
    with pytest.raises(ValueError, match=rf"cuts\(\) needs {missing}; call tx.update"):
        tx.update(x, tx.init(x), **given)
