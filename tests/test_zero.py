"""Zero rules: when they fire, what they then emit, and nothing at all otherwise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import subsel

DIRECTION = np.float32([0.6, 0.0, -0.8])
LENGTHS = [1.0, 0.5, 1e-3, 1e-3, 0.0, 2e-2, 1e-3, 1.0, 0.0, 0.0, 0.0, 0.0, 5e-2, 1.0]


def run(tx, lengths, direction=DIRECTION):
    update, state = jax.jit(tx.update), tx.init(jnp.array(direction))
    for length in lengths:
        gradient = np.float32(length) * direction
        emitted, state = update(gradient, state)
        yield gradient, np.asarray(emitted), state


def triggers(lengths, tol, rtol, patience):
    """The rule as the documentation states it, in a loop."""
    running, streak = 0.0, 0
    for count, length in enumerate(lengths):
        level = tol(count) if callable(tol) else tol
        small = length <= max(level, rtol * running)
        streak = streak + 1 if small else 0
        if not small:
            running = 0.99 * running + 0.01 * length if running else length
        yield streak >= patience, running


RULES = {
    "stop": subsel.stop(),
    "last": subsel.last(),
    "rescale": subsel.rescale(1.0),
    "explore": subsel.explore(0.1),
    "ladder": subsel.ladder(subsel.rescale(1.0), subsel.last()),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "tol, rtol, patience",
    [
        (0.0, 0.0, 1),
        (0.01, 0.0, 1),
        (0.0, 0.03, 1),
        (0.005, 0.03, 2),
        (lambda count: 0.6 * 0.5**count, 0.0, 1),
    ],
)
def test_fires_exactly_when_small_for_long_enough(rule, tol, rtol, patience):
    settings = {"tol": tol, "rtol": rtol, "patience": patience}
    tx = subsel.select_subgradient(on_zero=RULES[rule], **settings)
    expected = list(triggers(LENGTHS, **settings))
    assert {fires for fires, _ in expected} == {True, False}
    firings = 0
    for (fires, running), step in zip(expected, run(tx, LENGTHS), strict=True):
        gradient, emitted, state = step
        np.testing.assert_allclose(state.running_norm, running, rtol=1e-5)
        firings += fires
        assert state.report.fired == fires
        assert state.report.firings == firings
        if not fires:
            assert emitted.tobytes() == gradient.tobytes()
        elif rule == "stop":
            assert (emitted == 0).all()
        elif rule != "rescale":
            assert (emitted != gradient).any()


@pytest.mark.parametrize("length", [1e-30, 1.5e-19, 1e-10, 1e-3])
@pytest.mark.parametrize("floor", [None, 1e-2, lambda count: 0.02 / (1 + count)])
def test_rescale_restores_the_length_and_keeps_the_direction(length, floor):
    tx = subsel.select_subgradient(on_zero=subsel.rescale(floor), tol=5e-3)
    for count, (_, emitted, _) in enumerate(run(tx, [length, length])):
        expected = floor(count) if callable(floor) else floor or 5e-3
        np.testing.assert_allclose(emitted, expected * DIRECTION, rtol=1e-5)


def test_rescale_leaves_an_exact_zero():
    tx = subsel.select_subgradient(on_zero=subsel.rescale(1.0), tol=1e-3)
    assert all((emitted == 0).all() for _, emitted, _ in run(tx, [0, 0]))


@pytest.mark.parametrize("scale", ["raw", "unit", "match"])
def test_what_a_rule_emits_keeps_its_own_length(scale):
    rule = subsel.ladder(subsel.rescale(1e-2), subsel.last())
    tx = subsel.select_subgradient(on_zero=rule, scale=scale, tol=1e-3)
    emitted = [emitted for _, emitted, _ in run(tx, [3.0, 1e-4, 0.0])]
    healthy = 1.0 if scale == "unit" else 3.0
    expected = np.array([healthy, 1e-2, 1e-2])[:, None] * DIRECTION
    np.testing.assert_allclose(emitted, expected, rtol=1e-5)


def test_last_repeats_the_last_update_that_was_not_small():
    tx = subsel.select_subgradient(on_zero=subsel.last(), tol=1e-2)
    lengths = [0.0, 1e-3, 2.0, 1e-3, 0.0, 3.0, 5e-3]
    expected = np.float32([0, 0, 2, 2, 2, 3, 3])[:, None] * DIRECTION
    emitted = [emitted for _, emitted, _ in run(tx, lengths)]
    np.testing.assert_allclose(emitted, expected, rtol=1e-6)


def test_last_does_not_remember_what_was_small_but_let_through():
    tx = subsel.select_subgradient(on_zero=subsel.last(), tol=1e-2, patience=3)
    lengths = [2.0, 1e-3, 0.0, 0.0, 3.0, 1e-3, 1e-3, 1e-3]
    expected = np.float32([2, 1e-3, 0, 2, 3, 1e-3, 1e-3, 3])[:, None] * DIRECTION
    emitted = [emitted for _, emitted, _ in run(tx, lengths)]
    np.testing.assert_allclose(emitted, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "rules, expected",
    [
        ((subsel.rescale(0.1), subsel.last()), [0, 0.1, 1, 0.1, 0.1]),
        ((subsel.last(), subsel.rescale(0.1)), [0, 0.1, 1, 1, 1]),
        ((subsel.stop(), subsel.rescale(0.1)), [0, 0.1, 1, 0.1, 0]),
        ((subsel.last(),), [0, 0, 1, 1, 1]),
    ],
)
def test_ladder_takes_the_first_rule_that_emits_something(rules, expected):
    tx = subsel.select_subgradient(on_zero=subsel.ladder(*rules), tol=1e-2)
    emitted = [emitted for _, emitted, _ in run(tx, [0, 1e-3, 1, 1e-3, 0])]
    np.testing.assert_allclose(emitted, np.outer(expected, DIRECTION), rtol=1e-5)


def draws(seed, number, radius=0.5):
    """What explore emits at counts 0, 1, …, number - 1, in three dimensions."""
    tx = subsel.select_subgradient(on_zero=subsel.explore(radius, seed))
    zero = {"a": jnp.zeros(2), "b": jnp.zeros(1)}
    state = tx.init(zero)

    def draw(count):
        emitted, _ = tx.update(zero, state._replace(count=count))
        return jnp.concatenate(jax.tree.leaves(emitted))

    return np.asarray(jax.jit(jax.vmap(draw))(jnp.arange(number)))


def test_explore_is_uniform_in_the_ball_and_reproducible():
    vectors = draws(0, 4000)
    radii = np.linalg.norm(vectors, axis=1)
    assert (0 < radii).all() and (radii <= 0.5 * (1 + 1e-6)).all()
    assert stats.kstest((radii / 0.5) ** 3, "uniform").pvalue > 1e-3
    for axis in (vectors / radii[:, None]).T:  # Archimedes: uniform on [-1, 1]
        assert stats.kstest((axis + 1) / 2, "uniform").pvalue > 1e-3
    assert len(np.unique(vectors, axis=0)) == 4000
    np.testing.assert_array_equal(vectors[:5], draws(0, 5))
    assert (vectors[:5] != draws(1, 5)).all()


def test_explore_takes_a_schedule_of_radii():
    small, large = np.linalg.norm(draws(0, 2, lambda count: 10.0**count), axis=1)
    assert small <= 1 < large <= 10


INPUTS = np.float32(np.random.default_rng(0).normal(size=(64, 3)))
DEAD = {"w": jnp.zeros(3), "b": jnp.array(-0.5)}
ALIVE = {"w": jnp.ones(3), "b": jnp.array(0.5)}


def loss(params):
    """One ReLU unit that should be 1 on all 64 inputs."""
    return jnp.mean((jax.nn.relu(INPUTS @ params["w"] + params["b"]) - 1) ** 2)


def train(params, steps=100, **settings):
    tx = subsel.select_subgradient(**settings)

    def step(carry, _):
        params, state = carry
        grads = jax.grad(loss)(params)
        updates, state = tx.update(grads, state, params, grad_fn=jax.grad(loss))
        params = jax.tree.map(lambda x, u: x - 0.1 * u, params, updates)
        return (params, state), (grads, updates)

    carry = params, tx.init(params)
    (params, state), history = jax.lax.scan(step, carry, length=steps)
    return params, state, history


def test_expand_revives_a_dead_unit():
    assert all((g == 0).all() for g in jax.tree.leaves(jax.grad(loss)(DEAD)))
    params, state, _ = train(DEAD, on_zero=subsel.expand())
    assert loss(params) < 0.5 * loss(DEAD)
    assert 0 < state.report.firings < 100
    assert state.zero.evaluations > 0


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"candidates": subsel.history(4), "select": subsel.min_norm()},
        {"candidates": subsel.aggregate(), "select": subsel.min_norm()},
        {"on_zero": subsel.ladder(subsel.rescale(1.0), subsel.last())},
    ],
)
def test_nothing_that_stays_at_the_point_revives_it(settings):
    params, _, _ = train(DEAD, **settings)
    jax.tree.map(np.testing.assert_array_equal, params, DEAD)


def test_expand_costs_and_changes_nothing_on_a_healthy_problem():
    _, state, (grads, updates) = train(ALIVE, on_zero=subsel.expand())
    assert state.zero.evaluations == 0
    jax.tree.map(np.testing.assert_array_equal, updates, grads)


@pytest.mark.parametrize("radius", [0.125, lambda count: 0.125])
def test_expand_stops_at_the_cap(radius):
    rule = subsel.expand(radius, growth=2.0, cap=1.0, size=3)
    far = {"w": jnp.zeros(3), "b": jnp.array(-1e3)}
    params, state, _ = train(far, steps=5, on_zero=rule)
    jax.tree.map(np.testing.assert_array_equal, params, far)
    assert state.zero.evaluations == 5 * 3 * 4  # radii 1/8, 1/4, 1/2 and 1


def test_expand_ends_without_a_cap():
    """Where the radius overflows."""
    tx = subsel.select_subgradient(on_zero=subsel.expand(cap=float("inf"), size=1))
    zeros = jnp.zeros(3)
    out, state = tx.update(zeros, tx.init(zeros), zeros, grad_fn=jnp.zeros_like)
    assert not out.any() and 100 < state.zero.evaluations < 200


def test_expand_finds_no_life_where_the_gradient_is_nan():
    slope = lambda x: jnp.where(x < -2, jnp.nan, jnp.where(x > 3, 1.0, 0.0))  # noqa: E731
    tx = subsel.select_subgradient(on_zero=subsel.expand(radius=8.0, size=64))
    out, _ = tx.update(jnp.array(0.0), tx.init(0.0), jnp.array(0.0), grad_fn=slope)
    assert out == 1


def test_expand_is_the_mean_of_the_gradients_that_are_not_zero():
    """Along a line, dead below 0: a draw from around -1 lives beyond 1."""
    slope = jax.grad(lambda x: 3 * jax.nn.relu(x).sum())
    tx = subsel.select_subgradient(on_zero=subsel.expand(radius=4.0, size=64))
    point = jnp.array(-1.0)
    out, state = tx.update(slope(point), tx.init(point), point, grad_fn=slope)
    assert out == 3 and state.zero.evaluations == 64


def test_expand_means_narrow_gradients_in_float32():
    """Eight of them add up to more than float16 holds."""
    tx = subsel.select_subgradient(on_zero=subsel.expand(size=8))
    zero = jnp.zeros(2, jnp.float16)
    slope = functools.partial(jnp.full_like, fill_value=2e4)
    found, _ = tx.update(zero, tx.init(zero), zero, grad_fn=slope)
    assert found.dtype == jnp.float16
    np.testing.assert_array_equal(found, 2e4)


@pytest.mark.parametrize("fires, evaluations", [(0, 0), (1, 8)])
def test_expand_under_vmap_evaluates_only_if_a_member_fires(fires, evaluations):
    calls = []

    def grad_fn(x):
        jax.debug.callback(lambda x: calls.append(x), x)
        return jnp.ones_like(x)

    tx = subsel.select_subgradient(on_zero=subsel.expand())
    points = jnp.zeros((3, 2))
    grads = points.at[fires:].set(1.0)
    states = jax.vmap(tx.init)(points)
    update = jax.vmap(lambda *args: tx.update(*args, grad_fn=grad_fn))
    _, states = jax.jit(update)(grads, states, points)
    jax.effects_barrier()
    np.testing.assert_array_equal(states.zero.evaluations, [8 * fires, 0, 0])
    assert len(calls) in (evaluations, 3 * evaluations)  # batched or one by one
