"""PyTorch's networks are ours: as many parameters, and the same function of them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subsel.gan import eager, game
from subsel.gan.config import Config
from subsel.gan.data import Dataset
from subsel.gan.models import Variables, parameter_count

torch = pytest.importorskip("torch")
SHAPE = (28, 28, 1)
CONFIGS = {
    "mlp": Config(hidden=(16, 8)),
    "dcgan": Config(model="dcgan", width=4),
}


def give(net, params, inner):
    """The parameters of a network of ours, in the order of its layers, to PyTorch's."""
    layers = [x for x in net.modules() if list(x.parameters(recurse=False))]
    kinds = {
        torch.nn.Linear: "Dense",
        torch.nn.Conv2d: "Conv",
        torch.nn.ConvTranspose2d: "Conv",
        torch.nn.BatchNorm2d: "BatchNorm",
    }
    seen, left = {}, dict(params)
    for layer in layers:
        kind = kinds[type(layer)]
        own = left.pop(f"{kind}_{seen.setdefault(kind, 0)}")
        seen[kind] += 1
        weight = np.asarray(own.get("kernel", own.get("scale")))
        if isinstance(layer, torch.nn.ConvTranspose2d):
            weight = weight[::-1, ::-1].transpose(2, 3, 0, 1)
        elif kind == "Conv":
            weight = weight.transpose(3, 2, 0, 1)
        elif kind == "Dense":
            weight = weight.T
            height, width, channels = inner  # of an image, which ours has last
            if weight.shape[0] == height * width * channels:
                weight = weight.reshape(height, width, channels, -1)
                weight = weight.transpose(2, 0, 1, 3).reshape(layer.weight.shape)
            elif weight.shape[1] == height * width * channels:
                weight = weight.reshape(-1, height, width, channels)
                weight = weight.transpose(0, 3, 1, 2).reshape(layer.weight.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight.copy()))
            if layer.bias is not None:
                layer.bias.copy_(torch.from_numpy(np.array(own["bias"])))
        assert (layer.bias is not None) == ("bias" in own)
    assert not left


def trained_on(net, variables, given):
    """Outputs in training, on the axis that batch normalisation goes over."""

    def apply(x):
        return net.apply(variables, x, None, True)[0]

    return jax.vmap(apply, axis_name="devices")(jnp.asarray(given)[None])[0]


@pytest.mark.parametrize("model", CONFIGS)
def test_the_networks_are_the_same_function(model):
    cfg = CONFIGS[model]
    rows = np.random.default_rng(0).integers(0, 256, (6, *SHAPE), np.uint8)
    playing = game.build(cfg, Dataset("random", rows, np.zeros(6, np.int32), 0.0))
    theirs = eager.networks(cfg, SHAPE)
    x = rows / np.float32(127.5) - 1
    z = np.random.default_rng(1).normal(size=(6, cfg.latent)).astype(np.float32)
    inner = (7, 7, 8) if model == "dcgan" else SHAPE
    for net, own, given in zip(playing.nets, theirs, (x, z), strict=True):
        ours = net.init(jax.random.key(0))
        jitter = jax.random.normal(jax.random.key(1), ())  # no bias stays 0
        params = jax.tree.map(lambda p, j=jitter: p + 0.01 * j, ours.params)
        assert parameter_count(params) == sum(p.numel() for p in own.parameters())
        give(own, params, inner)
        y = trained_on(net, Variables(params, ours.stats), given)
        with torch.no_grad():
            channels_first = given.transpose(0, 3, 1, 2) if given.ndim == 4 else given
            found = own(torch.from_numpy(channels_first.copy())).numpy()
        found = found.transpose(0, 2, 3, 1) if found.ndim == 4 else found[:, 0]
        np.testing.assert_allclose(y, found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", CONFIGS)
def test_a_turn_is_played(model):
    cfg = dataclasses.replace(CONFIGS[model], batch_size=4, steps=2)
    rows = np.random.default_rng(0).integers(0, 256, (8, *SHAPE), np.uint8)
    eager.turn(cfg, rows)()
