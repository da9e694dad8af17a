"""Augmentations against plain NumPy with given draws, and how these are drawn."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subsel.gan.augment import POLICIES, augment, cut_out, recolor, translate

ALL = ("color", "translation", "cutout")
IMAGES = jax.random.uniform(jax.random.key(0), (5, 8, 10, 3), minval=-1)
KEYS = jax.random.split(jax.random.key(1), 5)


@functools.cache
def changed(policy):
    return jax.jit(augment(policy))


def moved(x, down, right):
    """Pixel by pixel."""
    out = np.zeros_like(x)
    for i, j in np.ndindex(x.shape[:2]):
        if 0 <= i - down < len(x) and 0 <= j - right < len(x[0]):
            out[i, j] = x[i - down, j - right]
    return out


def test_translation_moves_and_fills_with_grey():
    x = np.asarray(IMAGES[0])
    for shift in itertools.product((-1, 0, 1), (-1, 0, 1)):
        np.testing.assert_array_equal(translate(x, jnp.array(shift)), moved(x, *shift))


@pytest.mark.parametrize(("side", "reach", "box"), [(28, 4, 14), (13, 2, 7)])
def test_reach_and_box_are_an_eighth_and_a_half_of_the_size(side, reach, box):
    """Rounded as int(ratio * size + 0.5) in the authors' program."""
    assert (reach, box) == (int(side / 8 + 0.5), int(side / 2 + 0.5))
    x = jnp.ones((side, side, 1))
    keys = jax.random.split(jax.random.key(2), 400)
    wide = jnp.broadcast_to(x, (400, *x.shape))
    shifted = np.asarray(changed(("translation",))(wide, keys))[..., 0] == 1
    rows, columns = shifted.any(axis=2).sum(axis=1), shifted.any(axis=1).sum(axis=1)
    assert rows.min() == columns.min() == side - reach and rows.max() == side
    assert np.ptp(shifted.any(axis=2).argmax(axis=1)) == reach
    holes = np.asarray(changed(("cutout",))(wide, keys))[..., 0] == 0
    assert holes.any(axis=2).sum(axis=1).max() == box
    assert holes.any(axis=1).sum(axis=1).max() == box


def test_cutout_sets_a_box_to_grey_even_at_the_edge():
    x = np.asarray(IMAGES[0])
    for centre in [(0, 0), (4, 5), (8, 9), (2, 0)]:
        expected = x.copy()
        top, left = max(centre[0] - 2, 0), max(centre[1] - 2, 0)  # a box of 4 by 5
        expected[top : centre[0] + 2, left : centre[1] + 3] = 0
        np.testing.assert_array_equal(cut_out(x, jnp.array(centre)), expected)


def test_color_is_brightness_then_saturation_then_contrast():
    x = np.asarray(IMAGES[0], np.float64)
    y = x + 0.3
    y = y.mean(axis=2, keepdims=True) + 1.7 * (y - y.mean(axis=2, keepdims=True))
    y = y.mean() + 0.6 * (y - y.mean())
    np.testing.assert_allclose(recolor(IMAGES[0], 0.3, 1.7, 0.6), y, atol=1e-6)
    np.testing.assert_allclose(recolor(IMAGES[0], 0.0, 1.0, 1.0), x, atol=1e-6)
    grey = recolor(IMAGES[0], 0.0, 0.0, 1.0)
    np.testing.assert_allclose(np.ptp(grey, axis=2), 0, atol=1e-6)
    one = IMAGES[0, ..., :1]
    np.testing.assert_allclose(
        recolor(one, 0.0, 0.0, 0.5), one.mean() + (one - one.mean()) / 2, atol=1e-6
    )


def test_colors_are_drawn_from_the_papers_ranges():
    """Read off an image of one red and one black pixel, from its means and spreads."""
    n = 4000
    x = jnp.zeros((1, 2, 3)).at[0, 0, 0].set(3.0)
    keys = jax.random.split(jax.random.key(3), n)
    drawn = changed(("color",))(jnp.broadcast_to(x, (n, *x.shape)), keys)
    drawn = np.asarray(drawn, np.float64)
    brightness = drawn.mean(axis=(1, 2, 3)) - 0.5
    grey = drawn.mean(axis=-1)[:, 0]
    contrast = grey[:, 0] - grey[:, 1]  # 1 at first
    saturation = (drawn[:, 0, 0, 0] - drawn[:, 0, 0, 1]) / contrast / 3
    ranges = [(brightness, -0.5, 0.5), (saturation, 0, 2), (contrast, 0.5, 1.5)]
    for found, low, high in ranges:
        assert low - 1e-5 <= found.min() < low + 0.01 * (high - low)
        assert high + 1e-5 >= found.max() > high - 0.01 * (high - low)
        spread = (high - low) / np.sqrt(12 * n)
        np.testing.assert_allclose(found.mean(), (low + high) / 2, atol=5 * spread)
    assert np.abs(np.corrcoef([r[0] for r in ranges]) - np.eye(3)).max() < 0.1


def test_shifts_and_boxes_are_everywhere_and_alike():
    n = 9 * 400
    keys = jax.random.split(jax.random.key(4), n)
    x = jnp.broadcast_to(jnp.arange(1.0, 65.0).reshape(8, 8, 1), (n, 8, 8, 1))
    corner = np.asarray(changed(("translation",))(x, keys))[:, 4, 4, 0]
    counts = np.unique(corner, return_counts=True)[1]
    assert len(counts) == 9 and np.abs(counts - 400).max() < 5 * 20
    hole = np.asarray(changed(("cutout",))(x, keys))[..., 0] == 0
    share = hole.mean(axis=0)  # 9 centres an axis, and a box of 4 about them
    axis = np.array([3, 4, 4, 4, 4, 4, 4, 3]) / 9
    np.testing.assert_allclose(share, np.outer(axis, axis), atol=0.04)


def test_no_policy_is_the_identity():
    np.testing.assert_array_equal(changed(())(IMAGES, KEYS), IMAGES)


def test_an_unknown_policy_is_refused_before_anything_runs():
    with pytest.raises(KeyError, match="colour"):
        augment(("colour",))


@pytest.mark.parametrize("policy", [*POLICIES, ALL])
def test_an_image_depends_on_its_own_key_alone(policy):
    policy = (policy,) if isinstance(policy, str) else policy
    change = changed(policy)
    whole = change(IMAGES, KEYS)
    np.testing.assert_allclose(whole[2:4], change(IMAGES[2:4], KEYS[2:4]), atol=1e-6)
    other = change(IMAGES, jax.random.split(jax.random.key(9), 5))
    assert (np.asarray(whole) != other).any()
    same = change(jnp.broadcast_to(IMAGES[0], IMAGES.shape), KEYS)
    assert len(np.unique(np.asarray(same), axis=0)) > 1


def test_what_an_augmentation_draws_depends_on_no_other():
    moved_alone = changed(("translation",))(IMAGES, KEYS)
    both = changed(("cutout", "translation"))(IMAGES, KEYS)
    hidden = np.asarray(both) == 0
    np.testing.assert_array_equal(
        np.where(hidden, 0, both), np.where(hidden, 0, moved_alone)
    )
    color = changed(("color",))
    expected = color(changed(("cutout",))(IMAGES, KEYS), KEYS)
    got = changed(("cutout", "color"))(IMAGES, KEYS)
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["translation", "cutout"])
def test_the_gradient_reaches_every_visible_pixel_and_no_other(name):
    change = changed((name,))
    grad = jax.grad(lambda x: jnp.sum(change(x, KEYS)))(IMAGES)
    assert set(np.unique(grad)) == {0, 1}
    visible = np.isin(IMAGES, change(IMAGES, KEYS))
    np.testing.assert_array_equal(grad == 1, visible)


def test_the_gradient_of_all_together_is_the_derivative():
    change = changed(ALL)
    weights = jax.random.normal(jax.random.key(5), IMAGES.shape)

    @jax.jit
    @jax.value_and_grad
    def loss(x):
        return jnp.sum(weights * change(x, KEYS))

    along = jax.random.normal(jax.random.key(6), IMAGES.shape)
    got = jnp.sum(loss(IMAGES)[1] * along)
    expected = (loss(IMAGES + 0.1 * along)[0] - loss(IMAGES - 0.1 * along)[0]) / 0.2
    np.testing.assert_allclose(got, expected, rtol=1e-3)  # it is linear
