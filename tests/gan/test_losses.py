"""Losses against the papers' formulas in float64 NumPy, and their gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subsel.gan.losses import LOSSES

REAL = np.array([0.3, -1.2, 2.0, 0.0])
FAKE = np.array([-0.7, 1.5, -3.0, 0.1])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def article(real, fake):
    """L_D, negated, and L_G as the article prints them, with D = sigmoid(logit)."""
    d_real, d_fake = sigmoid(real), sigmoid(fake)
    l_d = np.log(d_real).mean() + np.log(1 - d_fake).mean()
    l_g = -np.log(d_real).mean() + np.log(1 - d_fake).mean()
    return -l_d, l_g


def non_saturating(real, fake):
    return article(real, fake)[0], -np.log(sigmoid(fake)).mean()


def hinge(real, fake):
    d = np.clip(1 - real, 0, None).mean() + np.clip(1 + fake, 0, None).mean()
    return d, -fake.mean()


def least_squares(real, fake):
    d = ((real - 1) ** 2).mean() / 2 + (fake**2).mean() / 2
    return d, ((fake - 1) ** 2).mean() / 2


def wasserstein(real, fake):
    return fake.mean() - real.mean(), -fake.mean()


def relativistic(real, fake):
    """As printed: with D_ra(x, y) = sigmoid(C(x) - E C(y))."""
    d_real, d_fake = sigmoid(real - fake.mean()), sigmoid(fake - real.mean())
    d = -np.log(d_real).mean() - np.log(1 - d_fake).mean()
    return d, -np.log(d_fake).mean() - np.log(1 - d_real).mean()


FORMULAS = {
    "minimax": article,
    "non_saturating": non_saturating,
    "hinge": hinge,
    "least_squares": least_squares,
    "wasserstein": wasserstein,
    "relativistic": relativistic,
}


@pytest.mark.parametrize("name", LOSSES)
def test_values_are_those_of_the_papers_formulas(name):
    d, g = FORMULAS[name](REAL, FAKE)
    np.testing.assert_allclose(LOSSES[name].d(REAL, FAKE), d, rtol=1e-6)
    np.testing.assert_allclose(LOSSES[name].g(REAL, FAKE), g, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "d", "g"),
    [
        ("hinge", (0.5 + 0) / 2 + (2 + 0) / 2, 0.5),
        ("least_squares", (0.25 + 1) / 4 + (1 + 4) / 4, (0 + 9) / 4),
        ("wasserstein", -0.5 - 1.25, 0.5),
    ],
)
def test_values_by_hand(name, d, g):
    real, fake = jnp.array([0.5, 2.0]), jnp.array([1.0, -2.0])
    np.testing.assert_allclose(LOSSES[name].d(real, fake), d, rtol=1e-6)
    np.testing.assert_allclose(LOSSES[name].g(real, fake), g, rtol=1e-6)


def test_where_d_knows_nothing_cross_entropies_are_log_2():
    zero = jnp.zeros(3)
    for name in ("minimax", "non_saturating", "relativistic"):
        np.testing.assert_allclose(LOSSES[name].d(zero, zero), 2 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(
        LOSSES["relativistic"].g(zero, zero), 2 * np.log(2), rtol=1e-6
    )


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("player", ["d", "g"])
def test_gradients_are_the_finite_differences_of_the_formulas(name, player):
    loss = getattr(LOSSES[name], player)
    got = jax.grad(loss, (0, 1))(jnp.array(REAL), jnp.array(FAKE))
    h, place = 1e-5, "dg".index(player)
    for side in (0, 1):
        for i in range(len(REAL)):
            step = [np.zeros(4), np.zeros(4)]
            step[side][i] = h
            up = FORMULAS[name](REAL + step[0], FAKE + step[1])[place]
            down = FORMULAS[name](REAL - step[0], FAKE - step[1])[place]
            np.testing.assert_allclose(
                got[side][i], (up - down) / (2 * h), rtol=1e-5, atol=1e-7
            )


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradients_are_finite_at_any_logit(name):
    logits = [-1e4, -90.0, 0.0, 90.0, 1e4]
    real, fake = (
        jnp.repeat(x.ravel()[:, None], 3, 1) for x in np.meshgrid(*[logits] * 2)
    )
    for loss in LOSSES[name][:2]:
        value, grads = jax.vmap(jax.value_and_grad(loss, (0, 1)))(real, fake)
        for found in (value, *grads):
            assert np.isfinite(found).all()
    assert np.isfinite(LOSSES[name].score(real)).all()


def test_the_score_is_a_probability_only_where_d_means_one():
    logits = jnp.array([-2.0, 0.0, 3.0])
    for name, loss in LOSSES.items():
        probable = name in ("minimax", "non_saturating")
        expected = sigmoid(np.array(logits)) if probable else logits
        np.testing.assert_allclose(loss.score(logits), expected, rtol=1e-6)


def test_gradients_in_the_logit_of_a_generated_sample():
    """-sigmoid(f), which vanishes when D wins, against sigmoid(f) - 1, which does not.

    At a logit of -20 the first is 2e-9: there a generator stalls.
    """
    logit = jnp.array([-20.0])
    gradient = {name: jax.grad(LOSSES[name].g, 1)(logit, logit)[0] for name in LOSSES}
    np.testing.assert_allclose(gradient["minimax"], -np.exp(-20.0), rtol=1e-5)
    for name in ("non_saturating", "hinge", "wasserstein"):
        np.testing.assert_allclose(gradient[name], -1.0, rtol=1e-5)
    np.testing.assert_allclose(gradient["least_squares"], -21.0, rtol=1e-6)


def test_the_generators_minimax_loss_has_no_gradient_through_generated_real():
    """Its first term is a number to report: it depends on D's real logits alone."""
    grads = jax.grad(LOSSES["minimax"].g, (0, 1))(jnp.array(REAL), jnp.array(FAKE))
    expected = -1 / (1 + np.exp(REAL)) / 4, -1 / (1 + np.exp(-FAKE)) / 4
    for got, want in zip(grads, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize("name", ["hinge", "least_squares", "wasserstein"])
def test_g_does_not_ask_what_d_says_of_real_samples(name):
    grad = jax.grad(LOSSES[name].g)(jnp.array(REAL), jnp.array(FAKE))
    np.testing.assert_array_equal(grad, 0)


def test_both_terms_of_the_relativistic_g_have_a_gradient_in_g():
    """Two samples: dL/df_i = -s(Er - f_i)/2 - (s(r_1 - Ef) + s(r_2 - Ef))/4."""
    real, fake = np.array([1.0, 3.0]), np.array([-1.0, 0.5])
    expected = -sigmoid(real.mean() - fake) / 2 - sigmoid(real - fake.mean()).mean() / 2
    got = jax.grad(LOSSES["relativistic"].g, 1)(jnp.array(real), jnp.array(fake))
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_a_sample_on_the_margin_of_the_hinge_does_not_pull():
    real, fake = jnp.array([1.0, 0.0]), jnp.array([-1.0, 0.0])
    grads = jax.grad(LOSSES["hinge"].d, (0, 1))(real, fake)
    np.testing.assert_array_equal(grads[0], [0, -0.5])
    np.testing.assert_array_equal(grads[1], [0, 0.5])


@pytest.mark.parametrize("name", LOSSES)
def test_the_mean_over_devices_of_a_split_batch_is_the_loss_of_the_whole(name):
    """With each device's own mean the relativistic loss would be another one."""

    def mean(values):
        return jax.lax.pmean(jnp.mean(values), "devices")

    halves = REAL.reshape(2, 2), FAKE.reshape(2, 2)
    for loss in LOSSES[name][:2]:
        split = jax.vmap(functools.partial(loss, mean=mean), axis_name="devices")
        whole = float(loss(REAL, FAKE))
        np.testing.assert_allclose(np.mean(split(*halves)), whole, atol=1e-6)
