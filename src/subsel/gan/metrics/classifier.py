"""The classifier whose features images are compared in. Uses Flax Linen.

Beside ``subsel.gan.models`` the only module that does: the players of the game there
may change, while this one must not, or old results lose their meaning.
"""

import itertools

import flax.linen as nn
import jax.numpy as jnp


class Classifier(nn.Module):
    """Convolutions of stride 2 down to a side of at most 7, then two dense layers.

    ``[N, H, W, C]`` images or ``[N, L, C]`` signals to features ``[N, features]``,
    which are not negative, and logits ``[N, classes]``.
    """

    classes: int
    features: int
    channels: int  # of the first convolution; doubled by each up to four times it

    @nn.compact
    def __call__(self, x):
        channels = self.channels
        while max(x.shape[1:-1]) > 7:
            x = nn.relu(nn.Dense(channels)(patches(x)))
            channels = min(2 * channels, 4 * self.channels)
        x = x.reshape(len(x), -1)
        features = nn.relu(nn.Dense(self.features, name="features")(x))
        return features, nn.Dense(self.classes, name="logits")(features)


def rescaled(params: dict, scale) -> dict:
    """Parameters of the same classifier with its features divided by ``scale`` > 0."""
    layers = dict(params["params"])
    kernel, bias = layers["logits"]["kernel"], layers["logits"]["bias"]
    layers["features"] = {k: v / scale for k, v in layers["features"].items()}
    layers["logits"] = {"kernel": kernel * scale, "bias": bias}
    return {"params": layers}


def patches(x):
    """What a kernel of side 4 sees at stride 2, the border padded by one zero.

    ``[N, *sides, C]`` to ``[N, *half of the sides, 4**len(sides) * C]``, so that a
    dense layer after it is a convolution. Made of the four blocks of side 2 that the
    kernel covers: inside of a loop, XLA's own convolutions take a CPU 15 times as long.
    """
    sides = x.ndim - 2
    pads = [(0, 0), *((1, 1 + side % 2) for side in x.shape[1:-1]), (0, 0)]
    x = jnp.pad(x, pads)
    halves = [side // 2 for side in x.shape[1:-1]]
    split = x.reshape(len(x), *(n for half in halves for n in (half, 2)), x.shape[-1])
    order = (0, *range(1, 2 * sides, 2), *range(2, 2 * sides + 1, 2), 2 * sides + 1)
    blocks = split.transpose(order).reshape(len(x), *halves, -1)
    shifts = itertools.product((0, 1), repeat=sides)
    parts = [
        blocks[:, *(slice(i, i + n - 1) for i, n in zip(at, halves, strict=True))]
        for at in shifts
    ]
    return jnp.concatenate(parts, axis=-1)
