"""Named configurations, each with the note of the laboratory that it was checked in.

``python experiments/recipes.py NAME --seeds N --out results/recipes.json`` trains and
measures one, and writes there what each seed reached, and what real samples score. The
notes give the median of all seeds and the range in brackets, with the average of G's
weights, where there is one, and 10,000 samples, at the last step. Minutes are those of
a seed on one or two cores of an Intel Xeon that others used too, unless another machine
is named.
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
    """Eight Gaussians on a circle, every one of them.

    ``recipes.py ring --seeds 10``, 0.6 to 1.5 minutes. 8 of 8 modes by the honest rule
    with 10 seeds of 10, 98.2 % of high quality [97.6, 98.4] where real samples have
    98.9, reverse KL 0.0008 [0.0001, 0.0019]. The best published: 7.8, 95.9 %, 0.07
    with 2,500 samples (PacGAN4, Lin 2018), where this has 8, 98.2 %, 0.0017.
    """
    return replace(
        _POINTS,
        dataset="ring",
        penalty_weight=0.1,
        pack=2,
        steps=12_000,
    )


def grid() -> Config:
    """Twenty-five Gaussians on a grid, every one of them.

    ``recipes.py grid --seeds 10``, 1 to 2.2 minutes. 25 of 25 modes by the honest rule
    with 10 seeds of 10, 96.0 % of high quality [94.7, 96.9], reverse KL 0.0024
    [0.0011, 0.0055]. The best published: 24.8, 93.6 %, 0.04 with 2,500 samples after
    400,000 steps (PacGAN4, Lin 2018), where this has 25, 96.0 %, 0.006 after 16,000.
    """
    return replace(_POINTS, dataset="grid", penalty_weight=0.2, steps=16_000)


def ring_collapse() -> Config:
    """The demonstration of Unrolled GANs (Metz 2017): a weak D, and it collapses.

    Its networks, loss, noise, rates and batch; not its orthogonal initial weights, nor
    the quarter that D takes of its input.

    ``recipes.py ring-collapse``, 2.4 to 4.9 minutes. No mode by the honest rule with 5
    seeds of 5, 0.7 % of high quality [0.1, 1.2], reverse KL 1.3 [0.6, 2.1].
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
    """The same weak networks, loss, batch and steps, trained as :func:`ring` is.

    ``recipes.py ring-cured``, 2.4 to 2.7 minutes. 8 of 8 modes by the honest rule with
    5 seeds of 5, 95.4 % of high quality [94.3, 95.5], reverse KL 0.0003.

    Of the parts, ``train_gan.py --recipe NAME``, seed 0, honest modes and quality:

    - ring-cured ``--pack 1 --ema 0 --learning-rate 1e-3``: 7, 68 %
    - ring-collapse ``--game extragradient --learning-rate 1e-3 --b1 0 --schedule
      cosine``: 6, 54 %
    - ring-collapse ``--pack 2 --d-learning-rate 1e-3``: 1, 12 %
    - ring-collapse ``--d-steps 5 --d-learning-rate 1e-3 --g-learning-rate 2e-4
      --schedule cosine``: 0, 1 %
    """
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


# The penalty at every fourth update leaves time for more of them.
_LARGER = replace(_IMAGES, penalty_every=4, steps=20_000)


def mnist_dcgan() -> Config:
    """Handwritten digits by convolutions.

    ``recipes.py mnist-dcgan``, 9 to 34 minutes on one core, the more when it was
    shared. Fréchet distance 0.096 [0.088, 0.103] where real samples have 0.089; density
    0.92 [0.91, 0.93], coverage 0.94, recall 0.90, where real samples have 0.93, 0.95
    and 0.94. At temperature 1: distance 0.104, density 0.87, recall 0.91. Measured from
    the checkpoints of an earlier day, with the statistics that averages have now.
    """
    # a little less noise than in training raises density
    return replace(_LARGER, dataset="mnist", temperature=0.95)


def fashion_dcgan() -> Config:
    """Clothes by convolutions.

    ``recipes.py fashion-dcgan``, an hour on one core of an AMD EPYC, 20 steps a second.
    Fréchet distance 0.078 [0.065, 0.083], 1.9 times that of real samples (0.041, the
    median of 20 draws by ``feature_network.py``); density 0.90 [0.90, 0.91], coverage
    0.93, recall 0.90, where real samples have 0.99, 0.97 and 0.93. Drawn at
    temperature 0.95, 1 and 1.05 (``game.restored``), seed 3 has 0.087, 0.079 and 0.094.

    Seeds 1 and 2 were trained on the EPYC. Seeds 3 to 5 were trained on an NVIDIA H100
    with JAX 0.11, where five at once did 142 steps a second each, went on to their end
    on the EPYC from step 68,000, 67,000 and 68,000, and were measured there.

    ``--steps 60000``, on an Intel Xeon and by its feature network, had 0.085 [0.078,
    0.094] (41 to 48 minutes), ``--width 16 --steps 20000`` 0.142, by 5 seeds each. By
    ``train_gan.py --recipe fashion-dcgan --seed 11 --width 16 --steps 5000``: 0.28,
    with ``--penalty-weight`` 10, 1 and 0.3 instead of 3: 0.32, 0.33, 0.58; with
    ``--d-hidden 512`` 0.28; with ``--loss relativistic`` and seeds 11 to 13: 0.25, 0.30
    and 0.25, where the recipe has 0.28, 0.27 and 0.23.
    """
    return replace(_LARGER, dataset="fashion_mnist", width=24, steps=72_000)


def stacked_mnist() -> Config:
    """Three digits on each other: a thousand modes, and nobody tells which.

    ``recipes.py stacked-mnist``, 15 to 18 minutes on one core. 1,000 modes and a
    reverse KL of 0.029 [0.027, 0.041] with 26,000 samples, where real ones have 1,000
    and 0.024 [0.023, 0.026], and PacDCGAN2 1,000 and 0.06 (Lin 2018).

    What does it is a D that sees all of three digits, under a strong penalty. By
    ``train_gan.py --recipe stacked-mnist --steps 3000 --log-every 500``: 0.041; with
    ``--penalty-weight`` 1, 3 and 30: 0.20, 0.078, 0.22. With ``--d-hidden None``, whose
    convolutions see 10 of 28 pixels, 0.11, and with a weight of 0.1 too 0.20. From
    there ``--steps 36000`` ended at 0.066 and 56,000 at 0.075, always of the same
    digits too many; after 3,000 it was ``--pack 2`` 0.43, ``--d-steps 2`` 0.15,
    ``--loss`` relativistic and hinge 0.19 and 0.26, the first with ``--penalties r1
    r2`` 0.22, ``--d-learning-rate 4e-3`` 0.34, and at a constant rate 0.13.

    ``--quick``: a minute of a core; 558 modes after 200 steps, where 2,500 real ones
    have 911.
    """
    return replace(
        _LARGER,
        dataset="stacked_mnist",
        width=32,
        conditional=False,
        penalty_weight=10.0,
        eval_samples=26_000,
        steps=12_000,
    )


def digits() -> Config:
    """8x8 digits, by convolutions too.

    ``recipes.py digits``, a minute. Fréchet distance 0.18 [0.17, 0.26] where real
    samples have 0.12 (the median of 20 draws by ``feature_network.py``); density 1.08
    [1.07, 1.12], coverage 0.95 [0.92, 0.96], with 599 samples.
    """
    return replace(
        _IMAGES,
        dataset="digits",
        width=32,
        penalty_weight=1.0,
        learning_rate=1e-3,
        steps=6000,
    )


def mnist_mlp() -> Config:
    """The article's networks, noise and batch, on its data.

    ``recipes.py mnist-mlp``, 2.9 to 5.3 minutes. Fréchet distance 2.53 [2.49, 2.67]
    where real samples have 0.089, density 0.60 [0.59, 0.61], coverage 0.63
    [0.62, 0.64]: dense layers of 128 do not do better.
    """
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
