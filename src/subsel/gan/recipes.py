"""Named configurations, each with the note of the laboratory that it was checked in.

What they reached, seed by seed, is in ``results/recipes.json``, written by
``python experiments/recipes.py``.
"""

from dataclasses import replace

from subsel.gan.config import Config

# How all but one are trained. The decay to 0 does much of the work: half way through,
# whole modes of a mixture are missing from the last iterate, not from the average.
_TRAINING = {
    "optimizer": "adam",
    "penalties": ("r1",),
    "b1": 0.0,
    "b2": 0.99,
    "schedule": "cosine",
    "ema": 0.999,
}
_POINTS = Config(
    **_TRAINING,
    latent=2,
    g_hidden=(128,) * 4,
    d_hidden=(128,) * 3,
    g_slope=0.0,
    d_slope=0.2,
    learning_rate=2e-3,
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
    """The demonstration of Unrolled GANs (Metz 2017): a weak D, and it collapses.

    Its networks, loss, noise, rates and batch; not its orthogonal initial weights, nor
    the quarter that D takes of its input.
    """
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


def ring_cured() -> Config:
    """The same weak networks, loss, batch and steps, trained as :func:`ring` is."""
    return replace(
        ring_collapse(),
        **_TRAINING,
        penalty_weight=0.1,
        pack=2,
        learning_rate=2e-3,
    )


# A gradient penalty in place of D's batch normalisation, at a tenfold learning rate
# that decays to 0. D's dense layer sees all of an image, which its convolutions do not;
# one in G costs recall.
_IMAGES = Config(
    **_TRAINING,
    model="dcgan",
    width=16,
    d_hidden=(256,),
    conditional=True,
    penalty_weight=3.0,
    latent=64,
    learning_rate=2e-3,
    batch_size=64,
    steps=14_000,
)


def mnist_dcgan() -> Config:
    """Handwritten digits by convolutions."""
    return replace(_IMAGES, dataset="mnist")


def fashion_dcgan() -> Config:
    """Clothes by convolutions."""
    return replace(_IMAGES, dataset="fashion_mnist")


def stacked_mnist() -> Config:
    """Three digits on each other: a thousand modes, and nobody tells which."""
    return replace(
        _IMAGES,
        dataset="stacked_mnist",
        conditional=False,
        d_hidden=None,
        penalty_weight=1.0,
        learning_rate=1e-3,
        eval_samples=26_000,
        steps=20_000,
    )


def digits() -> Config:
    """8x8 digits, by convolutions too."""
    return replace(
        _IMAGES,
        dataset="digits",
        width=32,
        penalty_weight=1.0,
        learning_rate=1e-3,
        steps=6000,
    )


def mnist_mlp() -> Config:
    """The article's networks, noise and batch, on its data."""
    return Config(
        **_TRAINING,
        dataset="mnist",
        penalty_weight=1.0,
        learning_rate=1e-3,
        steps=12_000,
    )


RECIPES = {
    recipe.__name__.replace("_", "-"): recipe
    for recipe in (
        ring,
        grid,
        ring_collapse,
        ring_cured,
        digits,
        mnist_mlp,
        mnist_dcgan,
        fashion_dcgan,
        stacked_mnist,
    )
}
