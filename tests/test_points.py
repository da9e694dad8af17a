"""Oracles at other points: games with known contraction, sampling with known means."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import subsel
from subsel import linalg

# Contraction a step on f(x, y) = xy, from the spectral radii of the exact iteration
# matrices: simultaneous descent-ascent, extragradient, past-extragradient.
RADII = {
    0.1: (1.0050, 0.9950, 0.9949),
    0.3: (1.0440, 0.9582, 0.9487),
    0.5: (1.1180, 0.9014, 0.7071),
}


def xy(z):
    """The field of both players, each descending its own loss: (y, -x)."""
    return {"x": z["y"], "y": -z["x"]}


def dirac(z):
    """Of the Dirac-GAN: theta minimises f(theta psi) + f(0), psi maximises it."""
    share = jax.nn.sigmoid(-z["theta"] * z["psi"])  # f(t) = -log(1 + e^-t)
    return {"theta": share * z["psi"], "psi": -share * z["theta"]}


def play(field, start, rate, steps, **selection):
    """Distances from the origin along a game; the selection is on the pair."""
    tx = optax.chain(subsel.select_subgradient(**selection), optax.sgd(rate))

    def body(carry, _):
        z, state = carry
        updates, state = tx.update(field(z), state, z, grad_fn=field)
        z = optax.apply_updates(z, updates)
        return (z, state), jnp.hypot(*jax.tree.leaves(z))

    return jax.lax.scan(body, (start, tx.init(start)), length=steps)[1]


GAMES = {
    "gradient": lambda rate: {},
    "extragradient": lambda rate: {"candidates": subsel.lookahead(rate)},
    "optimistic": lambda rate: {
        "candidates": subsel.history(2),
        "select": subsel.optimistic(),
    },
    "reflected": lambda rate: {"candidates": subsel.reflect()},
    "min-norm": lambda rate: {
        "candidates": subsel.lookahead(rate),
        "select": subsel.min_norm(),
    },
}
COLUMN = dict(zip(GAMES, (0, 1, 2, 2, 0), strict=True))


@pytest.mark.parametrize("rate", RADII)
@pytest.mark.parametrize("name", GAMES)
def test_contraction_on_xy(name, rate):
    """Min-norm of a rotating field is plain descent-ascent: it diverges like it."""
    start = {"x": jnp.float32(1.0), "y": jnp.float32(1.0)}
    length = play(xy, start, rate, 200, **GAMES[name](rate))
    measured = (length[199] / length[99]) ** (1 / 100)
    assert measured == pytest.approx(RADII[rate][COLUMN[name]], rel=0.01)


@pytest.mark.parametrize(
    ("name", "rate"), [("extragradient", 1.1), ("optimistic", 0.6), ("reflected", 0.6)]
)
def test_unstable_where_theory_says(name, rate):
    """Above 1 and above 1 / sqrt(3)."""
    start = {"x": jnp.float32(1.0), "y": jnp.float32(1.0)}
    length = play(xy, start, rate, 200, **GAMES[name](rate))
    assert length[-1] > 10 * length[0]


@pytest.mark.parametrize("name", ["extragradient", "optimistic", "reflected"])
def test_dirac_gan_converges_without_a_regulariser(name):
    start = {"theta": jnp.float32(1.0), "psi": jnp.float32(1.0)}
    length = play(dirac, start, 0.1, 5000, **GAMES[name](0.1))
    assert length[-1] <= 3e-3
    assert play(dirac, start, 0.1, 5000)[-1] > 1  # descent-ascent does not


def test_lookahead_with_an_optimizer_of_its_own():
    """Extra-Adam of Gidel et al. 2019, moments for each of its two steps."""
    start, rate = {"x": jnp.float32(1.0), "y": jnp.float32(1.0)}, 0.05
    adam = optax.adam(rate, b1=0.0, b2=0.9)
    tx = optax.chain(subsel.select_subgradient(subsel.lookahead(adam)), adam)
    z, state = start, tx.init(start)
    expected, trial, step = start, adam.init(start), adam.init(start)
    for _ in range(20):
        updates, state = tx.update(xy(z), state, z, grad_fn=xy)
        z = optax.apply_updates(z, updates)
        ahead, trial = adam.update(xy(expected), trial)
        field = xy(optax.apply_updates(expected, ahead))
        moved, step = adam.update(field, step)
        expected = optax.apply_updates(expected, moved)
    np.testing.assert_allclose(z["x"], expected["x"], rtol=1e-4)
    np.testing.assert_allclose(z["y"], expected["y"], rtol=1e-4)


def test_extragradient_is_the_ready_made_one():
    start, rate = {"x": jnp.float32(1.0), "y": jnp.float32(1.0)}, 0.3
    tx, z, lengths = subsel.extragradient(rate), start, []
    update, state = jax.jit(lambda z, s: tx.update(xy(z), s, z, grad_fn=xy)), tx.init(z)
    for _ in range(60):
        updates, state = update(z, state)
        z = optax.apply_updates(z, updates)
        lengths.append(np.hypot(*z.values()))
    expected = play(xy, start, rate, 60, **GAMES["extragradient"](rate))
    np.testing.assert_allclose(lengths, expected, rtol=1e-4)


def once(tx, params, grad_fn):
    updates, _ = jax.jit(
        lambda p: tx.update(grad_fn(p), tx.init(p), p, grad_fn=grad_fn)
    )(params)
    return updates


def test_ball_and_min_norm_find_the_way_along_a_valley():
    """On both sides of |x| the gradients are (-1, 0.1) and (1, 0.1)."""
    tx = subsel.select_subgradient(subsel.ball(32, 0.5), subsel.min_norm())
    updates = once(
        tx,
        jnp.array([0.01, 0.0]),
        lambda p: jnp.array([1, 0.1]).at[0].set(jnp.sign(p[0])),
    )
    np.testing.assert_allclose(updates, [0, 0.1], atol=1e-6)


def test_a_complex_number_of_the_ball_counts_as_two():
    """Uniform in the ball: squared lengths are in the ratio of the dimensions."""
    tree = {"c": jnp.zeros(300, jnp.complex64), "r": jnp.zeros(600)}
    drawn = linalg.unit_ball(jax.random.key(0), tree)
    length = {name: float(jnp.sum(jnp.abs(x) ** 2)) for name, x in drawn.items()}
    assert length["c"] == pytest.approx(length["r"], rel=0.2)
    assert abs(np.corrcoef(drawn["c"].real, drawn["c"].imag)[0, 1]) < 0.2


def test_ball_points_are_inside_and_differ_from_update_to_update():
    seen = []

    def grad_fn(params):
        jax.debug.callback(lambda p: seen.append(np.array(p)), params)
        return params

    tx = subsel.select_subgradient(subsel.ball(5, 0.25), subsel.mean())
    params = jnp.ones(3)
    update = jax.jit(lambda p, state: tx.update(p, state, p, grad_fn=grad_fn))
    state = tx.init(params)
    for _ in range(2):
        _, state = update(params, state)
    jax.effects_barrier()
    assert len(seen) == len({point.tobytes() for point in seen}) == 8
    distance = np.linalg.norm(np.array(seen) - 1, axis=1)
    assert (distance <= 0.25).all() and distance.max() > 0.1


ORACLES = {
    "ball": subsel.ball(2, 0.1),
    "segment": subsel.segment(2, 0.1),
    "lookahead": subsel.lookahead(0.1),
    "reflect": subsel.reflect(),
}


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("given", ["params", "grad_fn"])
def test_what_is_missing_is_named_at_trace_time(name, given):
    tx = subsel.select_subgradient(ORACLES[name])
    params = jnp.ones(2)
    args = {"params": params, "grad_fn": lambda p: p}
    with pytest.raises(ValueError, match=rf"{name}\(\) needs (params|grad_fn)"):
        tx.update(params, tx.init(params), **{given: args[given]})


@pytest.mark.parametrize(
    "make",
    [
        lambda: subsel.ball(0, 0.1),
        lambda: subsel.ball(2, -0.1),
        lambda: subsel.segment(1, 0.1),
        lambda: subsel.segment(2, 0.0),
        lambda: subsel.lookahead(-1.0),
    ],
)
def test_sizes_and_distances_that_cannot_be_are_refused(make):
    with pytest.raises(ValueError, match="expected"):
        make()


@pytest.mark.parametrize("name", ORACLES)
def test_dtypes_and_structure_are_kept(name):
    tx = subsel.select_subgradient(ORACLES[name], subsel.mean(), scale="match")
    params = {"a": jnp.ones(3, jnp.bfloat16), "b": (jnp.ones((2, 2)), None)}
    state = tx.init(params)
    kinds = jax.tree.map(lambda x: (x.shape, x.dtype), (params, state))
    for _ in range(2):
        updates, state = jax.jit(
            lambda p, s: tx.update(p, s, p, grad_fn=lambda q: jax.tree.map(jnp.sin, q))
        )(params, state)
        assert jax.tree.map(lambda x: (x.shape, x.dtype), (updates, state)) == kinds


def test_a_radius_of_float64_beside_parameters_of_float32():
    with jax.enable_x64(True):
        oracle = subsel.segment(3, np.float64(0.1))
        tx = subsel.select_subgradient(oracle, subsel.min_norm())
        x = jnp.ones(2, jnp.float32)
        updates, _ = tx.update(x, tx.init(x), x, grad_fn=lambda x: x)
        assert updates.dtype == jnp.float32 and np.isfinite(updates).all()
