"""Convolutions as products against XLA's own, on a CPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from subsel.gan.models import convolution

KINDS = [convolution.conv_as_product, convolution.deconv_as_product]
# Size, stride, channels: with few in, copies are moved; with few out, parts are.
CASES = [(1, 1, (3, 2)), (3, 1, (2, 3)), (4, 2, (1, 6)), (6, 2, (6, 1))]
LAYOUTS = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC")}

each = pytest.mark.parametrize


def own(product, stride, rank):
    """XLA's own, of which ``product`` is the replacement."""
    strides, numbers = (stride,) * rank, LAYOUTS[rank]
    if product is convolution.conv_as_product:
        return lambda x, w: lax.conv_general_dilated(
            x, w, strides, "SAME", dimension_numbers=numbers
        )
    return lambda x, w: lax.conv_transpose(
        x, w, strides, "SAME", dimension_numbers=numbers
    )


def operands(rank, size, channels, dtype="float32"):
    draw = np.random.default_rng(0).normal
    sides = (4, 6)[:rank]
    x, w = draw(size=(2, *sides, channels[0])), draw(size=(*(size,) * rank, *channels))
    return jnp.asarray(x, dtype), jnp.asarray(w, dtype)


def first_and_second(f):
    """Values, derivatives, and those of the squared norm of the slope in x."""

    def total(x, w):
        return jnp.sum(jnp.sin(f(x, w)))

    def penalty(x, w):
        return jnp.sum(jax.grad(total)(x, w) ** 2)

    @jax.jit
    def all_of_them(x, w):
        first = jax.grad(total, (0, 1))(x, w)
        return f(x, w), first, jax.grad(penalty, (0, 1))(x, w)

    return all_of_them


@each("product", KINDS)
@each("rank", [1, 2])
@each(("size", "stride", "channels"), CASES)
def test_values_and_derivatives_are_those_of_xla(product, rank, size, stride, channels):
    x, w = operands(rank, size, channels)
    got = first_and_second(lambda x, w: product(x, w, (stride,) * rank))(x, w)
    wanted = first_and_second(own(product, stride, rank))(x, w)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())


@each(("size", "stride", "channels"), CASES)
def test_deconvolution_is_the_adjoint_of_convolution(size, stride, channels):
    """<conv(x, w), y> is <x, deconv(y, w turned around)>."""
    x, w = operands(2, size, channels)
    strides = (stride, stride)

    @jax.jit
    def both(x, w):
        value = convolution.conv_as_product(x, w, strides)
        y = jnp.cos(value)
        turned = jnp.flip(w, (0, 1)).swapaxes(-1, -2)
        back = convolution.deconv_as_product(y, turned, strides)
        return jnp.vdot(value, y), jnp.vdot(x, back)

    np.testing.assert_allclose(*both(x, w), rtol=1e-4, atol=1e-3)


@each("product", KINDS)
def test_half_precision_is_kept(product):
    x, w = operands(2, 4, (3, 2), "bfloat16")
    y = jax.jit(product, static_argnums=2)(x, w, (2, 2))
    assert y.dtype == jnp.bfloat16
    wanted = own(product, 2, 2)(x.astype("float32"), w.astype("float32"))
    np.testing.assert_allclose(y.astype("float32"), wanted, rtol=0.05, atol=0.2)


@each("product", KINDS)
def test_maps_over_samples_and_kernels(product):
    x, w = operands(2, 4, (3, 2))
    f = jax.jit(lambda x, w: product(x, w, (2, 2)))
    got = jax.jit(jax.vmap(f))(np.stack([x, 2 * x]), np.stack([w, -w]))
    y = f(x, w)
    np.testing.assert_allclose(got, np.stack([y, -2 * y]), rtol=1e-4, atol=1e-4)


@each("product", KINDS)
def test_has_forward_derivatives(product):
    x, w = operands(2, 4, (3, 2))
    f = jax.jit(lambda x: product(x, w, (2, 2)))
    y, slope = jax.jit(lambda x: jax.jvp(f, (x,), (x,)))(x)
    np.testing.assert_allclose(slope, y, rtol=1e-5, atol=1e-5)
