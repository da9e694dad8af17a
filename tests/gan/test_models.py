"""Shapes and sizes of the networks, and the walk between latent points."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subsel.gan import models


def count(params):
    return sum(x.size for x in jax.tree.leaves(params))


def test_parameter_counts_of_the_articles_networks():
    d = models.discriminator((28, 28, 1), (128, 128)).init(jax.random.key(0))
    g = models.generator(100, (28, 28, 1), (128, 128), "tanh").init(jax.random.key(0))
    assert count(d) == (784 * 128 + 128) + (128 * 128 + 128) + (128 + 1)
    assert count(g) == (100 * 128 + 128) + (128 * 128 + 128) + (128 * 784 + 784)


@pytest.mark.parametrize("shape", [(2,), (8, 8, 1), (32, 32, 3)])
def test_shapes(shape):
    d = models.discriminator(shape, (5,))
    g = models.generator(3, shape, (5,), "identity")
    keys = jax.random.split(jax.random.key(0))
    fake = g.apply(g.init(keys[0]), jnp.ones((4, 3)))
    assert fake.shape == (4, *shape)
    assert d.apply(d.init(keys[1]), fake).shape == (4,)


def test_networks_against_numpy():
    d = models.discriminator((2,), (3,))
    params = jax.tree.map(np.array, d.init(jax.random.key(1)))
    x = np.array([[0.5, -2.0], [3.0, 1.0]], np.float32)
    first, second = params["Dense_0"], params["Dense_1"]
    h = x @ first["kernel"] + first["bias"]
    h = np.where(h > 0, h, 0.2 * h)
    expected = (h @ second["kernel"] + second["bias"])[:, 0]
    np.testing.assert_allclose(d.apply(params, x), expected, rtol=1e-5)


def test_the_derivative_at_zero_is_flaxs_unless_chosen():
    """On parameters of zeros and ones, where every unit of the first layer is tied."""
    x, ones = jnp.zeros((4, 2)), lambda key, shape, dtype=None: jnp.ones(shape)

    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.leaky_relu(nn.Dense(3, kernel_init=ones)(x), 0.2)
            return nn.Dense(1, kernel_init=ones)(x)[:, 0]

    params = Flax().init(jax.random.key(0), x)

    def slope(apply):
        gradient = jax.grad(lambda x: apply(params["params"], x).sum())(x)
        np.testing.assert_allclose(gradient, gradient[0, 0])
        return float(gradient[0, 0])

    flax = slope(lambda p, x: Flax().apply({"params": p}, x))
    assert slope(models.discriminator((2,), (3,)).apply) == flax == 3
    for chosen in (0.2, 0.5, 1.0):
        net = models.discriminator((2,), (3,), chosen)
        np.testing.assert_allclose(slope(net.apply), 3 * chosen, rtol=1e-6)
        g = models.generator(2, (1,), (3,), "identity", chosen)
        np.testing.assert_allclose(slope(g.apply), 3 * chosen, rtol=1e-6)


@pytest.mark.parametrize("net", ["d", "g"])
def test_gradients_are_flaxs_bit_for_bit(net):
    x = jax.random.normal(jax.random.key(0), (16, 4))
    own = models.discriminator((4,), (8, 8))
    if net == "g":
        own = models.generator(4, (3,), (8, 8), "identity")
    params = own.init(jax.random.key(1))

    def flax(params, x):
        for name in ("Dense_0", "Dense_1"):
            x = x @ params[name]["kernel"] + params[name]["bias"][None]
            x = nn.leaky_relu(x, 0.2)
        x = x @ params["Dense_2"]["kernel"] + params["Dense_2"]["bias"][None]
        return x if net == "g" else x[:, 0]

    ours, theirs = (
        jax.jit(jax.grad(lambda p, f=f: jnp.sum(f(p, x) ** 2)))(params)
        for f in (own.apply, flax)
    )
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_tanh_bounds_the_samples_and_identity_does_not():
    z = 100 * jax.random.normal(jax.random.key(0), (64, 3))
    largest = {}
    for output in models.OUTPUTS:
        g = models.generator(3, (2,), (8,), output)
        largest[output] = np.abs(g.apply(g.init(jax.random.key(0)), z)).max()
    assert largest["tanh"] <= 1 < largest["identity"]


def test_great_circle_keeps_ends_length_and_equal_angles():
    a, b = np.array([[3.0, 0.0]]), np.array([[0.0, 3.0]])
    points = models.great_circle(a, b, 7)
    angle = np.linspace(0, np.pi / 2, 7)
    expected = 3 * np.stack([np.cos(angle), np.sin(angle)], 1)
    np.testing.assert_allclose(points, expected, atol=1e-5)
