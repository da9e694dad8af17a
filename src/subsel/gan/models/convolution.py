r"""Convolutions and their transposes, on a CPU as matrix products.

.. math::
    y_m = \sum_u w_u^T x_{sm + u - p}, \qquad
    y_t = \sum_{u:\, s | t + u - p'} w_u^T x_{(t + u - p') / s}

with u over the places of the kernel, s the stride and the padding "SAME". Inside of a
loop XLA hands a CPU its convolutions' gradients in plain loops: a 4x4 convolution of 32
to 64 channels takes 15 times as long as the same written as one matrix product
(``experiments/throughput.py --convolutions``). Elsewhere XLA's own are used.

Both functions stand in for ``lax.conv_general_dilated`` in ``flax.linen.Conv``.
"""

import itertools

import jax
import jax.numpy as jnp
from jax import lax


def conv(x, kernel, strides, padding, **options):
    """``[B, *sides, K]`` and ``[*places, K, F]`` to ``[B, *sides / stride, F]``."""
    if jax.default_backend() != "cpu":
        return lax.conv_general_dilated(x, kernel, strides, padding, **options)
    return conv_as_product(x, kernel, strides)


def deconv(x, kernel, strides, padding, **options):
    """``[B, *sides, K]`` and ``[*places, K, F]`` to ``[B, *sides * stride, F]``."""
    if jax.default_backend() != "cpu":
        numbers = options["dimension_numbers"]
        return lax.conv_transpose(
            x, kernel, strides, padding, dimension_numbers=numbers
        )
    return deconv_as_product(x, kernel, strides)


def conv_as_product(x, kernel, strides):
    """Every place of the kernel is a slice of x; the slices side by side, times w."""
    sizes, sides = kernel.shape[:-2], x.shape[1:-1]
    pads = [
        max((-(-n // s) - 1) * s + k - n, 0)
        for n, s, k in zip(sides, strides, sizes, strict=True)
    ]
    x = jnp.pad(x, [(0, 0), *((p // 2, p - p // 2) for p in pads), (0, 0)])
    places = itertools.product(*map(range, sizes))
    seen = [_from(x, place, sides, strides) for place in places]
    return jnp.concatenate(seen, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


def deconv_as_product(x, kernel, strides):
    """Of kernels twice as large as the stride: a product for each phase of the output.

    A phase sees two neighbours along each side, through every s-th place of the kernel.
    """
    rank, sides = len(strides), x.shape[1:-1]
    if any(k != 2 * s or s != 2 for k, s in zip(kernel.shape, strides, strict=False)):
        raise ValueError(
            f"deconv of {kernel.shape} at strides {strides}: expected 4, 2"
        )
    x = jnp.pad(x, [(0, 0), *[(1, 1)] * rank, (0, 0)])
    corners = list(itertools.product((0, 1), repeat=rank))
    phases = []
    for phase in corners:
        taps = [
            _from(x, tuple(map(sum, zip(phase, tap, strict=True))), sides, (1,) * rank)
            for tap in corners
        ]
        part = kernel[tuple(slice(a, None, 2) for a in phase)]
        phases.append(jnp.concatenate(taps, axis=-1) @ part.reshape(-1, part.shape[-1]))
    y = jnp.stack(phases, axis=1)  # [B, phase, *sides, F]
    y = y.reshape(len(x), *(2,) * rank, *sides, -1)
    order = [axis for i in range(rank) for axis in (1 + rank + i, 1 + i)]
    y = y.transpose(0, *order, 1 + 2 * rank)
    return y.reshape(len(x), *(2 * n for n in sides), -1)


def _from(x, place, sides, strides):
    """What one place of the kernel sees as it moves over the padded x."""
    ends = [(-(-n // s) - 1) * s + 1 for n, s in zip(sides, strides, strict=True)]
    spans = zip(place, ends, strides, strict=True)
    return x[:, *(slice(at, at + end, s) for at, end, s in spans)]
