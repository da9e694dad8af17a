"""Shapes, sizes and arithmetic of the networks, and the walk between latent points."""

import dataclasses
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subsel.gan import models
from subsel.gan.models import Architecture, resnet

KEY = jax.random.key(0)
SHAPES = [(2,), (64, 1), (8, 8, 1), (28, 28, 1), (32, 32, 3), (64, 64, 3), (64, 32, 6)]
# One level, and every kind of layer; small, because most of the time goes to XLA.
SMALL = {
    "mlp": Architecture("mlp", hidden=(4,)),
    "dcgan": Architecture("dcgan", width=2),
    "resnet": Architecture("resnet", width=2),
}
SHAPE = (8, 1)
EACH = pytest.mark.parametrize("arch", SMALL.values(), ids=SMALL)


def count(net):
    return models.parameter_count(jax.eval_shape(net.init, KEY).params)


def spread(tree):
    """Random leaves, so that no two classes are alike and no bias is 0."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(7), len(leaves))
    draws = [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, draws)


def compiled(net):
    """Each function as one program: quicker here than operation by operation."""
    return models.Net(jax.jit(net.init), jax.jit(net.apply, static_argnames="train"))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@EACH
def test_shapes(arch, shape):
    arch = dataclasses.replace(arch, norm="batch", spectral=True)
    if shape == (2,) and arch.model != "mlp":
        with pytest.raises(ValueError, match="no sides"):
            models.generator(arch, 3, shape)
        return

    def run(key):
        d = models.discriminator(arch, shape, classes=3)
        g = models.generator(arch, 5, shape, classes=3)
        z, label = jnp.ones((4, 5)), jnp.arange(4) % 3
        fake, g_stats = g.apply(before := g.init(key), z, label, train=True)
        logits, d_stats = d.apply(d_before := d.init(key), fake, label, train=True)
        return (fake, logits), (before.stats, d_before.stats), (g_stats, d_stats)

    (fake, logits), before, after = jax.eval_shape(run, KEY)
    assert (fake.shape, logits.shape) == ((4, *shape), (4,))
    assert before == after and all(before)


def test_parameter_counts_of_the_articles_networks():
    d = models.discriminator(Architecture(), (28, 28, 1))
    g = models.generator(Architecture(), 100, (28, 28, 1))
    assert count(d) == (784 * 128 + 128) + (128 * 128 + 128) + (128 + 1)
    assert count(g) == (100 * 128 + 128) + (128 * 128 + 128) + (128 * 784 + 784)
    assert jax.eval_shape(d.init, KEY).stats == {}


def test_parameter_counts_of_pytorchs_dcgan_example():
    """netG and netD of github.com/pytorch/examples, dcgan/main.py, at its defaults."""
    arch = Architecture("dcgan", norm="batch")
    inner = 16 * (512 * 256 + 256 * 128 + 128 * 64)
    g_norms, d_norms = 2 * (512 + 256 + 128 + 64), 2 * (128 + 256 + 512)
    g = 16 * 100 * 512 + inner + 16 * 64 * 3 + g_norms
    d = 16 * 3 * 64 + inner + 16 * 512 + d_norms
    assert count(models.generator(arch, 100, (64, 64, 3))) == g == 3_576_704
    assert count(models.discriminator(arch, (64, 64, 3))) == d == 2_765_568


def test_parameter_counts_of_infogan():
    """Chen 2016, table 1; compare_gan's networks for MNIST."""
    arch = Architecture("dcgan", hidden=(1024,), norm="batch")
    wide = 7 * 7 * 128
    g = 64 * 1024 + 1024 * wide + 16 * (128 * 64 + 64) + 2 * (1024 + 128 + 64)
    d = 16 * (64 + 64 * 128) + wide * 1024 + 1024 + 2 * (128 + 1024)
    assert count(models.generator(arch, 64, (28, 28, 1))) == g
    assert count(models.discriminator(arch, (28, 28, 1))) == d


def conv(size, before, after):
    return size * size * before * after + after


def up(before, after, classes=1):
    norms = 2 * classes * (before + after)
    return (
        norms + conv(3, before, after) + conv(3, after, after) + conv(1, before, after)
    )


def down(before, after, hidden, shortcut=True):
    inner = conv(3, before, hidden) + conv(3, hidden, after)
    return inner + shortcut * conv(1, before, after)


def test_parameter_counts_of_sngan_on_cifar10():
    """Table 4 of Miyato et al., 2018: 256 channels in G, 128 in D."""
    arch = Architecture("resnet", width=128, norm="batch")
    end = 2 * 256 + conv(3, 256, 3)
    g = 129 * 4 * 4 * 256 + 3 * up(256, 256) + end
    assert count(models.generator(arch, 128, (32, 32, 3))) == g == 4_276_739
    by_class = 129 * 4 * 4 * 256 + 3 * up(256, 256, 10) + end
    assert count(models.generator(arch, 128, (32, 32, 3), classes=10)) == by_class

    arch = dataclasses.replace(arch, norm="none", spectral=True)
    flat = down(128, 128, 128, shortcut=False)
    d = down(3, 128, 128) + down(128, 128, 128) + 2 * flat + (128 + 1)
    assert count(models.discriminator(arch, (32, 32, 3))) == d == 1_053_825
    assert count(models.discriminator(arch, (32, 32, 3), classes=10)) == d + 10 * 128


def test_parameter_counts_of_sngan_at_64_and_128_pixels():
    """Table 5 of Miyato et al., 2018, and one level less."""
    arch = Architecture("resnet", width=64, norm="batch")
    end = 2 * 64 + conv(3, 64, 3)
    widths = [1024, 512, 256, 128, 64]
    g = sum(up(a, b) for a, b in zip(widths, widths[1:], strict=False)) + end
    dense = 129 * 4 * 4 * 1024
    assert count(models.generator(arch, 128, (64, 64, 3))) == dense + g
    larger = dense + up(1024, 1024) + g
    assert count(models.generator(arch, 128, (128, 128, 3))) == larger

    arch = dataclasses.replace(arch, norm="none")
    widths = widths[::-1]
    blocks = sum(down(a, b, a) for a, b in zip(widths, widths[1:], strict=False))
    d = down(3, 64, 64) + blocks + (1024 + 1)
    assert count(models.discriminator(arch, (64, 64, 3))) == d
    larger = d + down(1024, 1024, 1024, shortcut=False)
    assert count(models.discriminator(arch, (128, 128, 3))) == larger


@pytest.mark.parametrize("shape", [(5, 5, 1), (36, 36, 1), (64, 4, 3), (64, 256, 3)])
def test_sides_that_cannot_be_halved_down(shape):
    with pytest.raises(ValueError, match=r"halved \d times, to .*mlp"):
        models.discriminator(Architecture("dcgan"), shape)


def test_names_that_are_not_known():
    for field in ("model", "norm", "precision"):
        arch = Architecture(**{field: "no"})
        with pytest.raises(ValueError, match=f"unknown {field} 'no': expected one of"):
            models.generator(arch, 3, (2,))


def test_networks_against_numpy():
    d = models.discriminator(Architecture(hidden=(3,)), (2,))
    variables = d.init(jax.random.key(1))
    params = jax.tree.map(np.array, variables.params)
    x = np.array([[0.5, -2.0], [3.0, 1.0]], np.float32)
    first, second = params["Dense_0"], params["Dense_1"]
    h = x @ first["kernel"] + first["bias"]
    h = np.where(h > 0, h, 0.2 * h)
    expected = (h @ second["kernel"] + second["bias"])[:, 0]
    logits, stats = d.apply(variables, x, train=True)
    np.testing.assert_allclose(logits, expected, rtol=1e-5)
    assert stats == {}


@pytest.mark.parametrize("net", ["d", "g"])
def test_gradients_are_flaxs_bit_for_bit(net):
    x, arch = jax.random.normal(KEY, (16, 4)), Architecture(hidden=(8, 8))
    own = models.discriminator(arch, (4,))
    if net == "g":
        own = models.generator(arch, 4, (3,), output="identity")
    variables = own.init(jax.random.key(1))

    def ours(params):
        return own.apply(variables._replace(params=params), x)[0]

    def flax(params):
        h = x
        for name in ("Dense_0", "Dense_1"):
            h = h @ params[name]["kernel"] + params[name]["bias"][None]
            h = nn.leaky_relu(h, 0.2)
        h = h @ params["Dense_2"]["kernel"] + params["Dense_2"]["bias"][None]
        return h if net == "g" else h[:, 0]

    ours, theirs = (
        jax.jit(jax.grad(lambda p, f=f: jnp.sum(f(p) ** 2)))(variables.params)
        for f in (ours, flax)
    )
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("slope", [0.2, 0.0])
@pytest.mark.parametrize("model", ["mlp", "dcgan"])
def test_the_derivative_at_zero_is_jaxs_unless_chosen(model, slope):
    """At an input of 0 every unit of a network without biases is tied."""

    def gradient(chosen):
        arch = dataclasses.replace(SMALL[model], slope=slope, at_zero=chosen)
        net = models.discriminator(arch, SHAPE)
        logit = lambda x: net.apply(net.init(KEY), x)[0].sum()  # noqa: E731
        return jax.grad(logit)(jnp.zeros((1, *SHAPE)))

    right = gradient("right")
    assert jnp.abs(right).max() > 0
    auto = jax.grad(lambda x: nn.leaky_relu(x, slope) if slope else nn.relu(x))(0.0)
    for chosen, value in {
        "left": slope,
        "mid": (1 + slope) / 2,
        0.75: 0.75,
        "auto": float(auto),
    }.items():
        np.testing.assert_allclose(gradient(chosen), value * right, rtol=1e-5)


def test_the_derivative_at_zero_reaches_the_blocks():
    def gradient(chosen):
        net = models.discriminator(
            dataclasses.replace(SMALL["resnet"], at_zero=chosen), SHAPE
        )
        logit = lambda x: net.apply(net.init(KEY), x)[0].sum()  # noqa: E731
        return jax.jit(jax.grad(logit))(jnp.zeros((1, *SHAPE)))

    assert jnp.abs(gradient("left") - gradient("right")).max() > 1e-3


@EACH
def test_d_projects_its_features_on_the_class(arch):
    """Linear in them, as its slope in the last weights are the features."""
    net = compiled(models.discriminator(arch, SHAPE, classes=3))
    variables = net.init(KEY)
    variables = variables._replace(params=spread(variables.params))
    x = jax.random.normal(KEY, (1, *SHAPE))
    last = "Dense_1" if arch.model == "mlp" else "Dense_0"

    @jax.jit
    def logit_and_slope(label):
        def logit(params):
            return net.apply(variables._replace(params=params), x, label[None])[0][0]

        return jax.value_and_grad(logit)(variables.params)

    dense, table = variables.params[last], variables.params["Embed_0"]["embedding"]
    for label in range(3):
        logit, slope = logit_and_slope(jnp.asarray(label))
        phi = slope[last]["kernel"][:, 0]
        expected = phi @ (dense["kernel"][:, 0] + table[label])
        expected += sum(dense.get("bias", np.zeros(1)))
        np.testing.assert_allclose(logit, expected, rtol=1e-4)


@pytest.mark.parametrize(
    "model, norm",
    [("mlp", "none"), ("dcgan", "batch"), *(("resnet", norm) for norm in models.NORMS)],
)
def test_g_draws_another_sample_for_another_class(model, norm):
    arch = dataclasses.replace(SMALL[model], norm=norm)
    net = compiled(models.generator(arch, 3, SHAPE, classes=4))
    variables = net.init(KEY)
    variables = variables._replace(params=spread(variables.params))
    samples, _ = net.apply(variables, jnp.ones((4, 3)), jnp.arange(4))
    for a in range(4):
        for b in range(a):
            assert jnp.abs(samples[a] - samples[b]).max() > 1e-4


def test_labels_are_needed_for_classes_and_ignored_without():
    net = models.generator(SMALL["mlp"], 3, SHAPE, classes=4)
    with pytest.raises(ValueError, match="needs labels"):
        net.apply(net.init(KEY), jnp.ones((2, 3)))
    net = models.generator(SMALL["mlp"], 3, SHAPE)
    samples = [net.apply(net.init(KEY), jnp.ones((2, 3)), y)[0] for y in ([0, 1], None)]
    np.testing.assert_array_equal(*samples)


def test_batch_norm_against_numpy():
    arch = dataclasses.replace(SMALL["mlp"], norm="batch")
    net = compiled(models.generator(arch, 3, (2,), output="identity"))
    variables = net.init(KEY)
    variables = variables._replace(params=spread(variables.params))
    z = jax.random.normal(KEY, (16, 3))
    first, norm, last = (
        jax.tree.map(np.array, variables.params[name])
        for name in ("Dense_0", "BatchNorm_0", "Dense_1")
    )
    h = np.array(z) @ first["kernel"]

    def rest(mean, var):
        y = (h - mean) / np.sqrt(var + 1e-5) * norm["scale"] + norm["bias"]
        return np.where(y > 0, y, 0.2 * y) @ last["kernel"] + last["bias"]

    mean, var = np.mean(h, 0), np.var(h, 0)
    samples, stats = net.apply(variables, z, train=True)
    np.testing.assert_allclose(samples, rest(mean, var), rtol=1e-3, atol=1e-4)
    running = {"mean": 0.1 * mean, "var": 0.9 + 0.1 * var}
    for name, expected in running.items():
        np.testing.assert_allclose(stats["BatchNorm_0"][name], expected, rtol=1e-4)
    samples, after = net.apply(variables._replace(stats=stats), z)
    np.testing.assert_allclose(samples, rest(**running), rtol=1e-3, atol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, stats, after)


@pytest.mark.parametrize("model", ["dcgan", "resnet"])
def test_batch_norm_of_a_shared_batch_is_that_of_the_whole(model):
    arch = dataclasses.replace(SMALL[model], norm="batch")
    whole = compiled(models.generator(arch, 3, SHAPE, classes=2))
    shared = models.generator(arch, 3, SHAPE, classes=2, axis="devices")
    variables = whole.init(KEY)
    z, label = jax.random.normal(KEY, (8, 3)), jnp.arange(8) % 2

    def device(z, label):
        return shared.apply(variables, z, label, train=True)

    samples, stats = whole.apply(variables, z, label, train=True)
    parts = z.reshape(4, 2, 3), label.reshape(4, 2)
    each, their_stats = jax.jit(jax.vmap(device, axis_name="devices"))(*parts)
    np.testing.assert_allclose(each.reshape(samples.shape), samples, atol=1e-5)
    for mine, theirs in zip(*map(jax.tree.leaves, (stats, their_stats)), strict=True):
        for of_one in theirs:
            np.testing.assert_allclose(of_one, mine, atol=1e-6)


def test_layer_norm_is_over_all_of_a_sample():
    """Scaling all first features of a sample has no effect, scaling a part has."""
    arch = dataclasses.replace(SMALL["dcgan"], norm="layer")
    net = compiled(models.generator(arch, 3, SHAPE))
    variables = net.init(KEY)
    assert variables.stats == {}
    kernel = variables.params["Dense_0"]["kernel"]  # [3, places * channels], no bias

    def sample(kernel):
        params = variables.params | {"Dense_0": {"kernel": kernel}}
        return net.apply(variables._replace(params=params), 100 * jnp.eye(3))[0]

    samples = sample(kernel)
    np.testing.assert_allclose(sample(3 * kernel), samples, atol=1e-5)
    of_a_place = sample(kernel.at[:, : arch.width].multiply(3))
    assert jnp.abs(of_a_place - samples).max() > 1e-3


def matrices(params):
    """Each kernel and embedding by its path, as a matrix of one column an output."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {
        tuple(key.key for key in path): np.reshape(x, (-1, x.shape[-1]))
        for path, x in leaves
        if path[-1].key in ("kernel", "embedding")
    }


@EACH
def test_spectral_norm_finds_the_largest_singular_values(arch):
    arch = dataclasses.replace(arch, spectral=True)
    net = compiled(models.discriminator(arch, SHAPE, classes=3))
    variables = net.init(KEY)
    x, label = jnp.ones((1, *SHAPE)), jnp.zeros(1, jnp.int32)

    @jax.jit
    def settle(stats):
        def once(_, stats):
            return net.apply(variables._replace(stats=stats), x, label, train=True)[1]

        return jax.lax.fori_loop(0, 200, once, stats)

    stats = settle(variables.stats)
    sigmas = {
        tuple(key.key for key in path): value
        for path, value in jax.tree_util.tree_leaves_with_path(stats)
        if path[-1].key.endswith("sigma")
    }
    expected = matrices(variables.params)
    assert len(sigmas) == len(expected)
    for path, sigma in sigmas.items():
        name = (*path[:-2], *path[-1].removesuffix("/sigma").split("/"))
        largest = np.linalg.svd(expected[name], compute_uv=False)[0]
        np.testing.assert_allclose(sigma, largest, rtol=1e-4)


def test_spectral_norm_divides_every_weight_by_its_largest_singular_value():
    """With a slope of 1 the network is the product of its normalised weights."""
    arch = Architecture(hidden=(4, 3), slope=1.0, spectral=True)
    net = compiled(models.discriminator(arch, (5,)))
    variables = net.init(KEY)
    for _ in range(60):
        stats = net.apply(variables, jnp.ones((1, 5)), train=True)[1]
        variables = variables._replace(stats=stats)
    expected = np.eye(5)
    for name in ("Dense_0", "Dense_1", "Dense_2"):
        kernel = np.array(variables.params[name]["kernel"])
        expected = expected @ kernel / np.linalg.norm(kernel, 2)
    logits, after = net.apply(variables, jnp.eye(5))
    np.testing.assert_allclose(logits, expected[:, 0], rtol=1e-4, atol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, after, variables.stats)


def test_spectral_norm_is_differentiated_through_sigma_alone():
    r"""d/dw of w.x / |w| is (x - (x.e) e) / |w|, where e = w / |w|."""
    net = compiled(models.discriminator(Architecture(hidden=(), spectral=True), (3,)))
    variables = net.init(KEY)
    x = jnp.array([[1.0, -2.0, 0.5]])

    def logit(params):
        return net.apply(variables._replace(params=params), x, train=True)[0][0]

    w = np.array(variables.params["Dense_0"]["kernel"])[:, 0]
    length = np.linalg.norm(w)
    expected = (x[0] - (x[0] @ w) * w / length**2) / length
    gradient = jax.grad(logit)(variables.params)["Dense_0"]["kernel"][:, 0]
    np.testing.assert_allclose(gradient, expected, rtol=1e-4)


def test_g_is_never_spectrally_normalised():
    net = models.generator(dataclasses.replace(SMALL["mlp"], spectral=True), 3, SHAPE)
    assert jax.eval_shape(net.init, KEY).stats == {}


@EACH
def test_bfloat16_is_for_computing_alone(arch):
    """Of all products, and of none that makes a logit."""
    x, label = jnp.ones((8, *SHAPE)), jnp.arange(8) % 2
    product = re.compile(r":(\w+)\[[\d,]*\] = (?:dot_general|conv_general_dilated)")
    for precision, short in {"float32": "f32", "bfloat16": "bf16"}.items():
        arch = dataclasses.replace(arch, norm="batch", precision=precision)
        net = models.discriminator(arch, SHAPE, classes=2)
        variables = jax.eval_shape(net.init, KEY)
        program, results = jax.make_jaxpr(
            lambda *args, net=net: net.apply(*args, train=True), return_shape=True
        )(variables, x, label)
        *products, logit = product.findall(str(program))
        assert set(products) == {short} and logit == "f32"
        kept = jax.tree.leaves((variables, results))
        assert {leaf.dtype.name for leaf in kept} == {"float32"}


def test_bfloat16_is_near_float32():
    arch = dataclasses.replace(SMALL["dcgan"], norm="batch")
    z = jax.random.normal(KEY, (8, 3))
    results = []
    for precision in models.PRECISIONS:
        arch = dataclasses.replace(arch, precision=precision)
        net = compiled(models.generator(arch, 3, SHAPE))
        results.append(net.apply(net.init(KEY), z, train=True))
    (exact, exact_stats), (near, near_stats) = results
    assert 0 < jnp.abs(exact - near).max() < 0.05 * jnp.abs(exact).max()
    for one, other in zip(
        *map(jax.tree.leaves, (exact_stats, near_stats)), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("sides", [(6,), (4, 6)])
def test_doubled_and_halved_against_numpy(sides):
    x = np.random.default_rng(0).normal(size=(2, *sides, 3)).astype(np.float32)
    twice = np.kron(x, np.ones((1, *(2,) * len(sides), 1)))
    np.testing.assert_allclose(resnet.doubled(x), twice, rtol=1e-6)
    np.testing.assert_allclose(resnet.halved(twice), x, rtol=1e-5)
    pairs = x.reshape(2, *(n for side in sides for n in (side // 2, 2)), 3)
    means = pairs.mean(tuple(range(2, 2 * len(sides) + 1, 2)))
    np.testing.assert_allclose(resnet.halved(x), means, rtol=1e-5, atol=1e-6)


@EACH
def test_gradients_can_be_differentiated_again(arch):
    """As gradient penalties do."""
    arch = dataclasses.replace(arch, norm="layer", spectral=True, at_zero="mid")
    net = models.discriminator(arch, SHAPE)

    def penalty(variables, x):
        slope = jax.grad(lambda x: net.apply(variables, x, train=True)[0].sum())(x)
        return jnp.sum(slope**2)

    variables = jax.eval_shape(net.init, KEY)
    x = jax.ShapeDtypeStruct((2, *SHAPE), jnp.float32)
    assert jax.eval_shape(jax.grad(penalty), variables, x) == variables


def test_tanh_bounds_the_samples_and_identity_does_not():
    z = 100 * jax.random.normal(KEY, (64, 3))
    largest = {}
    for output in models.OUTPUTS:
        g = compiled(
            models.generator(Architecture(hidden=(8,)), 3, (2,), output=output)
        )
        largest[output] = np.abs(g.apply(g.init(KEY), z)[0]).max()
    assert largest["tanh"] <= 1 < largest["identity"]


@pytest.mark.parametrize("end", [2.0, -2.0])
def test_between_vectors_on_one_line_the_walk_is_straight(end):
    points = models.great_circle(np.array([[1.0]]), np.array([[end]]), 5)
    np.testing.assert_allclose(points[:, 0], np.linspace(1, end, 5), atol=1e-5)
    row = np.array([[0.3, 0.7]])  # whose cosine with itself is above 1 by rounding
    np.testing.assert_allclose(models.great_circle(row, 3 * row, 3)[1], 2 * row[0])


def test_great_circle_keeps_ends_length_and_equal_angles():
    a, b = np.array([[3.0, 0.0]]), np.array([[0.0, 3.0]])
    points = models.great_circle(a, b, 7)
    angle = np.linspace(0, np.pi / 2, 7)
    expected = 3 * np.stack([np.cos(angle), np.sin(angle)], 1)
    np.testing.assert_allclose(points, expected, atol=1e-5)


@EACH
def test_standing_statistics_are_those_that_training_takes_of_the_same_noise(arch):
    """Of one batch: outside of training, G then draws what it draws in training."""
    arch = dataclasses.replace(arch, norm="batch")
    g = compiled(models.generator(arch, 3, SHAPE, classes=4))
    before = g.init(KEY)
    before = before._replace(stats=jax.tree.map(lambda x: x + jnp.nan, before.stats))
    z, label = jax.random.normal(KEY, (3, 8, 3)), jnp.arange(24).reshape(3, 8) % 4
    each = [
        models.standing(g, before, z[i : i + 1], label[i : i + 1]) for i in range(3)
    ]
    for i, one in enumerate(each):
        wanted, _ = g.apply(before, z[i], label[i], train=True)
        found, _ = g.apply(one, z[i], label[i])
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    together = models.standing(g, before, z, label).stats
    means = jax.tree.map(lambda *x: np.mean(x, 0), *[one.stats for one in each])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        together,
        means,
    )
