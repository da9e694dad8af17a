"""Strided convolutions and their transposes: DCGAN, the article's convolutional pair.

Radford, Metz and Chintala, Unsupervised representation learning with deep
convolutional generative adversarial networks, 2016, with kernels of 4 as in PyTorch's
example: at 64 pixels, width 64, batch normalisation, and a slope of 0 for G and 0.2 for
D, the networks are that example's. With a dense layer of 1024 they are, at 28 pixels,
InfoGAN's (Chen et al., InfoGAN, 2016), by which losses were compared on MNIST (Lucic et
al., 2018). Generic in the number of sides, and in how often they are halved.

The outermost layers are not normalised and have, as in the authors' program, no bias.
"""

import math

from subsel.gan.models.layers import Layers
from subsel.gan.models.sizes import base, levels

_SIZE, _STRIDE = 4, 2
_WIDEST = 8  # times the width; the papers never double more than three times


def discriminator(layers: Layers, x, label):
    """``[B, *sides, C]`` to logits ``[B]``: convolutions, then dense layers."""
    first, *rest = channels(layers.arch.width, levels(x.shape[1:]))
    x = layers.act(layers.conv(x, first, _SIZE, _STRIDE, bias=False))
    for width in rest:
        x = layers.conv(x, width, _SIZE, _STRIDE, bias=layers.bias)
        x = layers.act(layers.norm(x))
    x = layers.hidden(x.reshape(len(x), -1))
    return layers.logit(x, label, bias=False)


def generator(layers: Layers, z, label, shape: tuple[int, ...]):
    """``[B, latent]`` to ``[B, *shape]``; the class is appended to the noise."""
    *rest, widest = channels(layers.arch.width, levels(shape))
    sides = base(shape)
    x = layers.hidden(layers.with_class(z, label))
    x = layers.dense(x, math.prod(sides) * widest, layers.bias)
    x = layers.act(layers.norm(x.reshape(-1, *sides, widest)))
    for width in reversed(rest):
        x = layers.deconv(x, width, _SIZE, _STRIDE, bias=layers.bias)
        x = layers.act(layers.norm(x))
    return layers.deconv(x, shape[-1], _SIZE, _STRIDE, bias=False)


def channels(width: int, count: int) -> list[int]:
    """Of each level, from the highest resolution: doubled, up to 8 times the width."""
    return [width * min(2**level, _WIDEST) for level in range(count)]
