"""Kinks: JAX's values and conventions, and every choice of the derivative at a tie."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subsel import kinks

KEY = jax.random.key(0)
WINDOW = ((2, 3), (1, 2), "SAME")


def pool(x, at_kink=None):
    chosen = {} if at_kink is None else {"at_kink": at_kink}
    return kinks.max_pool(x, *WINDOW, **chosen)


def jax_pool(x):
    return jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, 2, 3, 1), (1, 1, 2, 1), "SAME"
    )


def jax_hinge(x):
    return jnp.maximum(0, 1 - x)


# Ours, JAX's, where the kinks are, and the one-sided derivatives there.
ONE = {
    "relu": (kinks.relu, jax.nn.relu, {0.0: (0, 1)}),
    "leaky_relu": (kinks.leaky_relu, jax.nn.leaky_relu, {0.0: (0.01, 1)}),
    "abs": (kinks.abs, jnp.abs, {0.0: (-1, 1)}),
    "hinge": (kinks.hinge, jax_hinge, {1.0: (-1, 0)}),
    "clip": (
        lambda x, **at: kinks.clip(x, -1.0, 2.0, **at),
        lambda x: jnp.clip(x, -1.0, 2.0),
        {-1.0: (0, 1), 2.0: (1, 0)},
    ),
    "piecewise": (
        kinks.piecewise([jnp.negative, jnp.square, lambda x: 2 * x - 1], [0.0, 1.0]),
        lambda x: jnp.where(x < 0, -x, jnp.where(x < 1, x**2, 2 * x - 1)),
        {0.0: (-1, 0), 1.0: (2, 2)},
    ),
}
TWO = {"maximum": (kinks.maximum, jnp.maximum), "minimum": (kinks.minimum, jnp.minimum)}
FLOATS = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, np.inf, -np.inf, np.nan])
ROWS = st.lists(FLOATS | st.floats(width=16), min_size=6, max_size=6)


def assert_same_bits(ours, theirs):
    assert ours.dtype == theirs.dtype
    ours, theirs = (np.asarray(a, np.float64) for a in (ours, theirs))
    np.testing.assert_array_equal(ours, theirs)
    number = ~np.isnan(theirs)
    assert (np.signbit(ours) == np.signbit(theirs))[number].all()


def one_sided(name):
    ours, _, ties = ONE[name]
    return [(ours, at, left, right) for at, (left, right) in ties.items()]


KINKS = [case for name in ONE for case in one_sided(name)]


def test_conventions_of_jax_itself():
    """What the defaults repeat, and what the documentation says."""

    def slope(f, **which):
        return jax.jit(jax.grad(f, **which))

    assert slope(jax.nn.relu)(0.0) == 0
    assert slope(jax.nn.leaky_relu)(0.0) == 1
    assert slope(jnp.abs)(0.0) == slope(jnp.abs)(-0.0) == 1
    for theirs in (jnp.maximum, jnp.minimum):
        assert slope(theirs)(0.0, 0.0) == slope(theirs, argnums=1)(0.0, 0.0) == 0.5
    assert slope(jnp.clip)(0.0, 0.0, 1.0) == slope(jnp.clip)(1.0, 0.0, 1.0) == 0.5
    np.testing.assert_array_equal(slope(jnp.max)(jnp.zeros(4)), np.full(4, 0.25))
    first = slope(lambda x: jax_pool(x).sum())(jnp.zeros((1, 2, 3, 1)))
    default = slope(lambda x: pool(x).sum())(jnp.zeros((1, 2, 3, 1)))
    np.testing.assert_array_equal(first, default)
    assert first[0, 0, 0, 0] == 1


@pytest.mark.parametrize("name", [name for name in ONE if name != "piecewise"])
def test_defaults_are_jaxs_own(name):
    ours, theirs, ties = ONE[name]
    for at in ties:
        assert jax.grad(ours)(at) == jax.grad(theirs)(at)


@jax.jit
def both_values(x, y):
    single = [ONE[name][:2] for name in ONE if name != "piecewise"]
    image = jnp.concatenate([x, y]).reshape(1, 3, 4, 1)
    return [
        *((ours(x), theirs(x)) for ours, theirs in single),
        *((ours(x, y), theirs(x, y)) for ours, theirs in TWO.values()),
        (pool(image), jax_pool(image)),
    ]


@settings(max_examples=100, deadline=None)
@given(ROWS, ROWS, st.sampled_from(["float32", "bfloat16", "float16"]))
def test_values_are_jaxs_bit_for_bit(x, y, dtype):
    x, y = jnp.asarray(x, dtype), jnp.asarray(y, dtype)
    for ours, theirs in both_values(x, y):
        assert_same_bits(ours, theirs)


def test_piecewise_is_its_pieces_and_nan_stays_nan():
    ours, theirs, _ = ONE["piecewise"]
    x = jnp.array([-3.0, -0.5, 0.0, 0.5, 1.0, 1.5, jnp.inf, -jnp.inf, jnp.nan])
    expected = np.where(np.isnan(x), x, jax.jit(theirs)(x))
    np.testing.assert_array_equal(jax.jit(ours)(x), expected)
    root = kinks.piecewise([jnp.zeros_like, lambda x: jnp.sqrt(x) - 1], [1.0])
    slope = jax.jit(jax.vmap(jax.grad(root)))
    np.testing.assert_array_equal(slope(jnp.array([-2.0])), [0.0])


def test_broadcasting_is_numpys():
    @jax.jit
    def both(x):
        return (
            (kinks.maximum(x, 2.0), jnp.maximum(x, 2.0)),
            (kinks.minimum(x, x[:, :1]), jnp.minimum(x, x[:, :1])),
            (kinks.clip(x, x[:1], 4), jnp.clip(x, x[:1], 4)),
        )

    x = jnp.arange(6.0).reshape(2, 3)
    for ours, theirs in both(x):
        assert_same_bits(ours, theirs)
    low = jax.jit(jax.grad(lambda lo: kinks.clip(x, lo, 9.0).sum()))
    np.testing.assert_array_equal(low(jnp.array([[1.0, 4.0, 5.0]])), [[1.0, 1.5, 1.5]])


@pytest.mark.parametrize("ours, at, left, right", KINKS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_choices_at_a_kink(ours, at, left, right, dtype):
    choices = {"left": left, "right": right, "mid": (left + right) / 2}
    if ours is not ONE["piecewise"][0]:  # a number must suit all of its kinks
        choices |= {s: s for s in (left, left + 0.25 * (right - left), right)}

    @jax.jit
    def slopes(x):
        def both(at_kink):
            def f(x):
                return ours(x, at_kink=at_kink)

            back = jax.grad(lambda x: f(x).sum())(x)
            return back, jax.jvp(f, (x,), (jnp.full_like(x, 2),))[1]

        return [both(at_kink) for at_kink in choices]

    x = jnp.full(3, at, dtype)
    for slope, (back, forward) in zip(choices.values(), slopes(x), strict=True):
        assert back.dtype == forward.dtype == x.dtype
        np.testing.assert_array_equal(back, jnp.full(3, slope, dtype))
        np.testing.assert_array_equal(forward, 2 * back)


@pytest.mark.parametrize("ours, at, left, right", KINKS)
def test_random_choices_fill_the_interval(ours, at, left, right):
    x = jnp.full(2000, at)

    @jax.jit
    @jax.vmap
    def slopes(key):
        return jax.grad(lambda x: ours(x, at_kink=kinks.random(key)).sum())(x)

    drawn, other = np.asarray(slopes(jax.random.split(KEY)))
    low, high = min(left, right), max(left, right)
    assert low <= drawn.min() and drawn.max() <= high
    # The mean of a uniform variable: 5 standard errors.
    error = 5 * (high - low) / np.sqrt(12 * x.size)
    assert abs(drawn.mean() - (low + high) / 2) <= error + 1e-6
    assert len(np.unique(drawn)) > 1000 or low == high
    assert (drawn != other).any() or low == high


@pytest.mark.parametrize("name", ONE)
def test_off_kinks_derivatives_are_jaxs(name):
    ours, theirs, _ = ONE[name]

    @jax.jit
    @jax.vmap
    def three(x):
        def derivatives(f):
            return f(x), jax.grad(f)(x), jax.grad(jax.grad(f))(x)

        choices = ("left", "mid", "right", kinks.random(KEY))
        chosen = [derivatives(lambda x, a=a: ours(x, at_kink=a)) for a in choices]
        return derivatives(theirs), chosen

    expected, chosen = three(jnp.array([-3.7, -0.3, 0.4, 1.3, 5.0]))
    for derivatives in chosen:
        np.testing.assert_array_equal(derivatives, expected)


@pytest.mark.parametrize("name", TWO)
def test_ties_of_two_are_shared(name):
    ours, theirs = TWO[name]
    x, y = jnp.array([1.0, 2.0, 3.0, -jnp.inf]), jnp.array([1.0, 3.0, 2.0, -jnp.inf])
    tie = np.array([True, False, False, True])

    @jax.jit
    def slopes(x, y):
        def pair(f, **choice):
            return jax.grad(lambda x, y: f(x, y, **choice).sum(), (0, 1))(x, y)

        choices = ("first", "last", "mid", 0.25, kinks.random(KEY))
        return pair(theirs), [pair(ours, at_kink=a) for a in choices]

    own, (*chosen, _) = slopes(x, y)
    for share, pair in zip((1, 0, 0.5, 0.25), chosen, strict=True):
        np.testing.assert_array_equal(pair[0], np.where(tie, share, own[0]))
        np.testing.assert_array_equal(pair[1], np.where(tie, 1 - share, own[1]))
    x = jnp.zeros(2000)
    _, (*_, (first, second)) = slopes(x, x)
    np.testing.assert_allclose(first + second, 1, rtol=1e-6)
    assert abs(first.mean() - 0.5) < 5 / np.sqrt(12 * x.size)
    along = jnp.where(jnp.arange(2000) < 1000, 1.0, -1.0)
    locked = kinks.grad(lambda x: ours(x, 0 * x, at_kink="direction").sum())
    rising = (along > 0) == (name == "maximum")
    np.testing.assert_array_equal(jax.jit(locked)(x, along=along), rising)


def test_second_derivatives_are_zero_at_a_kink_and_jaxs_off_it():
    def f(x, at_kink):
        return kinks.relu(x**3, at_kink=at_kink) + kinks.maximum(x**2, 4.0)

    @jax.jit
    @jax.vmap
    def second(x):
        return [jax.grad(jax.grad(f))(x, at_kink) for at_kink in ("left", "right")]

    x = jnp.array([-1.0, 0.0, 1.0, 3.0])
    np.testing.assert_array_equal(second(x), [[0.0, 0.0, 6.0, 20.0]] * 2)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_pooling_off_ties_is_jaxs(dtype):
    image = jnp.arange(24).astype(dtype)[jax.random.permutation(KEY, 24)]
    image = image.reshape(1, 4, 3, 2)
    weights = jax.random.normal(KEY, jax_pool(image).shape, dtype)

    @jax.jit
    def derivatives(x):
        def two(f, *choice):
            def total(x):
                return (weights * f(x**2, *choice)).sum()

            return jax.grad(total)(x), jax.jvp(jax.grad(total), (x,), (x,))[1]

        choices = ("first", "last", "mid", kinks.random(KEY))
        return two(jax_pool), [two(pool, at_kink) for at_kink in choices]

    theirs, chosen = derivatives(image)
    for ours in chosen:
        np.testing.assert_array_equal(ours, theirs)


def test_pooling_ties_against_numpy():
    """Non-overlapping windows of ones: which entries of each share its slope."""
    x = jnp.ones((1, 4, 6, 2)).at[0, 0, 0].set(0.0)
    step = jax.random.normal(KEY, x.shape)

    def blocks(a):
        return (
            np.asarray(a).reshape(2, 2, 2, 3, 2).transpose(0, 2, 4, 1, 3).reshape(-1, 6)
        )

    def slopes(at_kink):
        def f(x):
            return kinks.max_pool(x, (2, 3), (2, 3), at_kink=at_kink).sum()

        if at_kink == "direction":
            return blocks(jax.jit(kinks.grad(f))(x, along=step))
        return blocks(jax.jit(jax.grad(f))(x))

    places, tied = np.arange(6)[None], blocks(x) == 1
    move = np.where(tied, blocks(step), -np.inf)
    first, last = tied.argmax(1)[:, None], 5 - tied[:, ::-1].argmax(1)[:, None]
    np.testing.assert_array_equal(slopes("first"), places == first)
    np.testing.assert_array_equal(slopes("last"), places == last)
    share = tied / tied.sum(1, keepdims=True)
    np.testing.assert_allclose(slopes("mid"), share, rtol=1e-6)
    upward = places == move.argmax(1)[:, None]
    np.testing.assert_array_equal(slopes("direction"), upward)
    drawn = slopes(kinks.random(KEY))
    assert (drawn[~tied] == 0).all() and (drawn[tied] > 0).all()
    np.testing.assert_allclose(drawn.sum(1), 1, rtol=1e-5)
