"""What Optax expects of a transformation, held by every configuration of ours."""

import functools
import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import subsel

jax.config.update("jax_numpy_rank_promotion", "raise")  # in the child process as well


class Case(NamedTuple):
    """A configuration, and its state in copies of the parameters."""

    settings: dict
    copies: int = 0


CASES = {
    "default": Case({}),
    "unit": Case({"scale": "unit", "tol": 1e-3, "rtol": 1e-3, "patience": 2}),
    "history": Case({"candidates": subsel.history(3), "select": subsel.min_norm()}, 2),
    "distances": Case(
        {
            "candidates": subsel.history(3, max_distance=1.0),
            "select": subsel.mean(),
            "scale": "match",
        },
        4,
    ),
    "by leaf": Case(
        {
            "candidates": subsel.history(2),
            "select": subsel.min_norm(),
            "scale": "unit",
            "granularity": "leaf",
        },
        1,
    ),
    "random": Case({"candidates": subsel.history(2), "select": subsel.uniform()}, 1),
    "ball": Case(
        {"candidates": subsel.ball(5, 0.01), "select": subsel.mean_of_nonzero()}
    ),
    "segment": Case(
        {"candidates": subsel.segment(2, 0.01), "select": subsel.min_norm()}
    ),
    "lookahead": Case({"candidates": subsel.lookahead(1e-4), "scale": "match"}),
    "optimistic": Case(
        {"candidates": subsel.history(2), "select": subsel.optimistic()}, 1
    ),
    "cuts": Case(
        {"candidates": subsel.cuts(3, radius=0.01), "select": subsel.min_norm()}
    ),
    "reflect": Case({"candidates": subsel.reflect()}, 1),
    "aggregate": Case(
        {"candidates": subsel.aggregate(), "select": subsel.min_norm()}, 1
    ),
    "stacked": Case({"candidates": subsel.stacked(), "select": subsel.min_norm()}),
    "last": Case({"on_zero": subsel.last(), "tol": 1e-6}, 1),
    "rescale": Case({"on_zero": subsel.rescale(1e-4), "tol": 1e-6}),
    "explore": Case({"on_zero": subsel.explore(1e-4), "tol": 1e-6}),
    "expand": Case({"on_zero": subsel.expand(size=2)}),
    "ladder": Case(
        {
            "candidates": subsel.history(2),
            "select": subsel.min_norm(),
            "on_zero": subsel.ladder(subsel.rescale(), subsel.last(), subsel.stop()),
            "tol": 1e-6,
            "scale": "unit",
        },
        2,
    ),
}
every_case = pytest.mark.parametrize("name", CASES)


def make(name):
    return subsel.select_subgradient(**CASES[name].settings)


def points(dtype=jnp.float32):
    return {
        "a": jnp.array([1.0, -2.0, 3.0], dtype),
        "b": [jnp.full((2, 4), 0.5, dtype)],
    }


def gradient(params):
    """Of |x|² / 2."""
    return params


def value(params):
    return optax.tree.norm(params, squared=True) / 2


def candidates(name, grads):
    """The updates that the configuration takes, whose selection is near ``grads``."""
    if name != "stacked":
        return grads
    return jax.tree.map(lambda g: jnp.stack([1.5 * g, g]).astype(g.dtype), grads)


def stepper(name, tx=None):
    tx = tx or make(name)

    def step(grads, state, params):
        updates = candidates(name, grads)
        return tx.update(updates, state, params, grad_fn=gradient, value_fn=value)

    return step


def signature(tree):
    return jax.tree.map(
        lambda x: (jnp.shape(x), jnp.result_type(x), jax.typeof(x).weak_type), tree
    )


def assert_close(actual, expected, **tolerance):
    tolerance = {"rtol": 1e-5, "atol": 1e-6} | tolerance
    jax.tree.map(
        lambda *x: np.testing.assert_allclose(*x, **tolerance), actual, expected
    )


@every_case
def test_one_compilation_stable_state_donation_and_zeros(name):
    """Gradients of zero first and in between, and arguments that nobody knows."""
    traces = []
    tx = make(name)

    def update(grads, state, params):
        traces.append(name)
        return tx.update(
            candidates(name, grads),
            state,
            params,
            grad_fn=gradient,
            value_fn=value,
            value=1.0,
            unknown=2,
        )

    update = jax.jit(update, donate_argnums=1)
    params = points()
    state = tx.init(params)
    expected = signature(state)
    for factor in [0, 0, 1, 0, 0, 1, 1, 1, 0, 1]:
        grads = jax.tree.map(lambda x, factor=factor: x * factor, params)
        buffers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(state)]
        assert len(set(buffers)) == len(buffers)  # what is shared cannot be donated
        updates, state = update(grads, state, params)
        assert signature(updates) == signature(params)
        assert signature(state) == expected
        assert all(np.isfinite(x).all() for x in jax.tree.leaves((updates, state)))
    assert len(traces) == 1
    assert state.count == 10


@every_case
@pytest.mark.parametrize("dtype", ["bfloat16", "complex64", "float64"])
def test_dtypes_are_kept(name, dtype):
    with jax.enable_x64(dtype == "float64"):
        params = points(dtype)
        tx = make(name)
        state = tx.init(params)
        updates, following = jax.eval_shape(stepper(name), params, state, params)
        assert signature(updates) == signature(params)
        assert signature(following) == signature(state)
        expected = "float64" if dtype == "float64" else "float32"
        assert following.report.selected_norm.dtype == expected
        copies = [x for x in jax.tree.leaves(state) if x.shape in {(3,), (2, 4)}]
        assert all(x.dtype == dtype for x in copies)


@every_case
def test_gradients_may_be_wider_or_narrower_than_the_parameters(name):
    for given, own in ("float32", "bfloat16"), ("bfloat16", "float32"):
        params, grads, state = points(own), points(given), make(name).init(points(own))
        updates, following = jax.eval_shape(stepper(name), grads, state, params)
        assert signature(updates) == signature(grads)
        assert signature(following) == signature(state)


@every_case
def test_state_is_as_large_as_documented(name):
    params = jax.tree.map(lambda x: jnp.zeros(1000), points())
    state = make(name).init(params)
    size = sum(x.nbytes for x in jax.tree.leaves(params))
    large = [x.nbytes for x in jax.tree.leaves(state) if x.size == 1000]
    assert sum(large) == CASES[name].copies * size
    assert sum(x.nbytes for x in jax.tree.leaves(state)) - sum(large) < 200


@every_case
def test_init_takes_shapes_scalars_nothing_and_none(name):
    tx, params = make(name), points()
    shapes = jax.eval_shape(lambda: params)
    assert signature(tx.init(shapes)) == signature(tx.init(params))
    number = tx.init(1.0)
    of = {"grad_fn": lambda x: 2 * x, "value_fn": lambda x: x**2}
    incoming = jnp.full(2, 2.0) if "stacked" in name else 2.0
    updates, _ = tx.update(incoming, number, 1.0, **of)
    assert updates.shape == () and jnp.isfinite(updates)
    mapped = optax.tree.map_params(tx, lambda x: x + 1, tx.init(params))
    assert signature(mapped) == signature(tx.init(params))
    ones = sum(x.size for x in jax.tree.leaves(mapped) if (x == 1).all() and x.ndim)
    assert ones >= CASES[name].copies * sum(x.size for x in jax.tree.leaves(params))
    for tree in {}, {"a": None}:
        updates, _ = jax.eval_shape(stepper(name), tree, tx.init(tree), tree)
        assert updates == tree


@every_case
def test_pmap_of_scan_of_vmap_equals_a_loop(name):
    grads = np.random.default_rng(0).normal(size=(5, 3, 2)).astype(np.float32) + 0.3
    params, tx = jnp.ones((3, 2)), make(name)
    states = jax.vmap(tx.init)(params)

    def program(grads):
        def step(states, grads):
            updates, states = jax.vmap(stepper(name))(grads, states, params)
            return states, updates

        return jax.lax.scan(step, states, grads)[1]

    together = jax.pmap(program)(grads[None])[0]
    step = jax.jit(stepper(name))
    for member in range(3):
        state = tx.init(params[member])
        for t in range(5):
            updates, state = step(grads[t, member], state, params[member])
            np.testing.assert_allclose(together[t, member], updates, atol=1e-5)


def conditions(jaxpr):
    """The primitives in the conditions of all while loops of a program."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "while":
            condition = equation.params["cond_jaxpr"].jaxpr
            yield {inner.primitive.name for inner in condition.eqns}
        for value in jax.tree.leaves(list(equation.params.values())):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from conditions(inner)


def test_no_loop_decides_by_what_its_condition_computes():
    """Or a member at a tie keeps a program under vmap going forever: see linalg."""
    grads, found = jnp.ones((2, 3)), []
    alone = [make(name) for name in CASES if name != "stacked"]
    for tx in (*alone, subsel.gradient_sampling()):
        step = stepper("any", tx)
        state = jax.vmap(tx.init)(grads)
        found += conditions(jax.make_jaxpr(jax.vmap(step))(grads, state, grads).jaxpr)
    assert len(found) > 5
    exact = {"lt", "le", "eq", "and", "or", "not", "reduce_or", "convert_element_type"}
    assert all(names <= exact for names in found), found


WRAPPERS = {
    "chain": lambda tx, params: optax.chain(optax.clip(10.0), tx, optax.scale(1.0)),
    "masked": lambda tx, params: optax.masked(tx, jax.tree.map(lambda _: True, params)),
    "partition": lambda tx, params: optax.partition(
        {"selected": tx}, jax.tree.map(lambda _: "selected", params)
    ),
    "MultiSteps": lambda tx, params: optax.MultiSteps(tx, 1).gradient_transformation(),
    "apply_if_finite": lambda tx, params: optax.apply_if_finite(tx, 3),
}


def four_updates(name, tx):
    params = points()
    state, step, out = tx.init(params), jax.jit(stepper(name, tx)), []
    for t in range(4):
        grads = jax.tree.map(lambda x, t=t: (x - t) * (t != 2), params)
        updates, state = step(grads, state, params)
        out.append(updates)
    return out


@pytest.mark.parametrize("name", ["aggregate", "last"])
def test_optax_wrappers_change_nothing(name):
    expected = four_updates(name, make(name))
    for wrap in WRAPPERS.values():
        assert_close(four_updates(name, wrap(make(name), points())), expected)


@pytest.mark.parametrize("name", ["distances", "expand"])
def test_extra_arguments_pass_through_a_chain_and_apply_if_finite(name):
    """``params`` and ``grad_fn`` arrive where the rule needs them."""
    tx = optax.apply_if_finite(optax.chain(make(name), optax.scale(-1.0)), 3)
    params = points()
    step = stepper(name, tx)
    jax.eval_shape(step, params, tx.init(params), params)


def test_part_of_the_tree_may_be_left_out():
    params = {"w": jnp.ones(2), "steps": jnp.zeros((), jnp.int32)}
    tx = optax.masked(make("aggregate"), {"w": True, "steps": False})
    state = tx.init(params)
    updates, _ = tx.update(params, state, params)
    assert_close(updates, params)


def test_apply_if_finite_keeps_a_nan_out_of_the_state():
    tx = optax.apply_if_finite(make("aggregate"), 3)
    state = tx.init(jnp.zeros(2))
    for bad in (1.0, jnp.nan, 1.0, 1.0):
        updates, state = tx.update(jnp.array([bad, 1.0]), state)
        assert np.isfinite(updates).all()


@pytest.mark.parametrize(
    "make_tx, static", [(subsel.adam, ()), (subsel.goldstein, "size")]
)
def test_inject_hyperparams_of_the_aliases(make_tx, static):
    tx = optax.inject_hyperparams(make_tx, static_args=static)(
        learning_rate=lambda count: 0.1 / (1 + count)
    )
    params, plain = points(), make_tx(0.1)
    state = tx.init(params)
    updates, state = jax.jit(tx.update)(params, state, params)
    assert_close(updates, plain.update(params, plain.init(params))[0])
    np.testing.assert_allclose(state.hyperparams["learning_rate"], 0.1)


def test_inject_hyperparams_of_the_transform():
    tx = optax.inject_hyperparams(subsel.select_subgradient)(
        candidates=subsel.history(3),
        select=subsel.min_norm(),
        on_zero=subsel.rescale(),
        tol=lambda count: 10.0 ** (1 - count),
        patience=1,
    )
    params = points()
    update, state = jax.jit(tx.update), tx.init(params)
    for level in (10.0, 1.0):
        updates, state = update(jax.tree.map(lambda x: 1e-3 * x, params), state)
        np.testing.assert_allclose(optax.tree.norm(updates), level, rtol=1e-5)


@pytest.mark.parametrize(
    "name, optimizer",
    [(name, optax.sgd) for name in CASES]
    + [(name, optax.adam) for name in ("unit", "history", "aggregate", "ladder")],
)
def test_converges_on_a_parabola(name, optimizer):
    schedule = optax.exponential_decay(0.3, 200, 1e-3)
    tx = optax.chain(make(name), optimizer(schedule))
    step = stepper(name, tx)

    def body(carry, _):
        params, state = carry
        updates, state = step(gradient(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    start = points()
    (params, _), _ = jax.lax.scan(body, (start, tx.init(start)), length=200)
    assert optax.tree.norm(params) < 0.02


@every_case
def test_converges_on_rosenbrock(name):
    """The smooth one, from (-1, 1), as in Optax's own tests."""

    def gradient(params):
        x, y = params
        return jnp.stack([400 * (x**3 - x * y) + 2 * (x - 1), 200 * (y - x**2)])

    tx = optax.chain(make(name), optax.adam(optax.cosine_decay_schedule(0.05, 3000)))

    def body(carry, _):
        params, state = carry
        updates = candidates(name, gradient(params))
        updates, state = tx.update(
            updates, state, params, grad_fn=gradient, value_fn=rosenbrock
        )
        return (optax.apply_updates(params, updates), state), None

    def rosenbrock(params):
        x, y = params
        return 100 * (y - x**2) ** 2 + (1 - x) ** 2

    start = jnp.array([-1.0, 1.0])
    (params, _), _ = jax.lax.scan(body, (start, tx.init(start)), length=3000)
    # Old gradients in front of Adam slow it down along a curved valley.
    stale = name in ("history", "random", "aggregate")
    assert rosenbrock(params) < (0.1 if stale else 1e-3)


def three_steps(name, params, state):
    def body(state, t):
        grads = jax.tree.map(lambda x: (x - t) * (t != 1), params)
        return stepper(name)(grads, state, params)[::-1]

    return jax.lax.scan(body, state, jnp.arange(3.0))


def sharded_equals_unsharded(kind, names):
    """Runs in a child process that has four devices."""
    assert jax.device_count() == 4
    kind = jax.sharding.AxisType[kind]
    mesh = jax.make_mesh((4,), ("x",), axis_types=(kind,))
    jax.set_mesh(mesh)
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
    whole = {"a": np.arange(8.0) - 3, "b": np.linspace(-1, 1, 32).reshape(8, 4)}
    whole = jax.tree.map(np.float32, whole)
    split = jax.device_put(whole, rows)
    for name in names:
        run = jax.jit(functools.partial(three_steps, name))
        state = make(name).init(split)
        actual = run(split, state)
        whole = jax.tree.map(jnp.asarray, whole)
        assert_close(actual, run(whole, make(name).init(whole)))
        for leaf in jax.tree.leaves((state, actual[0])):
            if leaf.shape in {(8,), (8, 4)}:
                assert leaf.sharding.is_equivalent_to(rows, leaf.ndim), name


def each_device_by_itself(names):
    """Runs in a child process that has four devices: parameters of its own on each."""
    mesh = jax.make_mesh((4,), ("x",))
    spec = jax.sharding.PartitionSpec("x")
    stack = {"a": np.float32(np.arange(12).reshape(4, 3) - 3)}
    there = jax.device_put(stack, jax.sharding.NamedSharding(mesh, spec))
    for name in names:

        def run(params, name=name):
            params = jax.tree.map(lambda x: x[0], params)
            out, state = [], make(name).init(params)
            for t in range(3):
                grads = jax.tree.map(lambda x, t=t: (x - t) * (t != 1), params)
                updates, state = stepper(name)(grads, state, params)
                out.append(updates["a"])
            return jnp.stack(out)[None]

        split = jax.jit(jax.shard_map(run, mesh=mesh, in_specs=spec, out_specs=spec))
        alone = [jax.jit(run)({"a": stack["a"][i : i + 1]})[0] for i in range(4)]
        assert_close(np.asarray(split(there)), np.stack(alone))


@pytest.mark.parametrize(
    "call",
    [
        "sharded_equals_unsharded('Auto', names)",
        "sharded_equals_unsharded('Explicit', names)",
        "each_device_by_itself(names)",
    ],
)
def test_on_four_devices(call):
    here = pathlib.Path(__file__)
    names = ["distances", "aggregate", "stacked", "ball", "expand", "ladder", "cuts"]
    names += ["explore"]
    code = f"import {here.stem} as t; names = {names}; t.{call}"
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "4", "JAX_PLATFORMS": "cpu"}
    subprocess.run(
        [sys.executable, "-c", code], cwd=here.parent, env=environment, check=True
    )


@pytest.mark.parametrize("name", ["history", "explore", "expand"])
def test_outside_of_jit_nothing_is_compiled_twice(name, caplog):
    params, step = points(), stepper(name)
    state = make(name).init(params)
    for _ in range(2):
        _, state = step(params, state, params)
    with jax.log_compiles(True):
        step(params, state, params)
    assert not caplog.records
