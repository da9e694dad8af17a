"""Dense networks: the article's, where no widths are given."""

import math

from subsel.gan.models.layers import Layers

_WIDTHS = (128, 128)


def discriminator(layers: Layers, x, label):
    """``[B, *shape]``, flattened, to logits ``[B]``."""
    return layers.logit(layers.hidden(x.reshape(len(x), -1), _WIDTHS), label)


def generator(layers: Layers, z, label, shape: tuple[int, ...]):
    """``[B, latent]`` to ``[B, *shape]``; the class is appended to the noise."""
    x = layers.hidden(layers.with_class(z, label), _WIDTHS)
    return layers.dense(x, math.prod(shape)).reshape(-1, *shape)
