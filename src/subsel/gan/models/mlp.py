"""Dense networks: the article's, at its default widths."""

import math

from subsel.gan.models.layers import Layers


def discriminator(layers: Layers, x, label):
    """``[B, *shape]``, flattened, to logits ``[B]``."""
    return layers.logit(_hidden(layers, x.reshape(len(x), -1)), label)


def generator(layers: Layers, z, label, shape: tuple[int, ...]):
    """``[B, latent]`` to ``[B, *shape]``; the class is appended to the noise."""
    x = _hidden(layers, layers.with_class(z, label))
    return layers.dense(x, math.prod(shape)).reshape(-1, *shape)


def _hidden(layers, x):
    for width in layers.arch.hidden:
        x = layers.act(layers.norm(layers.dense(x, width, layers.bias)))
    return x
