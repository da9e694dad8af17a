"""What optimizers are compared on."""

import dataclasses
from typing import NamedTuple

from subsel.gan.config import Config
from subsel.gan.recipes import ring_collapse


class Task(NamedTuple):
    """A game, and the one number that decides; smaller is better."""

    config: Config
    primary: str
    about: str


_TOY = Config(
    latent=2, hidden=(128, 128), slope=0.0, batch_size=64, ema=0.999, samples=400
)
_DIGITS = dataclasses.replace(_TOY, dataset="digits", latent=64, slope=0.2, samples=25)

TASKS = {
    "ring": Task(
        dataclasses.replace(_TOY, dataset="ring"),
        "sliced_wasserstein",
        "8 Gaussians, non-saturating loss",
    ),
    "ring-collapse": Task(
        dataclasses.replace(ring_collapse(), batch_size=64, ema=0.999, samples=400),
        "sliced_wasserstein",
        "8 Gaussians, weak D, minimax loss: made to collapse (Metz 2017)",
    ),
    "grid": Task(
        dataclasses.replace(_TOY, dataset="grid"),
        "sliced_wasserstein",
        "25 Gaussians, non-saturating loss",
    ),
    "digits": Task(_DIGITS, "frechet", "8x8 digits, dense layers"),
    "mnist-mlp": Task(
        dataclasses.replace(_DIGITS, dataset="mnist", loss="minimax", latent=100),
        "frechet",
        "MNIST, the article's networks and saturating loss",
    ),
    "mnist-dcgan": Task(
        dataclasses.replace(_DIGITS, dataset="mnist", model="dcgan", hidden=None),
        "frechet",
        "MNIST, convolutions, non-saturating loss",
    ),
}
