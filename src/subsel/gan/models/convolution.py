r"""Convolutions and their transposes, on a CPU as matrix products.

With kernels w of k places a side at stride s, and the padding called "SAME",

.. math::
    y_m = \sum_u w_u^T x_{s m + u - (k - s) / 2}, \qquad
    y_t = \sum_{u + t = s m + k - 1 - (k - s) / 2} w_u^T x_m.

With s places a side taken together as one block of more channels, X of x and Y of y,
and W the kernel so cut up, both have stride 1 and q = k / s places a side:

.. math::
    y_m = \sum_{t < q} W_t^T X_{m + t}, \qquad Y_m = \sum_{t < q} W_t^T x_{m - t}.

Moving by t and multiplying by W_t commute. What is moved is the side with fewer
channels: as q copies next to each other before one product, or as q parts of one
product that are added up.

Inside of a loop XLA hands a CPU the gradients of its convolutions as plain loops, which
take many times as long as the same written as one product. Elsewhere XLA's own are
used. The product is one of matrices, since XLA first writes a transposed copy of what
is contracted over several axes, as for the kernel's gradient. Parts are split off,
since the transpose of that joins them, and that of indexing adds up zeros.

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
    """Blocks of x to places of y. Sides and kernels must be multiples of the stride."""
    margins = [k - s for k, s in zip(kernel.shape, strides, strict=False)]
    x = jnp.pad(x, [(0, 0), *((m // 2, m - m // 2) for m in margins), (0, 0)])
    w, counts = _cut(kernel, strides)
    w = w.reshape(len(w), -1, kernel.shape[-1])
    return _moved_product(_to_blocks(x, strides), w, counts, _back)


def deconv_as_product(x, kernel, strides):
    """Places of x to blocks of y, of which the margins are cut off."""
    w, counts = _cut(jnp.flip(kernel, range(len(strides))), strides, inputs_first=True)
    w = w.reshape(len(w), kernel.shape[-2], -1)
    y = _from_blocks(_moved_product(x, w, counts, _on), strides)
    cut = [(k - s) // 2 for k, s in zip(kernel.shape, strides, strict=False)]
    wide = [n * s for n, s in zip(x.shape[1:], strides, strict=False)]
    return y[:, *(slice(c, c + n) for c, n in zip(cut, wide, strict=True))]


def _cut(kernel, strides, inputs_first=False):
    """``[q**rank, s, .., s, K, F]`` or, if so wanted, ``[q**rank, K, s, .., s, F]``.

    And q along each side.
    """
    rank = len(strides)
    counts = [k // s for k, s in zip(kernel.shape, strides, strict=False)]
    split = [size for pair in zip(counts, strides, strict=True) for size in pair]
    w = kernel.reshape(*split, *kernel.shape[-2:])
    inner = [*range(1, 2 * rank, 2), 2 * rank]
    if inputs_first:
        inner = inner[-1:] + inner[:-1]
    w = w.transpose(*range(0, 2 * rank, 2), *inner, 2 * rank + 1)
    return w.reshape(-1, *w.shape[rank:]), counts


def _moved_product(x, w, counts, move):
    """The sum over t of x, moved by t, times ``w[t]``; ``w`` is ``[q**rank, K, F]``."""
    _, before, after = w.shape
    steps = list(itertools.product(*map(range, counts)))
    if before <= after:
        copies = [move(x, step, counts) for step in steps]
        return _product(jnp.concatenate(copies, -1), w.reshape(-1, after))
    y = _product(x, w.transpose(1, 0, 2).reshape(before, -1))
    parts = lax.split(y, [after] * len(steps), y.ndim - 1)
    return sum(
        move(part, step, counts) for part, step in zip(parts, steps, strict=True)
    )


def _product(x, w):
    """``[..., K]`` times ``[K, F]``, as a product of two matrices."""
    return (x.reshape(-1, x.shape[-1]) @ w).reshape(*x.shape[:-1], -1)


def _back(x, step, counts):
    """x at m + t, at those m where it is there for all t."""
    sides = zip(step, x.shape[1:], counts, strict=False)
    return x[:, *(slice(t, t + n - q + 1) for t, n, q in sides)]


def _on(x, step, counts):
    """x at m - t, at those m where it is there for some t; else 0."""
    pads = [(t, q - 1 - t) for t, q in zip(step, counts, strict=True)]
    return jnp.pad(x, [(0, 0), *pads, (0, 0)])


def _to_blocks(x, strides):
    """``[N, *sides, C]`` to ``[N, *sides / s, s**rank * C]``."""
    corners = itertools.product(*map(range, strides))
    every = [
        x[:, *(slice(at, None, s) for at, s in zip(corner, strides, strict=True))]
        for corner in corners
    ]
    return jnp.concatenate(every, -1)


def _from_blocks(x, strides):
    """The inverse of :func:`_to_blocks`."""
    rank, sides = len(strides), x.shape[1:-1]
    x = x.reshape(len(x), *sides, *strides, -1)
    order = [axis for i in range(1, rank + 1) for axis in (i, i + rank)]
    x = x.transpose(0, *order, 2 * rank + 1)
    return x.reshape(len(x), *(n * s for n, s in zip(sides, strides, strict=True)), -1)
