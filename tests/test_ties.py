"""Ties decided along a direction, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subsel import kinks

# Function, kink, and the one-sided derivatives there.
KINKS = [
    (kinks.relu, 0.0, 0, 1),
    (kinks.leaky_relu, 0.0, 0.01, 1),
    (kinks.abs, 0.0, -1, 1),
    (kinks.hinge, 1.0, -1, 0),
    (lambda x, **at: kinks.clip(x, -1.0, 2.0, **at), -1.0, 0, 1),
    (lambda x, **at: kinks.clip(x, -1.0, 2.0, **at), 2.0, 1, 0),
    (kinks.piecewise([jnp.negative, jnp.square], [0.0]), 0.0, -1, 0),
]


def pool(shape, at_kink):
    return kinks.max_pool(jnp.ones(shape), (2, 2), at_kink=at_kink)


@pytest.mark.parametrize("ours, at, left, right", KINKS)
def test_a_direction_decides(ours, at, left, right):
    def f(x):
        return ours(x, at_kink="direction").sum()

    x, along = jnp.full(2, at), jnp.array([1.0, -2.0])
    wanted = [right, left]
    for gradient in (jax.jit(kinks.grad(f)), jax.jit(jax.vmap(kinks.grad(f)))):
        np.testing.assert_allclose(gradient(x, along=along), wanted, rtol=1e-6)
    forward = jax.jit(lambda x, d: jax.jvp(f, (x,), (d,))[1])
    np.testing.assert_allclose(forward(x, along), np.dot(wanted, along), rtol=1e-6)


def test_where_the_direction_is_zero_ties_go_to_the_left_or_first():
    for f, slope in ((kinks.relu, 0), (kinks.abs, -1)):
        gradient = kinks.grad(lambda x, f=f: f(x, at_kink="direction"))
        assert gradient(0.0, along=0.0) == slope
    gradient = kinks.grad(lambda x: kinks.maximum(x, x**2, at_kink="direction"))
    assert gradient(1.0, along=0.0) == 1


def test_the_artefact_of_a_function_that_is_zero():
    def zero(x, at_kink):
        return kinks.relu(-x, at_kink=at_kink) + x - kinks.relu(x, at_kink=at_kink)

    assert jax.grad(zero)(0.0, "left") == 1
    assert jax.grad(lambda x: jax.nn.relu(-x) + x - jax.nn.relu(x))(0.0) == 1
    for along in (1.0, -1.0, 1e-30):
        assert kinks.value_and_grad(zero)(0.0, "direction", along=along) == (0, 0)


def network(params, x, relu):
    hidden = relu(x @ params["first"] + params["bias"][None])
    return jnp.sum(jnp.tanh(relu(hidden @ params["second"])))


@pytest.mark.parametrize("seed", range(3))
def test_a_network_at_a_tie_has_the_gradient_of_a_point_along_the_direction(seed):
    """With the one-sided limit as the reference, which plain autodiff misses."""
    rng = np.random.default_rng(seed)

    # Small integers, so that sums are exact and ties of both layers abound.
    def draw(*shape):
        return rng.integers(-1, 2, shape).astype(np.float32)

    params = {"first": draw(3, 8), "bias": draw(8), "second": draw(8, 4)}
    x = draw(5, 3)
    along = {k: rng.normal(size=p.shape).astype("f") for k, p in params.items()}

    def locked(params, x):
        return network(params, x, lambda x: kinks.relu(x, at_kink="direction"))

    @jax.jit
    def plain(params):
        return jax.grad(network)(params, x, jax.nn.relu)

    near = plain({k: params[k] + np.float32(1e-5) * along[k] for k in params})
    value, gradient = jax.jit(kinks.value_and_grad(locked))(params, x, along=along)
    np.testing.assert_allclose(
        value, jax.jit(network, static_argnums=2)(params, x, jax.nn.relu), rtol=1e-6
    )
    for name in params:
        np.testing.assert_allclose(gradient[name], near[name], atol=1e-3)
    at_it = plain(params)
    gaps = [np.abs(at_it[name] - near[name]).max() for name in params]
    assert max(gaps) > 0.1


def test_a_direction_passes_through_scan_and_keeps_the_dtype():
    def f(x):
        def layer(x, _):
            return kinks.relu(x, at_kink="direction"), None

        return jax.lax.scan(layer, x, None, length=3)[0].sum()

    x = jnp.zeros(2, jnp.bfloat16)
    gradient = kinks.grad(f)(x, along=jnp.array([1.0, -1.0]))
    assert gradient.dtype == x.dtype
    np.testing.assert_array_equal(gradient.astype(float), [1.0, 0.0])


@pytest.mark.parametrize("wrap", [jax.jit, jax.checkpoint, lambda f: f])
def test_reverse_mode_without_a_direction_is_an_error(wrap):
    f = wrap(lambda x: kinks.relu(x, at_kink="direction").sum())
    with pytest.raises(TypeError, match=r"kinks\.grad\(f\)\(x, along=d\)"):
        jax.grad(f)(jnp.ones(2))
    with pytest.raises(TypeError, match="scalar-output"):
        kinks.grad(kinks.relu)(jnp.ones(2), along=jnp.ones(2))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: kinks.relu(0.0, at_kink=1.5), r"1.5.*from 0.0 to 1.0.*'left'"),
        (lambda: kinks.relu(0.0, at_kink=float("nan")), "nan"),
        (lambda: kinks.relu(0.0, at_kink="first"), r"relu\(at_kink='first'\).*'mid'"),
        (lambda: kinks.relu(0.0, at_kink=jax.random.key(0)), r"random\(key\)"),
        (lambda: kinks.leaky_relu(0.0, 0.2, at_kink=0.1), "from 0.2 to 1.0"),
        (lambda: kinks.abs(0.0, at_kink=-1.1), "from -1.0 to 1.0"),
        (lambda: kinks.hinge(0.0, at_kink=0.5), "from -1.0 to 0.0"),
        (lambda: kinks.clip(0.0, 0.0, 1.0, at_kink="first"), "clip.*'left'"),
        (lambda: kinks.maximum(0.0, 0.0, at_kink="left"), "maximum.*'first'"),
        (lambda: kinks.minimum(0.0, 0.0, at_kink=2), "minimum.*from 0 to 1"),
        (lambda: pool((1, 2, 2, 1), 0.5), "max_pool.*expected 'first'"),
        (lambda: pool((2, 2, 1), "first"), r"shape \(2, 2, 1\)"),
        (
            lambda: kinks.piecewise([jnp.negative, jnp.square], [0.0])(
                0.0, at_kink=0.5
            ),
            "from -1.0 to 0.0",
        ),
        (lambda: kinks.piecewise([abs, abs], []), "increasing"),
        (lambda: kinks.piecewise([abs] * 3, [1.0, 1.0]), r"\[1.0, 1.0\].*increasing"),
        (lambda: kinks.piecewise([abs], [1.0]), "1 pieces.*one piece more"),
        (lambda: kinks.piecewise([jnp.negative, jnp.exp], [0.0]), "0.0 and 1.0"),
        (lambda: kinks.piecewise([jnp.sqrt, jnp.square], [0.0]), "finite slope"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
