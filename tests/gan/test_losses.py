"""Losses against the article's formulas in float64 NumPy, and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subsel.gan.losses import LOSSES

REAL = np.array([0.3, -1.2, 2.0, 0.0])
FAKE = np.array([-0.7, 1.5, -3.0, 0.1])


def article(real, fake):
    """L_G and L_D as the article prints them, with D = sigmoid(logit)."""
    d_real, d_fake = 1 / (1 + np.exp(-real)), 1 / (1 + np.exp(-fake))
    l_g = -np.log(d_real).mean() + np.log(1 - d_fake).mean()
    l_d = np.log(d_real).mean() + np.log(1 - d_fake).mean()
    return l_g, l_d


def test_minimax_is_the_articles_with_d_minimising_minus_l_d():
    l_g, l_d = article(REAL, FAKE)
    loss = LOSSES["minimax"]
    np.testing.assert_allclose(loss.d(REAL, FAKE), -l_d, rtol=1e-6)
    np.testing.assert_allclose(loss.g(REAL, FAKE), l_g, rtol=1e-6)


def test_non_saturating_is_minus_log_d():
    expected = -np.log(1 / (1 + np.exp(-FAKE))).mean()
    np.testing.assert_allclose(LOSSES["non_saturating"].g(REAL, FAKE), expected, 1e-6)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("logit", [-1e4, -90.0, 0.0, 90.0, 1e4])
def test_losses_and_gradients_are_finite_at_any_logit(name, logit):
    logits = jnp.full(3, logit)
    for loss in LOSSES[name]:
        for value in (loss(logits, logits), *jax.grad(loss, (0, 1))(logits, logits)):
            assert np.isfinite(value).all()


def test_gradients_in_the_logit_of_a_generated_sample():
    """-sigmoid(f), which vanishes when D wins, against sigmoid(f) - 1, which does not.

    At a logit of -20 the first is 2e-9: there a generator stalls.
    """
    logit = jnp.array([-20.0])
    gradient = {name: jax.grad(LOSSES[name].g, 1)(logit, logit)[0] for name in LOSSES}
    np.testing.assert_allclose(gradient["minimax"], -np.exp(-20.0), rtol=1e-5)
    np.testing.assert_allclose(gradient["non_saturating"], -1.0, rtol=1e-5)


def test_the_generators_minimax_loss_has_no_gradient_through_generated_real():
    """Its first term is a number to report: it depends on D's real logits alone."""
    grads = jax.grad(LOSSES["minimax"].g, (0, 1))(jnp.array(REAL), jnp.array(FAKE))
    expected = -1 / (1 + np.exp(REAL)) / 4, -1 / (1 + np.exp(-FAKE)) / 4
    for got, want in zip(grads, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5)
