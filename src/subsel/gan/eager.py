"""The same game in PyTorch, which the speed of this project is compared with.

Networks of the same layers and as many parameters, the same losses, Adam and draws.
PyTorch is no dependency: it is imported here alone, and when it is asked for. Images
are stored channels first, its default; channels last made no difference on a CPU.
"""

from collections.abc import Callable
from itertools import pairwise
from math import prod

import jax
import numpy as np

from subsel.gan.config import Config
from subsel.gan.models import dcgan, sizes
from subsel.gan.objective import Pair
from subsel.lab.timing import threads


def networks(cfg: Config, shape: tuple[int, int, int]) -> Pair:
    """Modules: D of ``[B, C, H, W]`` to ``[B, 1]``, G of ``[B, latent]`` to images.

    Args:
        cfg: of the models mlp, with its ``hidden`` named, and dcgan.
        shape: of an image, ``(H, W, C)``.
    """
    return {"mlp": _mlp, "dcgan": _dcgan}[cfg.model](cfg, shape)


def _mlp(cfg, shape):
    from torch import nn

    def dense(*widths):
        layers = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.2)]
        return layers[:-1]

    height, width, channels = shape
    to_image = nn.Unflatten(1, (channels, height, width))
    d = nn.Sequential(nn.Flatten(), *dense(prod(shape), *cfg.hidden, 1))
    g = dense(cfg.latent, *cfg.hidden, prod(shape))
    return Pair(d, nn.Sequential(*g, nn.Tanh(), to_image))


def _dcgan(cfg, shape):
    from torch import nn

    channels = dcgan.channels(cfg.width, sizes.levels(shape))
    inner = (channels[-1], *sizes.base(shape))
    halve = {"kernel_size": 4, "stride": 2, "padding": 1, "bias": False}
    d, g = [], [nn.Linear(cfg.latent, prod(inner), bias=False), nn.Unflatten(1, inner)]
    for inputs, outputs in pairwise([shape[-1], *channels]):
        norm = [nn.BatchNorm2d(outputs)] if d else []
        d += [nn.Conv2d(inputs, outputs, **halve), *norm, nn.LeakyReLU(0.2)]
    for inputs, outputs in pairwise([*reversed(channels), shape[-1]]):
        g += [nn.BatchNorm2d(inputs), nn.ReLU()]
        g += [nn.ConvTranspose2d(inputs, outputs, **halve)]
    d += [nn.Flatten(), nn.Linear(prod(inner), 1, bias=False)]
    return Pair(nn.Sequential(*d), nn.Sequential(*g, nn.Tanh()))


def turn(cfg: Config, images: np.ndarray, compiled: bool = False) -> Callable:
    """A turn of ``cfg.steps`` steps, on the kind of device that JAX is using.

    Args:
        cfg: as for :func:`networks`; its learning rate, b1, b2, batch size and seed.
        images: ``[N, H, W, C]`` uint8.
        compiled: both networks by ``torch.compile``.

    Raises:
        ImportError: there is no PyTorch.
    """
    import torch
    from torch.nn.functional import softplus

    device = "cpu" if jax.default_backend() == "cpu" else "cuda"
    if device == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32, as XLA multiplies
    else:
        torch.set_num_threads(threads())
    torch.manual_seed(cfg.seed)
    nets = Pair(*(net.to(device) for net in networks(cfg, images.shape[1:])))
    params = Pair(*(list(net.parameters()) for net in nets))
    options = {"lr": cfg.learning_rate, "betas": (cfg.b1, cfg.b2), "fused": True}
    adam = Pair(*(torch.optim.Adam(own, **options) for own in params))
    images = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(device)
    d, g = (torch.compile(net) for net in nets) if compiled else nets

    def judged(real, fake):
        if cfg.model == "mlp":  # at once, which is faster
            return d(torch.cat([real, fake])).chunk(2)
        return d(real), d(fake)  # else each would change how the other is normalised

    def one_step():
        index = torch.randint(len(images), (cfg.batch_size,), device=device)
        real = images[index].float() / 127.5 - 1
        fake = g(torch.randn(cfg.batch_size, cfg.latent, device=device))
        on_real, on_fake = judged(real, fake.detach())
        d_loss = softplus(-on_real).mean() + softplus(on_fake).mean()
        adam.d.zero_grad(set_to_none=True)
        d_loss.backward()
        adam.d.step()
        g_loss = softplus(-d(fake)).mean()
        adam.g.zero_grad(set_to_none=True)
        g_loss.backward(inputs=params.g)  # D's own gradients are not asked for
        adam.g.step()
        scores = [x.detach().sigmoid().mean() for x in (on_real, on_fake)]
        return torch.stack([d_loss.detach(), g_loss.detach(), *scores])

    def run():
        torch.stack([one_step() for _ in range(cfg.steps)]).tolist()
        if device == "cuda":
            torch.cuda.synchronize()

    return run
