"""Named configurations, each with the note of the laboratory that it was checked in.

What they reached, seed by seed, is in ``results/recipes.json``, written by
``python experiments/recipes.py``.
"""

from dataclasses import replace

from subsel.gan.config import Config

# What the three mixtures share. The decay to 0 does much of the work: half way through,
# whole modes are missing from the last iterate, though not from the average.
_POINTS = Config(
    optimizer="adam",
    latent=2,
    g_hidden=(128,) * 4,
    d_hidden=(128,) * 3,
    g_slope=0.0,
    d_slope=0.2,
    penalties=("r1",),
    learning_rate=2e-3,
    b1=0.0,
    b2=0.99,
    schedule="cosine",
    ema=0.999,
    samples=1000,
)


def ring() -> Config:
    """Eight Gaussians on a circle, every one of them."""
    return replace(
        _POINTS,
        dataset="ring",
        penalty_weight=0.1,
        pack=2,
        steps=12_000,
    )


def grid() -> Config:
    """Twenty-five Gaussians on a grid, every one of them."""
    return replace(_POINTS, dataset="grid", penalty_weight=0.2, steps=16_000)


def ring_collapse() -> Config:
    """The weak discriminator of the Unrolled-GAN demonstration: it collapses."""
    return Config(
        dataset="ring",
        optimizer="adam",
        loss="minimax",
        latent=256,
        g_hidden=(128, 128),
        d_hidden=(128,),
        slope=0.0,
        learning_rate=1e-4,
        batch_size=512,
        steps=20_000,
        log_every=2000,
        samples=1000,
    )


# What Radford 2016 trained with, at half the width; the average of G is what counts.
_IMAGES = Config(
    model="dcgan",
    width=32,
    optimizer="adam",
    latent=100,
    learning_rate=2e-4,
    b1=0.5,
    batch_size=64,
    ema=0.999,
    steps=8000,
)


def mnist_dcgan() -> Config:
    """Handwritten digits by convolutions."""
    return replace(_IMAGES, dataset="mnist")


def fashion_dcgan() -> Config:
    """Clothes by convolutions."""
    return replace(_IMAGES, dataset="fashion_mnist")


def digits() -> Config:
    """8x8 digits, by convolutions too."""
    return replace(_IMAGES, dataset="digits", steps=6000)


def mnist_mlp() -> Config:
    """The article's networks, on its data."""
    return Config(dataset="mnist")


RECIPES = {
    recipe.__name__.replace("_", "-"): recipe
    for recipe in (
        ring,
        grid,
        ring_collapse,
        digits,
        mnist_mlp,
        mnist_dcgan,
        fashion_dcgan,
    )
}
