"""Penalties against closed forms of linear and quadratic D, and their gradients."""

import doctest

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from subsel.gan import penalties
from subsel.gan.penalties import PENALTIES, clip_weights

B, SHAPE = 6, (3, 2, 1)
W = jax.random.normal(jax.random.key(0), SHAPE)
REAL, FAKE = jax.random.uniform(jax.random.key(1), (2, B, *SHAPE), minval=-1)
KEYS = jax.random.split(jax.random.key(2), B)


def linear(params):
    """w . x + b, of gradient w everywhere."""
    return lambda x: jnp.einsum("bijk,ijk->b", x, params["w"]) + params["b"]


def quadratic(params):
    """a |x|^2 / 2, of gradient a x."""
    return lambda x: params["a"] * jnp.sum(x**2, axis=(1, 2, 3)) / 2


def smooth(params):
    """A network with one hidden layer, of 4 tanh."""

    def d(x):
        hidden = jnp.tanh(x.reshape(len(x), -1) @ params["in"] + params["bias"])
        return hidden @ params["out"]

    return d


def smooth_params():
    keys = jax.random.split(jax.random.key(3), 3)
    return {
        "in": jax.random.normal(keys[0], (6, 4)),
        "bias": jax.random.normal(keys[1], (1, 4)),
        "out": jax.random.normal(keys[2], (4,)),
    }


def penalty(name, d, real=REAL, fake=FAKE, keys=KEYS):
    """Compiled, which is faster than one operation after the other."""
    return jax.jit(PENALTIES[name], static_argnums=0)(d, real, fake, keys)


def norms(x):
    return np.linalg.norm(np.asarray(x, np.float64).reshape(B, -1), axis=1)


def of_linear(name):
    """The penalty of a linear D, as a function of its parameters."""
    return lambda params: PENALTIES[name](linear(params), REAL, FAKE, KEYS)


@pytest.mark.parametrize("name", PENALTIES)
def test_of_a_linear_d_they_are_functions_of_the_length_of_w(name):
    of = jax.jit(of_linear(name))
    for scale in (0.1, 1.0, 30.0):
        length = np.linalg.norm(scale * W)
        expected = length**2 / 2 if name in ("r1", "r2") else (length - 1) ** 2
        np.testing.assert_allclose(of({"w": scale * W, "b": 5.0}), expected, rtol=1e-5)


def test_of_a_quadratic_d_they_see_where_the_samples_are():
    d = quadratic({"a": 3.0})
    for name, x in (("r1", REAL), ("r2", FAKE)):
        expected = (3 * norms(x)) ** 2
        got = penalty(name, d)
        np.testing.assert_allclose(got, expected.mean() / 2, rtol=1e-5)


def test_wgan_gp_is_between_the_two_samples_of_each_pair():
    e = np.array([jax.random.uniform(key) for key in KEYS]).reshape(B, 1, 1, 1)
    expected = np.square(3 * norms(e * REAL + (1 - e) * FAKE) - 1).mean()
    got = penalty("wgan_gp", quadratic({"a": 3.0}))
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert len(np.unique(e)) == B


def test_wgan_gp_reaches_both_ends_evenly():
    """On D = x^2/2, real 1 and generated 0, the penalty of a pair is (e - 1)^2."""
    keys = jax.random.split(jax.random.key(4), 4000)
    ends = jnp.ones((4000, 1)), jnp.zeros((4000, 1))
    got = penalty("wgan_gp", lambda x: jnp.sum(x**2, 1) / 2, *ends, keys)
    np.testing.assert_allclose(got, 1 / 3, atol=5 * np.sqrt(4 / 45 / 4000))


def test_dragan_is_around_real_samples_whatever_is_generated():
    """On D = x^2/2 at 1 the penalty of a sample is the squared perturbation."""
    keys = jax.random.split(jax.random.key(5), 4000)
    real = jnp.ones((4000, 1))

    def d(x):
        return jnp.sum(x**2, 1) / 2

    got = penalty("dragan", d, real, jnp.nan * real, keys)
    np.testing.assert_allclose(got, 0.15**2, rtol=5 * np.sqrt(2 / 4000))


@pytest.mark.parametrize("name", PENALTIES)
def test_a_batch_is_the_mean_of_its_halves(name):
    def of(part):
        return penalty(name, d, REAL[part], FAKE[part], KEYS[part])

    d = smooth(smooth_params())
    halves = of(slice(0, 3)), of(slice(3, 6))
    np.testing.assert_allclose(of(slice(None)), np.mean(halves), rtol=1e-6)


@pytest.mark.parametrize("name", PENALTIES)
def test_second_order_gradients_are_finite_differences(name):
    @jax.jit
    @jax.value_and_grad
    def of(params):
        return PENALTIES[name](smooth(params), REAL, FAKE, KEYS)

    params, h = smooth_params(), 1e-2
    for leaf, grad in of(params)[1].items():
        along = h * jnp.sign(grad)  # one direction for all entries: float32 is coarse
        up, down = (of(params | {leaf: params[leaf] + s * along})[0] for s in (1, -1))
        expected = (up - down) / (2 * h)
        np.testing.assert_allclose(jnp.sum(jnp.abs(grad)), expected, rtol=1e-2)
        assert (np.abs(grad) > 0).all(), "some of D's parameters are not reached"


@pytest.mark.parametrize("name", PENALTIES)
def test_gradients_of_a_linear_d_are_the_closed_form_and_finite_where_it_is_flat(name):
    of = jax.jit(jax.value_and_grad(of_linear(name)))
    _, grads = of({"w": W, "b": 5.0})
    length = np.linalg.norm(W)
    factor = 1 if name in ("r1", "r2") else 2 * (length - 1) / length
    np.testing.assert_allclose(grads["w"], factor * W, rtol=1e-4)
    assert grads["b"] == 0
    for scale in (1e-30, 1e-15, 1e6):
        value, grads = of({"w": scale * W, "b": 0.0})
        assert np.isfinite(value) and np.isfinite(grads["w"]).all()
    value, grads = of({"w": 0 * W, "b": 0.0})
    assert value == (0 if name in ("r1", "r2") else 1)
    np.testing.assert_array_equal(grads["w"], 0)


def test_a_flat_relu_discriminator_has_no_nan():
    """Dead at some samples only: their rows must not spoil the others'."""

    def of(w):
        return PENALTIES["wgan_gp"](lambda x: jax.nn.relu(x @ w), x, x, KEYS)

    x = jnp.linspace(-1, 1, B)[:, None]
    np.testing.assert_allclose(of(jnp.array([3.0])), (3 * 1 + 3 * 4) / 6)
    np.testing.assert_allclose(jax.grad(of)(jnp.array([3.0])), [3 * 4 / 6], 1e-6)


@pytest.mark.parametrize("name", PENALTIES)
def test_they_compile_and_take_points_and_signals(name):
    for shape in ((2,), (5, 1)):
        x = jax.random.normal(jax.random.key(6), (B, *shape))
        w = jnp.ones(x[0].size)

        def d(x, w=w):
            return x.reshape(B, -1) @ w

        got = penalty(name, d, x, x)
        length = np.sqrt(w.size)
        expected = w.size / 2 if name in ("r1", "r2") else (length - 1) ** 2
        np.testing.assert_allclose(got, expected, rtol=1e-5)


# ---------------------------------------------------------------- weight clipping


def test_clipped_parameters_stay_in_the_box():
    tx = optax.chain(optax.adam(0.1), clip_weights(0.01))
    params = {"w": jnp.array([[0.5, -0.3, 0.0]]), "b": jnp.array([0.004])}
    state, update = tx.init(params), jax.jit(tx.update)
    for t in range(20):
        grads = jax.tree.map(lambda p, t=t: jnp.cos(9 * p + t), params)
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
        for leaf in jax.tree.leaves(params):
            assert np.abs(leaf).max() <= 0.01 * (1 + 1e-6)


def test_an_update_that_would_leave_ends_on_the_bound():
    params, updates = jnp.array([0.5, 0.0, 0.004]), jnp.array([-0.1, -7.0, 0.02])
    got, _ = clip_weights(0.01).update(updates, optax.EmptyState(), params)
    np.testing.assert_allclose(params + got, [0.01, -0.01, 0.01], rtol=1e-5)


def test_an_update_that_stays_inside_is_left_as_it_is():
    params, updates = jnp.array([0.25, -0.5]), jnp.array([0.125, 0.25])
    got, _ = clip_weights(1.0).update(updates, optax.EmptyState(), params)
    np.testing.assert_array_equal(got, updates)


def test_what_clipping_refuses():
    for bound in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="expected a positive number"):
            clip_weights(bound)
    with pytest.raises(ValueError, match="needs params"):
        clip_weights(0.1).update(jnp.zeros(1), optax.EmptyState(), None)


def test_examples():
    assert doctest.testmod(penalties).failed == 0
