"""The walk between latent points."""

import jax
import jax.numpy as jnp


def great_circle(start, end, count: int) -> jax.Array:
    r"""``count`` points from each row of ``start`` to that of ``end``, both ``[R, L]``.

    With theta the angle between them, a share t of the way is

    .. math::
        \frac{\sin((1 - t)\theta)}{\sin\theta} a + \frac{\sin(t\theta)}{\sin\theta} b

    which keeps the length that normal vectors have in high dimension (Shoemake,
    Animating rotation with quaternion curves, 1985). Returns ``[R * count, L]``.
    """
    length = jnp.linalg.norm(start, axis=1) * jnp.linalg.norm(end, axis=1)
    theta = jnp.arccos(jnp.sum(start * end, axis=1) / length)[:, None, None]
    t = jnp.linspace(0, 1, count)[None, :, None]
    a, b = start[:, None, :], end[:, None, :]
    points = jnp.sin((1 - t) * theta) * a + jnp.sin(t * theta) * b
    return (points / jnp.sin(theta)).reshape(-1, start.shape[1])
