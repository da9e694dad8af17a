"""Metrics of images: closed forms, published check values, slow NumPy references.

Sources of the values: compare_gan and TF-GAN are the unit tests of these libraries,
prdc the package's README; the closed forms were computed independently of this program.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, stats
from scipy.spatial.distance import cdist

from subsel.gan.metrics import distances, histogram, neighbours
from subsel.gan.metrics import images as metrics

KEY = jax.random.key(0)
frechet = jax.jit(distances.frechet)
kernel_distance = jax.jit(distances.kernel_distance, static_argnames="block")
score = jax.jit(histogram.classifier_score)
prdc = jax.jit(neighbours.prdc, static_argnames="k")


def normal(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


# ---------------------------------------------------------------- Fréchet distance


@pytest.mark.parametrize(
    "first, second, expected",
    [
        (([0], [[1]]), ([3], [[4]]), 10),
        (([0, 0], np.eye(2)), ([1, -2], [[2, 0.5], [0.5, 1]]), 5.2478420434),
        (
            ([0, 0], [[4, 1], [1, 3]]),
            ([1, 1], [[2, -0.3], [-0.3, 1]]),
            3.1530042819,
        ),
        (([0, 0], np.diag([1, 0])), ([0, 0], np.diag([0, 1])), 2),
    ],
    ids=["one dimension", "to the standard", "not commuting", "rank deficient"],
)
def test_frechet_closed_forms(first, second, expected):
    a, b = (
        distances.from_covariance(np.array(m, np.float32), np.array(c, np.float32))
        for m, c in (first, second)
    )
    np.testing.assert_allclose(frechet(a, b), expected, rtol=1e-5)
    np.testing.assert_allclose(frechet(b, a), expected, rtol=1e-5)


def test_frechet_of_two_by_two_matrices():
    """tr (AB)^(1/2) = (tr AB + 2 (det AB)^(1/2))^(1/2)."""
    a, b = (np.cov(normal(9, 2, seed).T) for seed in (1, 2))
    root = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    made = [distances.from_covariance(np.zeros(2, np.float32), x) for x in (a, b)]
    expected = np.trace(a + b) - 2 * root
    np.testing.assert_allclose(frechet(*made), expected, rtol=1e-4)


def test_frechet_of_compare_gan():
    """89.0909, with N - 1 below the covariance; 89.0 would be with N."""
    real = np.ones((100, 2), np.float32)
    real[:50, 0] = 2
    fake = np.full((100, 2), 9, np.float32)
    fake[50:, 0] = 2
    assert abs(frechet(fake, real) - 89.0909) < 1e-3
    np.testing.assert_allclose(frechet(fake, real), 89 + 1 / 11, rtol=1e-6)


def by_scipy(x, y):
    """In float64, as in FID's own program."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = linalg.sqrtm(a @ b).real
    gap = x.mean(axis=0) - y.mean(axis=0)
    return gap @ gap + np.trace(a + b - 2 * root)


@pytest.mark.parametrize(
    "d, shift, scale, offset",
    [
        (2, 0.0, 1.1, 0.0),
        (64, 0.3, 1.0, 0.0),
        (64, 0.0, 1.0, 0.0),  # no more than what two finite samples differ by
        (64, 0.1, 1.5, 30.0),  # features far from 0
    ],
)
def test_frechet_is_scipys(d, shift, scale, offset):
    mix = normal(d, d, 7) * np.logspace(0, -2, d, dtype=np.float32)[None]
    x = normal(2000, d, 1) @ mix + np.float32(offset)
    y = np.float32(scale) * normal(1500, d, 2) @ mix + np.float32(offset + shift)
    np.testing.assert_allclose(frechet(x, y), by_scipy(x, y), rtol=1e-4)


@pytest.mark.parametrize("n", [20, 40])
def test_frechet_of_rank_deficient_covariances(n):
    """Dead features, repeated features, and fewer samples than dimensions."""
    d = 32
    mix = normal(d, d, 3)
    mix[:, 10:20] = mix[:, :10]
    mix[:, 20:25] = 0
    x, y = normal(n, d, 1) @ mix, normal(2 * n, d, 2) @ mix * np.float32(0.7)
    # By singular values, as sqrtm of a singular matrix is not accurate itself.
    a, b = ((z - z.mean(0)) / (len(z) - 1) ** 0.5 for z in (x.astype(float), y))
    nuclear = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    gap = x.mean(axis=0, dtype=float) - y.mean(axis=0, dtype=float)
    expected = gap @ gap + np.sum(a**2) + np.sum(b**2) - 2 * nuclear
    np.testing.assert_allclose(frechet(x, y), expected, rtol=1e-4)
    with warnings.catch_warnings(action="ignore", category=linalg.LinAlgWarning):
        np.testing.assert_allclose(by_scipy(x, y), expected, rtol=1e-4)


def test_frechet_of_collapsed_samples():
    x, y = np.ones((50, 8), np.float32), normal(60, 8)
    expected = np.sum(np.var(y, axis=0, ddof=1)) + np.sum((1 - y.mean(0)) ** 2)
    np.testing.assert_allclose(frechet(x, y), expected, rtol=1e-5)
    assert frechet(x, x) < 1e-12


@pytest.mark.parametrize("d", [2, 64])
def test_frechet_of_a_set_and_itself_is_zero(d):
    x = 10 * normal(300, d)
    assert frechet(x, x) < 1e-8 * np.sum(np.var(x, axis=0))


def test_frechet_takes_moments():
    x, y = normal(200, 5, 1), normal(300, 5, 2) * 2
    made = jax.jit(distances.moments)(y)
    np.testing.assert_allclose(
        made.root.T @ made.root, np.cov(y, rowvar=False), atol=1e-5
    )
    np.testing.assert_allclose(frechet(x, made), frechet(x, y), rtol=1e-6)


@pytest.mark.parametrize(
    "d, n, expected",
    [(2, 1000, 0.0072), (10, 1000, 0.0727), (10, 5000, 0.0148), (64, 5000, 0.443)],
)
def test_frechet_bias(d, n, expected):
    """About 2 d / N + d (d + 1) / 2 N between two sets of one distribution."""
    np.testing.assert_allclose(
        2 * d / n + d * (d + 1) / (2 * n), expected, rtol=0.025 if n == 5000 else 0.05
    )
    repeats = {2: 60, 10: 20, 64: 2}[d]
    found = [
        frechet(normal(n, d, 2 * i), normal(n, d, 2 * i + 1)) for i in range(repeats)
    ]
    np.testing.assert_allclose(np.mean(found), expected, rtol={2: 0.3}.get(d, 0.1))


# ---------------------------------------------------------------- kernel distance


def test_kernel_distance_by_hand():
    x = np.array([[0, 0], [1, 0], [0, 1]], np.float32)
    y = np.array([[1, 1], [2, 0], [0, 2]], np.float32)
    mean, error = kernel_distance(x, y)
    np.testing.assert_allclose(mean, 0.5, rtol=1e-6)
    assert np.isnan(error)


def test_kernel_distance_of_the_population():
    """1.328125 between N(0, I) and N(e_1, I) in four dimensions."""
    y = normal(10_000, 4, 1)
    y[:, 0] += 1
    mean, error = kernel_distance(normal(10_000, 4), y)
    assert abs(mean - 1.328125) < 4 * error and 0.005 < error < 0.05


def poly3(x, y):
    x, y = x.astype(float), y.astype(float)
    own = [(1 + a @ a.T / a.shape[1]) ** 3 for a in (x, y)]
    own = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in own]
    return sum(own) - 2 * np.mean((1 + x @ y.T / x.shape[1]) ** 3)


@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_kernel_distance_against_numpy(offset):
    """And the blocks of TF-GAN: the spread over them, ddof 1, over their root."""
    x, y = normal(330, 6, 1) + np.float32(offset), normal(300, 6, 2) * 1.2
    y = (y + offset).astype(np.float32)
    blocks = [
        poly3(a, b) for a, b in zip(np.split(x[:328], 4), np.split(y, 4), strict=True)
    ]
    mean, error = kernel_distance(x, y, block=100)
    np.testing.assert_allclose(mean, np.mean(blocks), rtol=1e-3)
    np.testing.assert_allclose(error, np.std(blocks, ddof=1) / 2, rtol=1e-3)


# ---------------------------------------------------------------- sliced Wasserstein


def test_sliced_wasserstein_of_normal_distributions():
    """SW2^2 = |m|^2 / d + (s1 - s2)^2 = 4 for m = (3, 0, 0), sd 1 and 2."""
    y = 2 * normal(4000, 3, 1)
    y[:, 0] += 3
    found = distances.sliced_wasserstein(normal(4000, 3), y, KEY, 512)
    np.testing.assert_allclose(found**2, 4, rtol=0.1)  # of the random directions


@pytest.mark.parametrize("order", [1, 2])
def test_wasserstein_in_one_dimension(order):
    """W1 = (2 / pi)^(1/2) = .7978845608 and W2 = 1 between N(0, 1) and N(0, 4)."""
    level = (np.arange(4000) + 0.5) / 4000
    x = stats.norm.ppf(level).astype(np.float32)[:, None]
    found = distances.sliced_wasserstein(x, 2 * x, KEY, 1, order)
    np.testing.assert_allclose(found, [0.7978845608, 1][order - 1], rtol=2e-3)


def test_sliced_wasserstein_of_sets_of_two_sizes():
    x, y = normal(60, 1), normal(180, 1, 1)
    found = distances.sliced_wasserstein(x, y, KEY, 3, 1)
    expected = stats.wasserstein_distance(x[:, 0], y[:, 0])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    swapped = distances.sliced_wasserstein(y, x, KEY, 3, 1)
    np.testing.assert_allclose(found, swapped, rtol=1e-6)


# ---------------------------------------------------------------- neighbours


def slow_prdc(fake, real, k):
    """As the package ``prdc`` does it, in float64, all distances at once."""
    fake, real = fake.astype(float), real.astype(float)
    fake_radius, real_radius = (
        np.partition(cdist(x, x), k, axis=1)[:, k] for x in (fake, real)
    )
    between = cdist(real, fake)
    inside = between < real_radius[:, None]
    return {
        "precision": inside.any(axis=0).mean(),
        "recall": (between < fake_radius[None, :]).any(axis=1).mean(),
        "density": inside.sum(axis=0).mean() / k,
        "coverage": (between.min(axis=1) < real_radius).mean(),
    }


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 1000), st.floats(0.2, 2), st.floats(0, 2), st.sampled_from([1, 5])
)
def test_prdc_is_that_of_the_package(seed, scale, shift, k):
    fake, real = normal(300, 3, seed), normal(500, 3, seed + 1)
    fake = (scale * fake + shift).astype(np.float32)
    expected = slow_prdc(fake, real, k)
    found = prdc(fake, real, k=k)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6, err_msg=name)


def test_prdc_far_from_zero():
    fake, real = normal(280, 8) + np.float32(50), normal(300, 8, 1) + np.float32(50)
    found = prdc(fake, real, k=5)
    for name, value in slow_prdc(fake, real, 5).items():
        np.testing.assert_allclose(found[name], value, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    "n, d, expected, tolerance",
    [
        (1000, 2, (0.995, 0.997, 0.995, 0.970), (0.01, 0.01, 0.04, 0.03)),
        (1000, 10, (0.923, 0.919, 1.02, 0.973), (0.04, 0.04, 0.12, 0.03)),
        (1000, 64, (0.715, 0.735, 0.964, 0.968), (0.1, 0.1, 0.3, 0.03)),
    ],
)
def test_prdc_of_equal_distributions(n, d, expected, tolerance):
    """Means over ten draws of an independent program, k = 5; here one draw."""
    found = prdc(normal(n, d, 1), normal(n, d, 2), k=5)
    names = "precision", "recall", "density", "coverage"
    for name, value, within in zip(names, expected, tolerance, strict=True):
        assert abs(found[name] - value) < within, name
    i = np.arange(1, 6)
    coverage = 1 - np.prod((n - i) / (2 * n - i))
    assert coverage == pytest.approx(0.968773, abs=5e-4)
    assert abs(found["coverage"] - coverage) < 0.03


def test_prdc_of_the_readme_of_its_package():
    """P .4772, R .4705, D 1.0555, C .9735 for N = 10,000 in 1,000 dimensions.

    This is its coverage, which does not depend on the dimension, at d = 8. At d = 1,000
    this program found .490, .469, 1.099, .977 (one draw, 12 seconds on 2 cores), where
    draws of an independent one spread by .017, .005, .064, .007 about .475, .479, .990,
    .966.
    """
    n, i = 10_000, np.arange(1, 6)
    assert 1 - np.prod((n - i) / (2 * n - i)) == pytest.approx(0.968773, abs=1e-6)
    found = prdc(normal(4000, 8, 1), normal(4000, 8, 2), k=5)
    assert abs(found["coverage"] - 0.968773) < 0.015
    assert abs(found["density"] - 1) < 0.05


def test_prdc_of_collapsed_and_of_disjoint_samples():
    real = normal(400, 2)
    one = np.tile(real[:1], (300, 1))
    found = prdc(one, real, k=5)
    assert found["precision"] == 1 and found["recall"] == 0
    assert found["coverage"] < 0.05
    found = prdc(real + np.float32(100), real, k=5)
    assert all(value == 0 for value in found.values())


# ---------------------------------------------------------------- histograms


@jax.jit
def evenness(counts):
    return histogram.entropy(counts), histogram.kl_to_uniform(counts)


def test_count_keeps_to_its_bins():
    labels = jnp.array([0, 2, 2, -1, 3, 7, 1])
    assert histogram.count(labels, 4).tolist() == [1, 1, 2, 1]
    assert histogram.count(labels, 4, labels != 2).tolist() == [1, 1, 0, 1]


@settings(deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=12, max_size=12))
def test_entropy_and_divergence_against_scipy(counts):
    entropy, divergence = evenness(np.array(counts))
    if sum(counts) == 0:
        assert entropy == 0 and divergence == np.inf
    else:
        expected = stats.entropy(counts, np.ones(12))
        np.testing.assert_allclose(divergence, expected, atol=1e-5)
        np.testing.assert_allclose(entropy, stats.entropy(counts), atol=1e-5)


def test_an_empty_histogram():
    entropy, divergence = evenness(np.zeros(12, int))
    assert entropy == 0 and divergence == np.inf


MNIST = np.array([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]) / 60_000


def of_thousand(n, uniform=True, draws=40):
    """Histograms of digits stacked at random, by way of their joint label."""
    rng = np.random.default_rng(0)
    digits = rng.choice(10, (draws, n, 3), p=None if uniform else MNIST)
    labels = jax.vmap(lambda rows: histogram.joint(rows, 10))(digits.astype(np.int32))
    return jnp.array([np.bincount(row, minlength=1000) for row in np.asarray(labels)])


def test_joint_label_of_stacked_digits():
    assert histogram.joint(jnp.array([[3, 1, 4], [0, 0, 9]]), 10).tolist() == [314, 9]


@pytest.mark.parametrize(
    "n, uniform, expected",
    [
        (26_000, True, 0.0194),
        (26_000, False, 0.0236),
        (25_600, True, 0.0196),
        (25_600, False, 0.0239),
        (10_000, True, 0.051),
        (10_000, False, 0.055),
    ],
)
def test_floor_of_the_divergence_of_stacked_digits(n, uniform, expected):
    """Of a perfect sampler, with uniform digits and with those of MNIST's train set."""
    found = jnp.mean(jax.vmap(histogram.kl_to_uniform)(of_thousand(n, uniform)))
    np.testing.assert_allclose(found, expected, atol=0.0004 if n > 20_000 else 0.0015)


@pytest.mark.parametrize(
    "n, expected", [(26_000, 1000.0), (10_000, 999.95), (2500, 917.8)]
)
def test_expected_number_of_modes_of_a_thousand(n, expected):
    assert 1000 * (1 - 0.999**n) == pytest.approx(expected, abs=0.25)
    found = jnp.mean(jax.vmap(histogram.modes)(of_thousand(n)))
    np.testing.assert_allclose(found, expected, atol=0.1 if n > 2500 else 3)


@pytest.mark.parametrize("n, expected", [(10_000, 950.2), (26_000, 980.8)])
def test_exponential_of_the_entropy_of_a_thousand(n, expected):
    found = jnp.mean(jnp.exp(jax.vmap(histogram.entropy)(of_thousand(n))))
    np.testing.assert_allclose(found, expected, atol=0.8)


def test_classifier_score_of_tf_gan():
    logits = np.array([[1, 2] * 500 + [4], [4, 5] * 500 + [6]], np.float32)
    found = score(logits)
    np.testing.assert_allclose(found, 1.0008087798617324, rtol=1e-5)


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_classifier_score_of_certain_and_even_predictions(classes):
    logits = np.tile(np.where(np.eye(classes), 0, -np.inf), (3, 1)).astype(np.float32)
    np.testing.assert_allclose(score(logits), classes, rtol=1e-5)
    logits = np.tile(1e4 * np.eye(classes, dtype=np.float32), (3, 1))
    np.testing.assert_allclose(score(logits), classes, rtol=1e-5)
    same = np.tile(logits[:1], (9, 1))
    np.testing.assert_allclose(score(same), 1, rtol=1e-6)


@pytest.mark.parametrize(
    "samples, reference, middle, most",
    [
        ((1, 0), (0, 1), (0, 0), (0, 0)),
        ((0.3, 0.7), (0.3, 0.7), (1, 1), (1, 1)),
        ((0.5, 0.5), (1, 0), (0.5, 0.5), (0.5, 1)),
    ],
    ids=["disjoint", "equal", "too broad"],
)
def test_precision_recall_curve_of_compare_gan(samples, reference, middle, most):
    """At the middle of 11 angles, and the largest of each."""
    curve = histogram.precision_recall_curve(
        np.array(samples, np.float32), np.array(reference, np.float32), 11
    )
    np.testing.assert_allclose([x[5] for x in curve], middle, atol=1e-5)
    np.testing.assert_allclose([x.max() for x in curve], most, atol=1e-5)


@pytest.mark.parametrize("beta, expected", [(1, 2 / 3), (2, 5 / 6), (1 / 2, 5 / 9)])
def test_f_score_of_compare_gan(beta, expected):
    np.testing.assert_allclose(histogram.f_score(0.5, 1.0, beta), expected, rtol=1e-6)
    assert histogram.f_score(0.0, 0.0, beta) == 0


# ---------------------------------------------------------------- all of them


def test_all_metrics_of_images():
    features, logits = normal(1200, 16), 5 * normal(1200, 10, 1)
    other = normal(1500, 16, 2), 5 * normal(1500, 10, 3)
    found = jax.jit(metrics.images)((features, logits), other, KEY)
    names = (
        "frechet kernel_distance kernel_distance_error sliced_wasserstein precision "
        "recall density coverage classes class_entropy class_kl classifier_score"
    )
    assert sorted(found) == sorted(names.split())
    assert all(value.shape == () and np.isfinite(value) for value in found.values())
    assert found["classes"] == 10 and abs(found["density"] - 1) < 0.2
    assert abs(found["kernel_distance"]) < 5 * found["kernel_distance_error"]
