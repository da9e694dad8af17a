"""What the transform must reduce to: every row of the table, against its reference.

A row is a function that returns the updates (or iterates) of a setting of ours, and
those of an independent implementation: NumPy loops, SciPy, a closed form, or Optax.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import nnls

import subsel

RATES = (0.1, 0.3, 0.5)


def gradients(steps=9, dim=6, seed=0):
    return np.float32(np.random.default_rng(seed).normal(size=(steps, dim)) + 0.3)


def run(tx, grads):
    """The updates for a sequence of gradients."""
    state, update, out = tx.init(jnp.zeros(grads.shape[-1])), jax.jit(tx.update), []
    for gradient in grads:
        updates, state = update(gradient, state)
        out.append(updates)
    return np.stack(out)


def select(*args, **kwargs):
    return subsel.select_subgradient(*args, **kwargs)


def shortest(rows):
    """The shortest vector of a hull, by non-negative least squares."""
    rows = np.asarray(rows, np.float64)
    sides = np.vstack([rows.T, np.ones(len(rows))])
    weights, _ = nnls(sides, np.append(np.zeros(rows.shape[1]), 1.0))
    return weights / weights.sum() @ rows


def identity():
    grads = gradients()
    return run(select(subsel.current(), on_zero=subsel.stop()), grads), grads


def adam():
    grads = gradients()
    return run(optax.chain(select(), optax.adam(0.1)), grads), run(
        optax.adam(0.1), grads
    )


def history_latest():
    grads = gradients()
    return run(select(subsel.history(4), subsel.latest()), grads), grads


def moving_average():
    grads = gradients()
    expected = [grads[max(0, t - 2) : t + 1].mean(0) for t in range(len(grads))]
    return run(select(subsel.history(3), subsel.mean()), grads), expected


def closed_form(floor=0.1):
    grads, expected = gradients(30), []
    selected = np.float64(grads[0])
    for gradient in np.float64(grads):
        past = (1 - floor) * selected + floor * gradient
        step = past - gradient
        share = np.clip(past @ step / max(step @ step, 1e-300), 0, 1)
        selected = past - share * step
        expected.append(selected)
    return run(select(subsel.aggregate(floor), subsel.min_norm()), grads), expected


def randomised_smoothing():
    """Of |x_i|: P(x + r z > 0) - P(x + r z < 0), for the uniform law on a disc."""
    params, tx = jnp.array([0.3, -2.0]), select(subsel.ball(9, 1.0), subsel.mean())

    def body(state, _):
        # The incoming gradient is one of the nine; zero, it leaves the eight drawn.
        none = jnp.zeros(2)
        updates, state = tx.update(none, state, params, grad_fn=jnp.sign)
        return state, updates * 9 / 8

    _, means = jax.lax.scan(body, tx.init(params), length=1000)
    h = 0.3
    cap = (np.arccos(h) - h * np.sqrt(1 - h**2)) / np.pi  # of the disc beyond h
    return means.mean(0), [1 - 2 * cap, -1]


def valley(x):
    return 8 * jnp.abs(x[0] ** 2 - x[1]) + (1 - x[0]) ** 2


def drawn(count, size, radius):
    """The points of ``ball``: the one thing that the reference shares with it."""
    seen = []

    def record(x):
        jax.debug.callback(lambda x: seen.append(np.array(x)), x)
        return x

    tx, zero = select(subsel.ball(size, radius)), jnp.zeros(2)
    state = tx.init(zero)._replace(count=jnp.int32(count))
    tx.update(zero, state, zero, grad_fn=record)
    jax.effects_barrier()
    return seen


def gradient_sampling():
    """The loop of Burke, Lewis and Overton 2005, Kiwiel's form, at a fixed radius."""
    x = jnp.array([-1.2, 1.4])
    grad_fn, radius, size = jax.grad(valley), 0.1, 6
    tx = optax.chain(
        select(subsel.ball(size, radius), subsel.min_norm()),
        optax.scale(-1.0),
        optax.scale_by_backtracking_linesearch(30, 1e-4, 0.5, jnp.inf, 1.0),
    )
    state, actual, expected, y = tx.init(x), [], [], np.float64(x)
    for t in range(5):
        # Optax's search gives value_fn what it does not know itself: grad_fn as well.
        updates, state = tx.update(
            grad_fn(x),
            state,
            x,
            value=valley(x),
            grad=grad_fn(x),
            value_fn=lambda x, grad_fn=None: valley(x),
            grad_fn=grad_fn,
        )
        x = x + updates
        actual.append(x)
        points = [y, *(y + offset for offset in drawn(t, size, radius))]
        u = shortest([grad_fn(jnp.float32(point)) for point in points])
        slope, step = u @ np.float64(grad_fn(jnp.float32(y))), 1.0
        while valley(y - step * u) > valley(y) - 1e-4 * step * slope:
            step /= 2
        y = y - step * u
        expected.append(y)
    return actual, expected


def goldstein():
    """The loop of Zhang et al. 2020, in NumPy, on the same uniform numbers."""
    grad_fn, radius, size = jax.grad(valley), 0.3, 6
    params = jnp.array([-1.2, 1.4])
    tx = select(subsel.segment(size, radius), subsel.min_norm())
    updates, _ = jax.jit(
        lambda p: tx.update(grad_fn(p), tx.init(p), p, grad_fn=grad_fn)
    )(params)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(0), 0), size - 1)
    u = np.asarray(grad_fn(params), np.float64)
    for key in keys:
        share = float(jax.random.uniform(key))
        point = np.asarray(params) - radius * share * u / np.linalg.norm(u)
        new = np.asarray(grad_fn(jnp.float32(point)), np.float64)
        weight = np.clip(u @ (u - new) / max((u - new) @ (u - new), 1e-30), 0, 1)
        u = u + weight * (new - u)
    return updates, u


def mgda():
    tasks = gradients(4, 9)
    tx = select(subsel.stacked(), subsel.min_norm())
    out, _ = jax.jit(tx.update)(tasks, tx.init(tasks[0]), tasks[0])
    return out, shortest(tasks)


ROTATION = np.array([[0.0, 1.0], [-1.0, 0.0]])  # the field of xy: (y, -x)


def play(rate, steps=20, **selection):
    """Points along the game xy."""
    field = lambda z: jnp.asarray(ROTATION, z.dtype) @ z  # noqa: E731
    tx = optax.chain(select(**selection), optax.sgd(rate))
    z = jnp.array([1.0, -0.5])
    state, points = tx.init(z), []
    for _ in range(steps):
        updates, state = tx.update(field(z), state, z, grad_fn=field)
        z = z + updates
        points.append(z)
    return points


def extragradient():
    actual, expected = [], []
    for rate in RATES:
        actual.append(play(rate, candidates=subsel.lookahead(rate)))
        step = np.eye(2) - rate * ROTATION @ (np.eye(2) - rate * ROTATION)
        radius = max(abs(np.linalg.eigvals(step)))
        assert radius == pytest.approx(
            [0.9950, 0.9582, 0.9014][len(expected)], abs=1e-4
        )
        z = np.array([1.0, -0.5])
        expected.append([z := step @ z for _ in range(20)])
    return actual, expected


def optimistic():
    actual, expected = [], []
    for rate in RATES:
        points = play(rate, candidates=subsel.history(2), select=subsel.optimistic())
        actual.append(points)
        tx, z = optax.optimistic_gradient_descent(rate), jnp.array([1.0, -0.5])
        state, path = tx.init(z), []
        for _ in range(20):
            updates, state = tx.update(jnp.float32(ROTATION) @ z, state, z)
            z = z + updates
            path.append(z)
        expected.append(path)
    return actual, expected


# (what it reduces to, absolute tolerance; None for bit for bit)
TABLE = {
    "current + stop = the identity": (identity, None),
    "current + stop, then Adam = Adam": (adam, 1e-6),
    "history + latest = the identity": (history_latest, None),
    "history + mean = the moving average": (moving_average, 1e-6),
    "aggregate + min_norm = the closed form on a segment": (closed_form, 1e-5),
    "ball + mean = randomised smoothing": (randomised_smoothing, 0.04),
    "ball + min_norm + line search = gradient sampling": (gradient_sampling, 1e-4),
    "segment + min_norm = the Goldstein search, INGD": (goldstein, 1e-3),
    "stacked + min_norm = MGDA": (mgda, 1e-5),
    "lookahead + latest on the pair = extragradient": (extragradient, 1e-5),
    "history(2) + optimistic = optimistic descent": (optimistic, 1e-5),
}


@pytest.mark.parametrize("row", TABLE)
def test_it_reduces_to(row):
    compare, tolerance = TABLE[row]
    actual, expected = map(np.asarray, compare())
    assert actual.shape == expected.shape
    if tolerance is None:
        assert actual.tobytes() == expected.tobytes()
    else:
        np.testing.assert_allclose(actual, expected, atol=tolerance)
