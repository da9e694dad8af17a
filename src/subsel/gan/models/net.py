"""Networks as pure functions of their parameters and statistics."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from subsel.gan.models import dcgan, mlp, resnet, sizes
from subsel.gan.models.architecture import PRECISIONS, Architecture
from subsel.gan.models.layers import MOMENTUM, NORMS, Layers

_STATS = "batch_stats"  # Flax's name
OUTPUTS = {"tanh": jnp.tanh, "identity": lambda x: x}


class Variables(NamedTuple):
    """Pytrees of float32 arrays."""

    params: Any  # trained by gradients
    stats: Any  # running means of batch, u of spectral normalisation; {} without them


class Net(NamedTuple):
    """A network as two pure functions.

    ``apply`` returns the outputs, float32, and the statistics: in training those
    after this batch, otherwise as they were. ``label`` ``[B]`` int32 is needed where
    the network has classes, and ignored elsewhere.
    """

    init: Callable  # key -> Variables
    apply: (
        Callable  # (Variables, [B, ...], label=None, train=False) -> ([B, ...], stats)
    )


class Model(NamedTuple):
    """What is needed to build both networks of a kind."""

    discriminator: Callable  # (Layers, x, label) -> logits
    generator: Callable  # (Layers, z, label, shape) -> samples
    check: Callable  # raises ValueError for a shape that cannot be
    kernel_init: Callable
    scale_init: Callable = nn.initializers.ones


def _near_one(key, shape, dtype=jnp.float32):
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)


MODELS = {
    "mlp": Model(
        mlp.discriminator,
        mlp.generator,
        lambda shape: None,
        nn.initializers.lecun_normal(),
    ),
    "dcgan": Model(
        dcgan.discriminator,
        dcgan.generator,
        sizes.levels,
        nn.initializers.normal(0.02),
        _near_one,
    ),
    "resnet": Model(
        resnet.discriminator,
        resnet.generator,
        sizes.levels,
        nn.initializers.glorot_uniform(),
    ),
}


def discriminator(
    arch: Architecture,
    shape: tuple[int, ...],
    classes: int = 0,
    axis: str | None = None,
) -> Net:
    """``[B, *shape]`` to logits ``[B]``: the log-odds that a sample is real.

    Args:
        arch: the network.
        shape: of a sample: points (D,) for mlp alone, signals (L, C), images (H, W, C).
        classes: number of classes that labels are of; 0 for a network without labels.
            With them, by projection (Miyato and Koyama, 2018).
        axis: name of the mapped axis that the batch is shared over, if it is.

    Raises:
        ValueError: a name that is not known, or sides that cannot be halved down.
    """
    model = _model(arch, shape)
    return _net(arch, model, model.discriminator, shape, classes, axis, "identity")


def generator(
    arch: Architecture,
    latent: int,
    shape: tuple[int, ...],
    classes: int = 0,
    output: str = "tanh",
    axis: str | None = None,
) -> Net:
    """Noise ``[B, latent]`` to samples ``[B, *shape]``.

    ``output`` names the last activation: ``"tanh"`` for images, which are scaled to
    [-1, 1]; ``"identity"`` for points of the plane. Otherwise as
    :func:`discriminator`; classes enter with the noise, in resnet with the norms.
    """
    model = _model(arch, shape)
    arch = dataclasses.replace(arch, spectral=False)
    build = functools.partial(model.generator, shape=shape)
    return _net(arch, model, build, (latent,), classes, axis, output)


def standing(g: Net, variables: Variables, z, label=None) -> Variables:
    r"""With the statistics of these batches of noise in place of running means.

    .. math::
        \mu = \frac{1}{T} \sum_t \mu_t, \qquad
        \sigma^2 = \frac{1}{T} \sum_t \sigma_t^2

    where those of batch t are of activations that batch t has normalised. Averaged
    weights want them (standing statistics: Brock, Donahue and Simonyan, 2019): running
    means are of weights that moved, and samples by them are too flat.

    Args:
        g: a generator without an axis.
        variables: its own; the statistics are not used.
        z: noise, ``[T, B, latent]``.
        label: ``[T, B]``, where it is told the class.
    """
    start = jax.tree.map(jnp.zeros_like, variables.stats)

    def batch(each):
        _, stats = g.apply(variables._replace(stats=start), *each, train=True)
        return jax.tree.map(lambda x: x / (1 - MOMENTUM), stats)

    of_each = jax.lax.map(batch, (z, label))
    return variables._replace(stats=jax.tree.map(lambda x: x.mean(0), of_each))


def parameter_count(params) -> int:
    """Numbers in a pytree of arrays, or of their shapes."""
    return sum(x.size for x in jax.tree.leaves(params))


class _Network(nn.Module):
    layers: Layers
    build: Callable

    @nn.compact
    def __call__(self, x, label):
        return self.build(self.layers, x, label)


def _net(arch, model, build, shape, classes, axis, output):
    def module(train):
        inits = model.kernel_init, model.scale_init
        return _Network(Layers(arch, *inits, classes, axis, train), build)

    def init(key: jax.Array) -> Variables:
        label = jnp.zeros(1, jnp.int32) if classes else None
        made = module(False).init(key, jnp.zeros((1, *shape)), label)
        return Variables(made["params"], made.get(_STATS, {}))

    def apply(variables: Variables, x, label=None, train: bool = False):
        if classes and label is None:
            raise ValueError(f"a network of {classes} classes needs labels: got None")
        collections = {"params": variables.params, _STATS: variables.stats}
        y, updated = module(train).apply(
            collections, x, label if classes else None, mutable=_STATS
        )
        y = OUTPUTS[output](y.astype(jnp.float32))
        return y, updated.get(_STATS, {}) if train else variables.stats

    return Net(init, apply)


def _model(arch, shape) -> Model:
    known = {"norm": NORMS, "precision": PRECISIONS, "model": MODELS}
    for field, names in known.items():
        if getattr(arch, field) not in names:
            raise ValueError(
                f"unknown {field} {getattr(arch, field)!r}: expected one of "
                f"{', '.join(names)}"
            )
    MODELS[arch.model].check(shape)
    return MODELS[arch.model]
