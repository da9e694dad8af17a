"""How much there is to do in a step: its matrix products, counted by hand.

Of the models mlp, with its ``hidden`` named, and dcgan on images of the given shape
``(H, W, C)``, as two players that take turns and share the fake batch.
"""

from itertools import pairwise
from math import prod

from subsel.gan.config import Config
from subsel.gan.models import dcgan, sizes
from subsel.gan.objective import Pair


def multiplications(cfg: Config, shape: tuple[int, ...]) -> Pair:
    """Of one sample forward, by layer; strided convolutions where they are strided."""
    if cfg.model == "mlp":
        widths = (prod(shape), *cfg.hidden, 1), (cfg.latent, *cfg.hidden, prod(shape))
        return Pair(*([a * b for a, b in pairwise(own)] for own in widths))
    channels = dcgan.channels(cfg.width, sizes.levels(shape))
    halved = [prod(n >> i for n in shape[:-1]) for i in range(1, len(channels) + 1)]
    pairs = zip(halved, pairwise([shape[-1], *channels]), strict=True)
    between = [places * 4 * 4 * a * b for places, (a, b) in pairs]
    inner = halved[-1] * channels[-1]
    return Pair([*between, inner], [cfg.latent * inner, *reversed(between)])


def operations(cfg: Config, shape: tuple[int, ...]) -> int:
    """In the matrix products of one step.

    Forward, a layer of m multiplications takes 2 m operations a sample, and as many
    again for the gradient of its weights, and of its input where that is needed.
    """
    d, g = multiplications(cfg, shape)
    d_update = 2 * (sum(d) + sum(d) + sum(d[1:]))  # real and fake; no image gradients
    g_update = sum(g) + sum(d) + sum(d) + sum(g) + sum(g[1:])
    return 2 * cfg.batch_size * (d_update + g_update)


def products(cfg: Config, shape: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """The step's largest: rows and columns of one matrix, and columns of the other."""
    if cfg.model == "mlp":
        return [(2 * cfg.batch_size, prod(shape), cfg.hidden[0])]
    # Of the last halving: a convolution or its inverse; the gradient of its kernel.
    *_, outer, inner = dcgan.channels(cfg.width, sizes.levels(shape))
    rows, unrolled = cfg.batch_size * prod(sizes.base(shape)), 4 * 4 * outer
    return [(rows, unrolled, inner), (inner, unrolled, rows)]
