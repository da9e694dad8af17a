"""What the transform must reduce to, against NumPy loops, SciPy and Optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

import subsel

SIZE = 3


def gradients(steps, seed=0, dim=6):
    return np.float32(np.random.default_rng(seed).normal(size=(steps, dim)) + 0.3)


def run(tx, grads, params=None, jit=jax.jit):
    """The updates for a sequence of gradients, and the state after each."""
    update = jit(tx.update)
    state, out, states = tx.init(jax.tree.map(lambda x: x[0], grads)), [], []
    for k in range(len(jax.tree.leaves(grads)[0])):
        args = jax.tree.map(lambda x, k=k: x[k], (grads, params))
        updates, state = update(args[0], state, args[1])
        out.append(updates)
        states.append(state)
    return jax.tree.map(lambda *x: np.stack(x), *out), states


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


IDENTITIES = {
    "default": {},
    "history + latest": {"candidates": subsel.history(SIZE)},
    "aggregate + latest": {"candidates": subsel.aggregate()},
    "rules that never fire": {
        "on_zero": subsel.ladder(subsel.rescale(), subsel.last(), subsel.explore(1.0))
    },
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_identity_bit_for_bit(name):
    special = [0.5, -0.0, 1e-40, np.nan, np.inf, -np.inf]
    zero = [-0.0, 0.0, -0.0, 0.0, 0.0, -0.0]
    rows = [special, *gradients(4), [1e-30, -0.0, 0, 0, 0, 0]]
    if "never" not in name:
        rows.insert(1, zero)
    rows = jnp.array(rows, jnp.float32)
    grads = {
        "float": rows,
        "narrow": rows.astype(jnp.bfloat16),
        "complex": jax.lax.complex(rows, rows[:, ::-1]),
        "none": None,
    }
    out, _ = run(subsel.select_subgradient(**IDENTITIES[name]), grads)
    assert bits(out) == bits(grads)


@pytest.mark.parametrize(
    "tx",
    [
        optax.chain(subsel.select_subgradient(), optax.adam(0.01)),
        optax.chain(optax.adam(0.01), subsel.select_subgradient()),
        subsel.adam(0.01),
    ],
)
def test_beside_adam_it_is_adam(tx):
    """One operation at a time: in another program XLA rounds Adam itself otherwise."""
    grads = gradients(5)
    expected, _ = run(optax.adam(0.01), grads, jit=lambda update: update)
    assert bits(run(tx, grads, jit=lambda update: update)[0]) == bits(expected)
    np.testing.assert_allclose(run(tx, grads)[0], expected, rtol=1e-6)


def test_history_carries_the_gram_matrix_that_its_rows_have():
    grads = gradients(25) * np.logspace(-15, 15, 25, dtype=np.float32)[:, None]
    tx = subsel.select_subgradient(subsel.history(5), subsel.min_norm())
    carried = run(tx, grads)[1][-1].oracle
    rows = np.float64(np.stack(carried.rows)) / np.float64(carried.scale)[:, None]
    np.testing.assert_allclose(carried.gram, rows @ rows.T, atol=1e-6)
    assert (0.25 < np.diag(carried.gram)).all() and (np.diag(carried.gram) <= 1).all()
    np.testing.assert_array_equal(np.sort(carried.taken), [21, 22, 23, 24])
    for row, count in zip(carried.rows, carried.taken, strict=True):
        np.testing.assert_array_equal(row, grads[count])


@pytest.mark.parametrize("limit", [1.5, lambda count: 0.2 * count])
def test_history_leaves_out_what_was_taken_further_away(limit):
    grads, points = gradients(40), gradients(40, seed=1, dim=6).cumsum(0) * 0.3
    oracle = subsel.history(4, max_distance=limit)
    tx = subsel.select_subgradient(oracle, subsel.mean())
    out, _ = run(tx, grads, points)
    sizes = set()
    for t in range(40):
        radius = limit(t) if callable(limit) else limit
        window = range(max(0, t - 3), t + 1)
        near = [s for s in window if np.linalg.norm(points[s] - points[t]) <= radius]
        sizes.add(len(near))
        np.testing.assert_allclose(out[t], grads[near].mean(0), atol=1e-5)
    assert len(sizes) > 2


def test_complex_candidates_are_vectors_of_twice_the_size():
    grads = gradients(5)
    tx = subsel.select_subgradient(subsel.stacked(), subsel.min_norm())
    real, _ = tx.update(grads, tx.init(grads[0]))
    pairs = jax.lax.complex(grads[:, :3], grads[:, 3:])
    paired, _ = tx.update(pairs, tx.init(pairs[0]))
    np.testing.assert_allclose(
        np.append(paired.real, paired.imag), real, atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_inner_products_of_narrow_gradients_are_taken_in_float32(dtype):
    """A sum of 4096 equal squares stalls in either; float16 overflows as well."""
    grads = jnp.full((2, 4096), 100.0, dtype) * jnp.array([[1], [-2]], dtype)
    tx = subsel.select_subgradient(subsel.stacked(), subsel.mean())
    out, state = tx.update(grads, tx.init(grads[0]))
    assert out.dtype == dtype and (out == -50).all()
    report = state.report
    np.testing.assert_allclose(report.selected_norm, 50 * 64, rtol=1e-6)
    np.testing.assert_allclose(report.norm_ratio, 0.25, rtol=1e-6)
    np.testing.assert_allclose(report.cosine, 1, rtol=1e-6)


@pytest.mark.parametrize("magnitude", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("scale", ["raw", "unit", "match"])
def test_scale(scale, magnitude):
    grads = magnitude * gradients(6)
    oracle = subsel.history(2)
    out, _ = run(subsel.select_subgradient(oracle, subsel.mean(), scale=scale), grads)
    exact = np.float64(grads) / magnitude
    for t in range(6):
        mean = exact[max(0, t - 1) : t + 1].mean(0)
        newest = magnitude * np.linalg.norm(exact[t])
        length = {"raw": magnitude * np.linalg.norm(mean), "unit": 1, "match": newest}
        expected = length[scale] * mean / np.linalg.norm(mean)
        np.testing.assert_allclose(
            out[t] / length[scale], expected / length[scale], atol=1e-5
        )


@pytest.mark.parametrize("magnitude", [1e-30, 1.0, 1e30])
def test_a_hull_around_zero_is_not_left_for_what_rounding_leaves(magnitude):
    """Three directions, at most 160 degrees apart, whose hull holds zero."""
    rng = np.random.default_rng(0)
    start, turns = rng.uniform(0, 2 * np.pi, 200), rng.uniform(100, 130, (200, 2))
    angles = start + np.radians([np.zeros(200), turns[:, 0], turns.sum(1)])
    sizes = rng.uniform(0.5, 2, angles.shape)
    grads = sizes * np.stack([np.cos(angles), np.sin(angles)])  # [2, 3, 200]
    tx = subsel.select_subgradient(subsel.stacked(), subsel.min_norm(), scale="unit")

    @jax.vmap
    def update(grads):
        return tx.update(grads, tx.init(grads[0]))

    def of(grads):
        return update(jnp.float32(magnitude * np.moveaxis(grads, -1, 0).swapaxes(1, 2)))

    updates, state = of(grads)
    assert not updates.any() and state.report.fired.all()
    assert not state.report.selected_norm.any()

    # The same beside a common part: short, and yet no rounding.
    along = np.append(grads, np.full((1, 3, 200), 1e-4), axis=0)
    updates, state = of(along)
    assert not state.report.fired.any()
    np.testing.assert_allclose(updates, np.tile([0, 0, 1], (200, 1)), atol=0.02)


def test_only_weights_that_are_solved_for_are_uncertain():
    """What exact weights leave of two that all but cancel is no rounding."""
    left = np.array([0.0, 2.0**-24])
    grads = jnp.float32([[1, 2.0**-24], [-1, 2.0**-24]])
    tx = subsel.select_subgradient(subsel.stacked(), subsel.mean())
    u, state = tx.update(grads, tx.init(grads[0]))
    np.testing.assert_array_equal(u, left)
    assert not state.report.fired

    grads = jnp.float32([[2, 0], [1, 2.0**-20]])
    out, _ = run(
        subsel.select_subgradient(subsel.history(2), subsel.optimistic()), grads
    )
    np.testing.assert_array_equal(out[1], [0, 2.0**-19])


def test_candidates_without_weight_make_no_others_vanish():
    short = jnp.float32([[1, 2.0**-15], [-1, 2.0**-15]])
    grads = jnp.concatenate([short, jnp.tile(jnp.float32([[64, 0]]), (94, 1))])
    tx = subsel.select_subgradient(subsel.stacked(), subsel.min_norm())
    u, state = tx.update(grads, tx.init(grads[0]))
    np.testing.assert_allclose(u, [0, 2.0**-15], atol=1e-7)
    assert not state.report.fired


def test_reports():
    grads = gradients(12)
    grads[5:7] = 0  # the mean of the last two is zero once
    tx = optax.chain(
        subsel.select_subgradient(subsel.history(2), subsel.mean(), tol=0.5),
        optax.scale(-1.0),
    )
    firings = 0
    for t, state in enumerate(run(tx, grads)[1]):
        window = np.float64(grads[max(0, t - 1) : t + 1])
        mean, newest = window.mean(0), window[-1]
        lengths = np.linalg.norm(mean), np.linalg.norm(newest)
        fired = lengths[0] <= 0.5
        firings += fired
        expected = {
            "selected_norm": lengths[0],
            "norm_ratio": lengths[0] / (lengths[1] or 1),
            "cosine": mean @ newest / (lengths[0] * lengths[1] or 1),
            "entropy": np.log(len(window)),
            "fired": fired,
            "firings": firings,
        }
        for name, value in expected.items():
            reported = optax.tree.get(state, name)
            np.testing.assert_allclose(reported, value, atol=1e-5, err_msg=name)
    assert 1 <= firings < 12


@pytest.mark.parametrize("lengths", [(1.0, 1e-30), (1e-30, 1.0), (1e30, 1e-30)])
def test_reports_of_the_newest_beside_one_of_another_length(lengths):
    grads = gradients(2) * np.float32(lengths)[:, None]
    _, states = run(subsel.select_subgradient(subsel.history(2)), grads)
    report = states[-1].report
    np.testing.assert_allclose(report.cosine, 1, atol=1e-6)
    np.testing.assert_allclose(report.norm_ratio, 1, rtol=1e-6)
    np.testing.assert_allclose(report.entropy, 0)


def test_a_nan_that_is_not_selected_stays_out():
    points, grads = np.zeros((3, 6), np.float32), gradients(3)
    grads[0], points[0] = np.nan, 1e3
    oracle = subsel.history(SIZE, max_distance=1.0)
    out, states = run(subsel.select_subgradient(oracle, subsel.mean()), grads, points)
    assert np.isnan(out[0]).all()
    np.testing.assert_allclose(out[2], grads[1:].mean(0), atol=1e-6)
    assert all(np.isfinite(leaf) for leaf in states[-1].report)


@pytest.mark.parametrize("select", [subsel.min_norm(), subsel.mean()])
def test_a_nan_among_the_selected_is_not_made_plausible(select):
    grads = gradients(3)
    grads[1] = np.nan
    out, states = run(subsel.select_subgradient(subsel.history(SIZE), select), grads)
    assert np.isfinite(out[0]).all() and np.isnan(out[1:]).all()
    assert np.isnan(states[-1].report.selected_norm)


def rosenbrock(x):
    return 8 * jnp.abs(x[0] ** 2 - x[1]) + (1 - x[0]) ** 2


def normalised_sgd(learning_rate):
    return optax.chain(
        subsel.select_subgradient(scale="unit"),
        optax.scale_by_learning_rate(learning_rate),
    )


@pytest.mark.parametrize(
    "optimizer, level, solved",
    [(subsel.goldstein, 1e-8, {9, 10}), (normalised_sgd, 1e-4, {0})],
)
def test_nonsmooth_rosenbrock(optimizer, level, solved):
    """From 10 starts with 2,000 gradients, as in Burke, Lewis and Overton 2005."""

    def descend(start):
        def step(carry, _):
            x, state = carry
            updates, state = tx.update(jax.grad(rosenbrock)(x), state, x)
            x = optax.apply_updates(x, updates)
            return (x, state), rosenbrock(x)

        _, values = jax.lax.scan(step, (start, tx.init(start)), length=2000)
        return values.min()

    with jax.enable_x64(True):
        tx = optimizer(lambda count: 0.3 * 1e-9 ** (count / 2000))
        noise = np.random.default_rng(0).normal(size=(10, 2))
        best = jax.jit(jax.vmap(descend))(np.array([-1.2, 1.0]) + 0.1 * noise)
    assert np.sum(np.asarray(best) <= level) in solved


def test_what_a_selector_sees():
    """Of a history of 3, the oldest has been left behind and holds a NaN."""
    seen = []

    def weights(geometry):
        seen.append(geometry)
        return jnp.array([0.0, 0.0, 1.0])

    grads = gradients(4)
    grads[1], grads[3] = np.nan, 100 * grads[3]
    points = np.float32([0, 9, 2, 0])[:, None] * np.float32(np.eye(6)[0])
    oracle = subsel.history(SIZE, max_distance=5.0)
    tx = subsel.select_subgradient(oracle, subsel.Selector(weights, "simplex"))
    run(tx, grads, points, jit=lambda update: update)
    geometry = seen[-1]
    order = [3 - age for age in geometry.age]  # counts at which they were taken
    assert sorted(order) == [1, 2, 3] and order[geometry.newest] == 3
    np.testing.assert_allclose(geometry.distance, [abs(points[k, 0]) for k in order])
    np.testing.assert_array_equal(geometry.valid, [k != 1 for k in order])
    rows = np.where(geometry.valid[:, None], np.float64(grads[order]), 0)
    exact = rows @ rows.T
    factor = exact.max() / geometry.gram.max()
    np.testing.assert_allclose(geometry.gram * factor, exact, rtol=1e-4, atol=1e-4)
    norms = np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(geometry.norm, norms, rtol=1e-5)


def test_a_selector_of_the_users():
    """The shortest candidate, as torchzero's "min-norm" picks it."""
    shortest = subsel.Selector(
        lambda geometry: jax.nn.one_hot(jnp.argmin(geometry.norm), SIZE), "onehot"
    )
    grads = gradients(SIZE)
    tx = subsel.select_subgradient(subsel.stacked(), shortest)
    out, _ = tx.update(grads, tx.init(grads[0]))
    assert bits(out) == bits(grads[np.linalg.norm(grads, axis=1).argmin()])


def test_an_affine_selector_of_the_users_is_optimistic_gradient_descent():
    def weights(geometry):
        return jnp.where(geometry.valid.all(), jnp.array([-1, 2]), jnp.array([0, 1]))

    optimistic = subsel.Selector(weights, "affine")
    tx = subsel.select_subgradient(subsel.history(2), optimistic)
    expected, _ = run(optax.optimistic_gradient_descent(1.0), gradients(8))
    np.testing.assert_allclose(run(tx, gradients(8))[0], -expected, atol=1e-5)


def test_an_oracle_of_the_users():
    """The gradient and its sign; the shorter point of the segment between them."""

    def propose(updates, state, context):
        return subsel.from_rows((jax.tree.map(jnp.sign, updates), updates))

    signs = subsel.Oracle(
        init=lambda params: (),
        propose=propose,
        observe=lambda state, candidates, selected, context: state,
    )
    grads = gradients(5)
    out, _ = run(subsel.select_subgradient(signs, subsel.mean()), grads)
    np.testing.assert_allclose(out, (grads + np.sign(grads)) / 2, atol=1e-6)


def test_mean_of_nonzero_drops_what_is_zero():
    grads = gradients(4)
    grads[1] = 0
    tx = subsel.select_subgradient(subsel.stacked(), subsel.mean_of_nonzero())
    update, state = jax.jit(tx.update), tx.init(grads[0])
    out, _ = update(grads, state)
    np.testing.assert_allclose(out, grads[[0, 2, 3]].mean(0), rtol=1e-5)
    assert not update(0 * grads, state)[0].any()
    tiny = update(1e-30 * grads, state)[0]
    np.testing.assert_allclose(tiny, 1e-30 * grads[[0, 2, 3]].mean(0), rtol=1e-5)


def test_uniform_takes_each_valid_candidate_as_often():
    points = np.float32([[0], [50], [0], [0], [0]]) * np.ones(6, np.float32)
    grads = gradients(5)
    oracle = subsel.history(5, max_distance=1.0)
    tx = subsel.select_subgradient(oracle, subsel.uniform())
    state = run(tx, grads[:4], points[:4])[1][-1]
    draw = jax.jit(
        lambda count: tx.update(grads[4], state._replace(count=count), points[4])
    )
    drawn = [bits(draw(count)[0]) for count in range(4, 304)]
    counts = [drawn.count(bits(row)) for row in grads]
    assert sum(counts) == 300 and counts[1] == 0
    assert min(counts[:1] + counts[2:]) > 45  # 75 expected, standard deviation 7.5


def test_uniform_draws_for_each_leaf_on_its_own():
    tx = subsel.select_subgradient(
        subsel.stacked(), subsel.uniform(), granularity="leaf"
    )
    rows = {name: jnp.arange(4.0) for name in "ab"}
    state = tx.init({name: jnp.zeros(()) for name in "ab"})
    draw = jax.jit(lambda count: tx.update(rows, state._replace(count=count))[0])
    drawn = jax.vmap(draw)(jnp.arange(800))
    table = np.zeros((4, 4))
    np.add.at(table, (np.int32(drawn["a"]), np.int32(drawn["b"])), 1)
    assert stats.chi2_contingency(table).pvalue > 1e-3
    assert table.sum(0).min() > 150 and table.sum(1).min() > 150  # 200 expected


@pytest.mark.parametrize("size", [2, 3, 4, 9])
def test_the_gram_matrix_of_rows(size):
    """Of few and of many: they are not computed alike."""
    rng = np.random.default_rng(size)
    rows = [
        {"a": rng.normal(size=(3, 2)), "b": rng.normal(size=4)} for _ in range(size)
    ]
    rows = [
        jax.tree.map(lambda x, m=10.0**k: np.float32(m * x), r)
        for k, r in enumerate(rows)
    ]
    found = jax.jit(subsel.from_rows)(tuple(rows))
    flat = np.stack([np.concatenate([r["a"].ravel(), r["b"]]) for r in rows])
    flat = np.float64(flat) / np.float64(found.scale)[:, None]
    np.testing.assert_allclose(found.gram, flat @ flat.T, rtol=1e-5, atol=1e-6)


def test_the_program_does_not_grow_with_the_square_of_the_candidates():
    def operations(size):
        rows = (jnp.ones(3),) * size
        return str(jax.make_jaxpr(subsel.from_rows)(rows)).count(" = ")

    assert operations(32) - operations(8) <= 3 * 24


def test_lengths_that_float64_alone_can_hold():
    with jax.enable_x64(True):
        for magnitude in (1e-200, 1e-150, 1e150, 1e200):
            tx = subsel.select_subgradient(on_zero=subsel.last())
            grads = magnitude * jnp.array([3.0, 4.0])
            updates, state = tx.update(grads, tx.init(grads))
            assert bits(updates) == bits(grads) and not state.report.fired
            norm = float(state.report.selected_norm)
            assert norm == pytest.approx(5 * magnitude, rel=1e-12)
            assert float(state.report.cosine) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize(
    "settings",
    [
        {"scale": "unit"},
        {"scale": "match"},
        {"candidates": subsel.history(2), "select": subsel.min_norm()},
        {"candidates": subsel.history(3), "select": subsel.min_norm()},
        {"on_zero": subsel.ladder(subsel.rescale(), subsel.last())},
    ],
    ids=["unit", "match", "two", "three", "ladder"],
)
def test_differentiating_through_a_vanishing_gradient_is_finite(settings):
    """Of training from where it starts, at a minimum: as of plain descent, or zero."""
    tx = optax.chain(subsel.select_subgradient(**settings), optax.sgd(0.1))

    def trained(start):
        x, state = start, tx.init(start)
        for _ in range(3):
            updates, state = tx.update(x - jnp.array([1.0, -2.0]), state, x)
            x = optax.apply_updates(x, updates)
        return jnp.sum(x**2)

    assert np.isfinite(jax.jit(jax.grad(trained))(jnp.array([1.0, -2.0]))).all()


def test_debugging_nans_finds_none():
    with jax.debug_nans(True):
        tx = subsel.select_subgradient(subsel.history(2))
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


@pytest.mark.parametrize(
    "select, scale",
    [
        (subsel.min_norm(), "raw"),
        (subsel.min_norm(), "unit"),
        (subsel.mean(), "match"),
        (subsel.latest(), "raw"),
    ],
)
def test_granularity_leaf_is_the_transform_on_each_leaf_alone(select, scale):
    grads = {"a": gradients(6), "b": [gradients(6, seed=1, dim=4)], "c": None}

    def make(granularity="tree"):
        oracle = subsel.history(SIZE)
        return subsel.select_subgradient(
            oracle, select, None, scale, granularity=granularity
        )

    out, states = run(make("leaf"), grads)
    alone = [run(make(), leaf) for leaf in jax.tree.leaves(grads)]
    assert bits(out) == bits([updates for updates, _ in alone])
    whole = [np.concatenate([x[t] for x in jax.tree.leaves(grads)]) for t in range(6)]
    for t, state in enumerate(states):
        norms = [own[t].report.selected_norm for _, own in alone]
        report = state.report
        np.testing.assert_allclose(report.selected_norm, np.hypot(*norms), rtol=1e-5)
        newest = np.linalg.norm(whole[t])
        ratio = np.hypot(*norms) / newest
        np.testing.assert_allclose(report.norm_ratio, ratio, rtol=1e-5)
        if scale == "raw":
            selected = np.concatenate([x[t] for x in jax.tree.leaves(out)])
            cosine = selected @ whole[t] / newest / np.linalg.norm(selected)
            np.testing.assert_allclose(report.cosine, cosine, atol=1e-5)


@pytest.mark.parametrize("granularity", subsel.transform.GRANULARITIES)
def test_the_cosine_can_be_to_the_update_that_came_in(granularity):
    """For reflect the only candidate, and so the newest, is another one."""
    slopes = {"a": np.array([1.0, 5.0]), "b": np.array([-2.0])}

    def grad_fn(z):
        return {k: slopes[k] * z[k] ** 2 for k in z}

    def flat(tree):
        return np.concatenate([tree["a"], tree["b"]])

    x = [{"a": jnp.array([1.0, 0.3 * t]), "b": jnp.array([t - 1.5])} for t in range(2)]
    for compare in subsel.transform.COMPARISONS:
        tx = subsel.select_subgradient(
            subsel.reflect(), granularity=granularity, compare=compare
        )
        state = tx.init(x[0])
        for point in x:
            out, state = tx.update(grad_fn(point), state, point, grad_fn=grad_fn)
        ahead = 2 * flat(x[1]) - flat(x[0])
        own, incoming = flat(slopes) * ahead**2, flat(slopes) * flat(x[1]) ** 2
        np.testing.assert_allclose(flat(out), own, rtol=1e-6)
        cosine = own @ incoming / np.linalg.norm(own) / np.linalg.norm(incoming)
        expected = cosine if compare == "incoming" else 1
        np.testing.assert_allclose(state.report.cosine, expected, rtol=1e-5)


def test_a_candidate_that_is_left_out_may_be_nan():
    """It is too far away to be valid, and the others are tiny."""
    history = subsel.history(3, max_distance=1.0)
    tx = subsel.select_subgradient(history, subsel.mean(), subsel.rescale(1.0))
    far, near = jnp.full(3, 1e3), jnp.zeros(3)
    state = tx.init(near)
    for gradient, point in ((jnp.nan, far), (1e-25, near), (1e-25, near)):
        out, state = tx.update(jnp.full(3, gradient), state, point)
    assert not state.report.fired
    np.testing.assert_allclose(state.report.selected_norm, 3**0.5 * 1e-25, rtol=1e-5)


def test_forgotten_parentheses_are_named():
    wrong = ({"candidates": subsel.history}, {"select": subsel.min_norm})
    for options in (*wrong, {"on_zero": subsel.last}):
        with pytest.raises(TypeError, match="parentheses"):
            subsel.select_subgradient(**options)
    with pytest.raises(TypeError, match="adam.*parentheses"):
        subsel.keep_going(optax.adam)


def test_stacked_updates_are_no_vector_to_compare_with():
    tx = subsel.select_subgradient(subsel.stacked(), subsel.mean(), compare="incoming")
    with pytest.raises(ValueError, match=r'compare="incoming".*\(2, 3\)'):
        tx.update(jnp.ones((2, 3)), tx.init(jnp.ones(3)))
    with pytest.raises(ValueError, match="compare='latest'"):
        subsel.select_subgradient(compare="latest")


def test_granularity_leaf_evaluates_at_the_same_points_as_tree():
    """One evaluation for all leaves, not one for each."""
    params, seen = {"a": jnp.ones(2), "b": jnp.full(3, -1.0)}, []

    def grad_fn(z):
        seen.append(z)
        return jax.tree.map(lambda x: 2 * x, z)

    for granularity in "tree", "leaf":
        tx = subsel.select_subgradient(subsel.lookahead(0.1), granularity=granularity)
        out, _ = tx.update(params, tx.init(params), params, grad_fn=grad_fn)
        np.testing.assert_allclose(out["b"], -1.8, rtol=1e-6)
    assert len(seen) == 2 and bits(seen[0]) == bits(seen[1])


def test_the_aggregator_of_optax():
    """``stacked`` has the signature of Optax's aggregators."""
    aggregating = pytest.importorskip("optax.experimental._aggregating")
    tx = subsel.select_subgradient(subsel.stacked(), subsel.min_norm())
    processed = aggregating.process(
        optax.identity(), aggregating.Aggregator(*tx), optax.sgd(1.0)
    )
    grads = gradients(4)
    expected, _ = tx.update(grads, tx.init(grads[0]))
    out, _ = processed.update(grads, processed.init(grads[0]))
    np.testing.assert_allclose(out, -expected)
