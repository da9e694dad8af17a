r"""Differentiable augmentation of what the discriminator sees (Zhao 2020, DiffAugment).

Real *and* generated samples go through T before D, in D's loss and in G's, so that T
does not leak into what G learns,

.. math::
    L_D(D(T(x)), D(T(G(z)))), \qquad L_G(D(T(G(z)))),

and the gradient reaches G through T. The ranges are those of the authors' program.
Values may leave [-1, 1], as they do there.

References:
    Zhao, Liu, Lin, Zhu and Han, Differentiable augmentation for data-efficient GAN
    training, 2020
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def augment(policy: tuple[str, ...]) -> Callable:
    """The augmentations of ``policy``, one after the other.

    Args:
        policy: names in :data:`POLICIES`, in the order of application; published as
            ("color", "translation", "cutout"). None of them is the identity.

    Returns:
        ``(x, keys) -> x``: images ``[B, H, W, C]`` in [-1, 1] and PRNG keys ``[B]``,
        one for each image. What is drawn for an image by an augmentation depends on
        that key and the augmentation's name alone.

    Raises:
        KeyError: a name that is not in ``POLICIES``.
    """
    places = {name: place for place, name in enumerate(POLICIES)}
    steps = [(POLICIES[name], places[name]) for name in policy]

    def of_one(x, key):
        for step, place in steps:
            x = step(x, jax.random.fold_in(key, place))
        return x

    return jax.vmap(of_one)


def recolor(x, brightness, saturation, contrast) -> jax.Array:
    r"""``x`` ``[H, W, C]`` made brighter, more colourful and richer in contrast.

    .. math::
        x \leftarrow x + b, \qquad
        x \leftarrow m + s (x - m), \qquad
        x \leftarrow M + c (x - M)

    with m a pixel's mean over the channels, and M the mean of the image. Saturation
    leaves images of one channel as they are.
    """
    x = x + brightness
    grey = jnp.mean(x, axis=-1, keepdims=True)
    x = grey + saturation * (x - grey)
    mean = jnp.mean(x)
    return mean + contrast * (x - mean)


def translate(x, shift) -> jax.Array:
    """``x`` ``[H, W, C]`` moved by whole pixels ``shift`` [2], down and to the right.

    What comes in is 0, a medium grey. Shifts beyond an eighth of the size are cut.
    """
    reach = _rounded(x, 8)
    padded = jnp.pad(x, [(r, r) for r in reach] + [(0, 0)])
    start = [r - shift[axis] for axis, r in enumerate(reach)]
    return jax.lax.dynamic_slice(padded, [*start, 0], x.shape)


def cut_out(x, centre) -> jax.Array:
    """``x`` ``[H, W, C]`` with a box of half the height and width set to 0.

    The box starts half of its size before ``centre`` [2], and may lie partly outside.
    """
    rows, columns = (
        (middle - size // 2 <= jnp.arange(length))
        & (jnp.arange(length) < middle - size // 2 + size)
        for length, size, middle in zip(x.shape, _rounded(x, 2), centre, strict=False)
    )
    return jnp.where((rows[:, None] & columns[None, :])[..., None], 0, x)


def _color(x, key):
    """Brightness of +-0.5, saturation of [0, 2], contrast of [0.5, 1.5]."""
    b, s, c = jax.random.uniform(key, (3,))
    return recolor(x, b - 0.5, 2 * s, c + 0.5)


def _translation(x, key):
    """Up to an eighth of the size to either side."""
    reach = jnp.array(_rounded(x, 8))
    return translate(x, jax.random.randint(key, (2,), -reach, reach + 1))


def _cutout(x, key):
    """Anywhere; an even box also has its centre after the last pixel, by symmetry."""
    ends = [n + 1 - size % 2 for n, size in zip(x.shape, _rounded(x, 2), strict=False)]
    return cut_out(x, jax.random.randint(key, (2,), 0, jnp.array(ends)))


def _rounded(x, share):
    """Height and width of ``x`` ``[H, W, C]`` over ``share``, halves rounded up."""
    return tuple((2 * length + share) // (2 * share) for length in x.shape[:2])


POLICIES: dict[str, Callable] = {  # (x [H, W, C], key) -> x
    "color": _color,
    "translation": _translation,
    "cutout": _cutout,
}
