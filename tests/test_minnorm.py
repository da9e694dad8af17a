"""The min-norm point, against SciPy's active-set NNLS and the optimality conditions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import nnls

import subsel

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}  # of the largest squared length
solve = jax.jit(subsel.min_norm_weights)


def reference(vectors):
    """argmin |w V|² + (1 - Σw)² over w >= 0 is parallel to the weights sought."""
    rows = vectors / max(np.abs(vectors).max(), 1e-300)
    system = np.vstack([rows.T, np.ones(len(rows))])
    weights, _ = nnls(system, np.append(np.zeros(rows.shape[1]), 1.0))
    return weights / weights.sum()


def weights_of(vectors, dtype="float64", **kwargs):
    with jax.enable_x64(dtype == "float64"):
        gram = jnp.asarray(vectors @ vectors.T, dtype)
        return np.asarray(solve(gram, **kwargs), np.float64)


def assert_optimal(vectors, weights, tol):
    """Feasible; no candidate lies below the supporting plane; never longer than any."""
    squares = np.sum(vectors**2, axis=1)
    point = weights @ vectors
    assert (weights >= 0).all()
    assert abs(weights.sum() - 1) <= tol
    assert point @ point - (vectors @ point).min() <= tol * squares.max()
    assert point @ point <= squares.min() + tol * squares.max()


def hulls(size, seed):
    rng = np.random.default_rng((size, seed))
    normal = rng.normal(size=(size, 20))
    line = np.linspace(-0.3, 1, size)[:, None] * rng.normal(size=20)
    plane = rng.normal(size=(size, 2)) @ rng.normal(size=(2, 20))
    return {
        "random": normal,
        "away from 0": normal + 1,
        "low rank": plane,
        "low rank away from 0": plane + rng.normal(size=20),
        "duplicated": np.repeat(normal, 2, axis=0)[:size],
        "collinear through 0": line,
        "collinear": line + rng.normal(size=20),
        "all zero": 0 * normal,
        "with a zero": np.where(np.arange(size)[:, None] == size // 2, 0, normal + 1),
        "nearly equal": 1 + 1e-6 * normal,
        "lengths of 1e-6 to 1": (normal + 1) * 10 ** rng.uniform(-6, 0, (size, 1)),
        "all tiny": 1e-16 * normal,
        "all huge": 1e18 * normal,
    }


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("size", [1, 2, 3, 8, 16, 32])
def test_is_optimal(size, dtype):
    tol = TOLERANCE[dtype]
    for seed in range(8):
        for vectors in hulls(size, seed).values():
            vectors = vectors.astype(dtype).astype(np.float64)
            weights = weights_of(vectors, dtype)
            assert_optimal(vectors, weights, tol)
            best = reference(vectors) @ vectors
            excess = np.sum((weights @ vectors) ** 2) - best @ best
            assert excess <= tol * np.sum(vectors**2, axis=1).max()


def test_lengths_up_to_1e30_in_float64():
    rng = np.random.default_rng(0)
    for size in (2, 3, 8, 32):
        lengths = 10 ** rng.uniform(-30, 30, (size, 1))
        vectors = lengths * rng.normal(size=(size, 5))
        weights = weights_of(vectors)
        assert_optimal(vectors, weights, 1e-10)
        assert (
            np.linalg.norm(weights @ vectors)
            <= 1.001 * np.linalg.norm(vectors, axis=1).min()
        )


small_integers = hnp.arrays(  # full of zeros, duplicates and collinear rows
    np.float64,
    st.tuples(st.sampled_from([2, 3, 5]), st.integers(1, 4)),
    elements=st.integers(-3, 3).map(float),
)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(vectors=small_integers, data=st.data(), exponent=st.integers(-40, 40))
def test_any_set_in_any_order_at_any_scale(vectors, data, exponent):
    weights = weights_of(vectors)
    assert_optimal(vectors, weights, 1e-10)
    order = data.draw(st.permutations(range(len(vectors))))
    shuffled = weights_of(vectors[order]) @ vectors[order]
    np.testing.assert_allclose(shuffled, weights @ vectors, atol=1e-6)
    scaled = weights_of(10.0**exponent * vectors) @ vectors
    np.testing.assert_allclose(scaled, weights @ vectors, atol=1e-6)


def test_a_pair_is_exact_whichever_is_longer():
    long, short = np.array([1e6, 0.0]), np.array([-0.6, 0.8])
    for pair in ([long, short], [short, long]):
        point = weights_of(np.array(pair), "float32") @ np.array(pair)
        np.testing.assert_allclose(point, [0, 0.8], atol=1e-6)


def test_only_valid_candidates_count():
    vectors = np.random.default_rng(1).normal(size=(5, 7)) + 0.5
    valid = np.array([True, False, True, True, False])
    masked = weights_of(vectors, valid=jnp.asarray(valid))
    assert (masked[~valid] == 0).all()
    expected = reference(vectors[valid]) @ vectors[valid]
    np.testing.assert_allclose(masked @ vectors, expected, atol=1e-9)
    one = weights_of(vectors, valid=jnp.arange(5) == 3)
    np.testing.assert_array_equal(one, [0, 0, 0, 1, 0])


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_reported_as_such(size, bad):
    gram = np.eye(size, dtype=np.float32)
    gram[-1, -1] = bad
    assert np.isnan(solve(gram)).all()
    if size > 1:
        ignored = solve(gram, valid=jnp.arange(size) < size - 1)
        np.testing.assert_allclose(ignored[:-1], 1 / (size - 1), rtol=1e-6)


@pytest.mark.parametrize("size", [2, 6])
def test_vmap_equals_a_loop(size):
    vectors = np.random.default_rng(2).normal(size=(9, size, 8)) + 0.3
    grams = jnp.asarray(vectors @ vectors.swapaxes(1, 2), jnp.float32)
    together = jax.jit(jax.vmap(subsel.min_norm_weights))(grams)
    alone = jnp.stack([subsel.min_norm_weights(gram) for gram in grams])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("factor", [2.0**-100, 2.0**100])
def test_a_power_of_two_changes_no_bit(factor):
    vectors = np.random.default_rng(3).normal(size=(16, 20))
    gram = np.float32(vectors @ vectors.T)
    np.testing.assert_array_equal(solve(gram), solve(gram * np.float32(factor)))


@pytest.mark.parametrize("size, dim", [(2, 2), (3, 2), (3, 5), (5, 3)])
def test_the_derivative_is_that_of_finite_differences(size, dim):
    with jax.enable_x64(True):
        rng = np.random.default_rng((size, dim))
        for shift in (0.5, 2.0):
            rows = rng.normal(size=(size, dim)) + shift
            weights = solve(rows @ rows.T)
            if np.any((weights > 0) & (weights < 1e-3)):
                continue  # a kink is near
            direction = rng.normal(size=rows.shape)

            def along(t, rows=rows, direction=direction):
                moved = rows + t * direction
                return subsel.min_norm_weights(moved @ moved.T)

            _, found = jax.jvp(along, (0.0,), (1.0,))
            expected = (along(1e-5) - along(-1e-5)) / 2e-5
            np.testing.assert_allclose(found, expected, atol=1e-6)
            back = jax.jacrev(lambda t, along=along: along(t))(0.0)
            np.testing.assert_allclose(back, found, atol=1e-9)


def test_lengths_decide_where_the_diagonal_has_underflowed():
    weights = solve(jnp.zeros((3, 3)), norm=jnp.array([1e-28, 1e-30, 1e-29]))
    np.testing.assert_array_equal(weights, [0, 1, 0])


@pytest.mark.parametrize("dtype", ["int32", "bfloat16", "float16"])
def test_narrow_gram_matrices_are_widened(dtype):
    weights = solve(jnp.array([[2, -2], [-2, 10]], dtype))
    assert weights.dtype == jnp.float32
    np.testing.assert_allclose(weights, [0.75, 0.25], rtol=1e-6)


@pytest.mark.parametrize(
    "args",
    [
        (jnp.ones(()),),
        (jnp.ones(3),),
        (jnp.ones((3, 2)),),
        (jnp.ones((0, 0)),),
        (jnp.eye(3), jnp.ones(2, bool)),
        (jnp.eye(3), None, jnp.ones(1)),
    ],
)
def test_shapes_that_do_not_fit(args):
    with pytest.raises(ValueError, match="expected"):
        solve(*args)


def through_the_transform(sets):
    """Selections and their reported norms for a batch of sets, in float32."""
    tx = subsel.select_subgradient(subsel.stacked(), subsel.min_norm())
    state = tx.init(jnp.zeros(sets.shape[2:]))
    update = jax.jit(jax.vmap(tx.update, in_axes=(0, None)))
    selected, states = update(jnp.asarray(sets, jnp.float32), state)
    return np.asarray(selected, np.float64), states.report.selected_norm


@pytest.mark.parametrize("size", [2, 5])
def test_transform_selects_it_at_any_scale(size):
    scales = np.array([1e-30, 1e-20, 1, 1e20, 1e30])
    vectors = np.random.default_rng(size).normal(size=(size, 6)) + 0.5
    selected, norms = through_the_transform(scales[:, None, None] * vectors)
    expected = reference(vectors) @ vectors
    for scale, point, norm in zip(scales, selected, norms, strict=True):
        np.testing.assert_allclose(point / scale, expected, atol=1e-5)
        np.testing.assert_allclose(norm / scale, np.linalg.norm(expected), rtol=1e-4)


@pytest.mark.parametrize("size", [2, 3, 8])
def test_transform_never_selects_longer_than_the_shortest(size):
    rng = np.random.default_rng(size)
    lengths = 10 ** rng.uniform(-30, 30, (50, size, 1))
    sets = np.float32(lengths * rng.normal(size=(50, size, 6)))
    selected, _ = through_the_transform(sets)
    shortest = np.linalg.norm(np.float64(sets), axis=2).min(axis=1)
    assert (np.linalg.norm(selected, axis=1) <= 1.001 * shortest).all()
