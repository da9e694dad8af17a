"""The walk between latent points."""

import jax
import jax.numpy as jnp


def great_circle(start, end, count: int) -> jax.Array:
    r"""``count`` points from each row of ``start`` to that of ``end``, both ``[R, L]``.

    With theta the angle between them, a share t of the way is

    .. math::
        \frac{\sin((1 - t)\theta)}{\sin\theta} a + \frac{\sin(t\theta)}{\sin\theta} b

    which keeps the length that normal vectors have in high dimension (Shoemake,
    Animating rotation with quaternion curves, 1985). Between vectors on one line, which
    many circles share, the walk is straight. Returns ``[R * count, L]``.
    """
    length = jnp.linalg.norm(start, axis=1) * jnp.linalg.norm(end, axis=1)
    cosine = jnp.clip(jnp.sum(start * end, axis=1) / length, -1, 1)
    theta = jnp.arccos(cosine)[:, None, None]
    t = jnp.linspace(0, 1, count)[None, :, None]
    a, b = start[:, None, :], end[:, None, :]
    sine = jnp.sin(theta)
    straight = jnp.abs(sine) < 1e-3  # where float32 has lost the quotients
    sine = jnp.where(straight, 1, sine)
    shares = [
        jnp.where(straight, way, jnp.sin(way * theta) / sine) for way in (1 - t, t)
    ]
    return (shares[0] * a + shares[1] * b).reshape(-1, start.shape[1])
