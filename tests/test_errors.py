"""Mistakes are refused with the value given, what was expected, and what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import subsel

PARAMS = {"a": jnp.ones(3), "b": jnp.ones((2, 2))}
NESTED = {"a": jnp.ones(3), "b": {"c": jnp.ones((2, 2))}}


def select(*args, **kwargs):
    return lambda: subsel.select_subgradient(*args, **kwargs)


def update(updates=PARAMS, params=PARAMS, *, with_params=False, **settings):
    def call():
        tx = subsel.select_subgradient(**settings)
        tx.update(updates, tx.init(params), params if with_params else None)

    return call


def stacked(updates, **kwargs):
    return update(updates, candidates=subsel.stacked(), **kwargs)


def selector(weights, kind="simplex"):
    return subsel.Selector(lambda geometry: weights, kind)


def three(shape=3):
    return {"a": jnp.ones((3, 3)), "b": jnp.ones((shape, 2, 2))}


SCHEDULE = optax.linear_schedule(1.0, 0.1, 10)
CASES = {
    "history size": (lambda: subsel.history(0), r"size=0.*at least 1"),
    "distance": (lambda: subsel.history(2, -1.0), r"max_distance=-1.0.*at least 0"),
    "floor": (lambda: subsel.aggregate(floor=2), r"floor=2.*\[0, 1\]"),
    "floor nan": (lambda: subsel.aggregate(float("nan")), r"floor=nan.*\[0, 1\]"),
    "rescale": (lambda: subsel.rescale(0.0), r"rescale.floor=0.0.*positive"),
    "explore": (lambda: subsel.explore(-1.0), r"explore.radius=-1.0.*positive"),
    "radius": (lambda: subsel.expand(-2.0), r"expand.radius=-2.0.*positive"),
    "growth": (lambda: subsel.expand(growth=1), r"growth=1.*more than 1"),
    "no ball": (lambda: subsel.expand(200.0), r"cap=100.0.*first radius, 200.0"),
    "cap": (lambda: subsel.expand(cap=0), r"expand.cap=0.*positive"),
    "size": (lambda: subsel.expand(size=0), r"expand.size=0.*at least 1"),
    "scale": (select(scale="log"), r"scale='log'.*'raw', 'unit', 'match'"),
    "granularity": (select(granularity="row"), r"granularity=.row.*.tree., .leaf."),
    "kind": (select(select=selector(0, "cone")), r"kind 'cone'.*'onehot', 'simplex'"),
    "tol": (select(tol=-1e-3), r"tol=-0.001.*at least 0"),
    "tol nan": (select(tol=float("nan")), r"tol=nan.*at least 0"),
    "rtol": (select(rtol=-2), r"rtol=-2.*at least 0"),
    "patience": (select(patience=0), r"patience=0.*at least 1"),
    "weights": (
        update(select=selector(jnp.ones(2))),
        r"weights of shape \(2,\); expected \(1,\)",
    ),
    "no grad_fn": (
        update(with_params=True, on_zero=subsel.expand()),
        r"expand\(\) needs grad_fn; call tx.update\(.*grad_fn=",
    ),
    "no params for expand": (
        update(on_zero=subsel.expand()),
        r"expand\(\) needs params; call tx.update\(updates, state, params",
    ),
    "no params for distances": (
        update(candidates=subsel.history(2, max_distance=1.0)),
        r"max_distance=…\) needs params; call tx.update\(updates, state, params",
    ),
    "axes disagree": (stacked(three(4)), r"one leading axis.*'b'\]\": \(4, 2, 2\)"),
    "no axis": (stacked({"a": jnp.ones(()), "b": jnp.ones(())}), "one leading axis"),
    "no candidates": (stacked({"a": jnp.ones((0, 3))}), "one leading axis"),
    "axes do not fit": (
        stacked(PARAMS, with_params=True),
        r"shapes are .*'a'\]\": \(3,\).* would fit",
    ),
    "structure": (
        update(NESTED, with_params=True),
        r"updates are structured as .*'c'.*expected the structure of the parameters",
    ),
    "shapes": (
        update({"a": jnp.ones((3, 3)), "b": jnp.ones((3, 1, 2))}, with_params=True),
        r"updates have the shapes .*1, 2.*those of the parameters",
    ),
    "structure of the memory": (
        update(NESTED, candidates=subsel.history(2)),
        "structure",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_value_errors(name):
    call, message = CASES[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_a_column_is_not_broadcast_against_a_row():
    """As JAX does it unless it is told not to, which these tests do."""
    params, updates = jnp.ones(3), jnp.ones((3, 1))
    for candidates in (subsel.history(2), subsel.aggregate(), subsel.current()):
        call = update(updates, params, with_params=True, candidates=candidates)
        with jax.numpy_rank_promotion("allow"):
            with pytest.raises(ValueError, match=r"shapes \[\(3, 1\)\]; expected"):
                call()


@pytest.mark.parametrize(
    ("call", "message"),
    {
        "size": (lambda: subsel.history("3"), r"history.size='3'.*an integer"),
        "half": (lambda: subsel.ball(2.5, 0.1), r"ball.size=2.5.*an integer"),
        "cuts": (lambda: subsel.cuts("8"), r"cuts.size='8'.*an integer"),
        "radius": (lambda: subsel.segment(2, "1"), r"segment.radius='1'.*positive"),
        "none": (lambda: subsel.expand(cap=None), r"expand.cap=None.*positive"),
        "tol": (select(tol="small"), r"tol='small'.*at least 0"),
        "adam": (lambda: subsel.adam("fast"), r"adam.learning_rate='fast'.*schedule"),
        "goldstein": (lambda: subsel.goldstein(None), r"goldstein.learning_rate=None"),
        "uniform": (lambda: subsel.uniform("a"), r"uniform.seed='a'.*an integer"),
        "seed": (lambda: subsel.ball(2, 0.1, seed=0.5), r"ball.seed=0.5.*an integer"),
        "rung": (
            lambda: subsel.ladder(subsel.min_norm()),
            r"rung of ladder=.*ZeroRule",
        ),
        "swapped": (
            select(candidates=subsel.min_norm()),
            r"candidates=.*an? Oracle, such as subsel.history.4. returns",
        ),
        # a schedule where a number is meant for good
        "cuts, scheduled": (lambda: subsel.cuts(radius=SCHEDULE), r"radius=<function"),
        "floor": (lambda: subsel.aggregate(floor=SCHEDULE), r"floor=<.*in \[0, 1\]$"),
        "cap": (lambda: subsel.expand(cap=SCHEDULE), r"expand.cap=<.*positive number$"),
        "patience": (select(patience=SCHEDULE), r"patience=<.*at least 1$"),
    }.values(),
)
def test_what_is_no_number_is_refused_at_once(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_numbers_may_be_of_numpy_traced_or_a_schedule():
    subsel.history(np.int64(2), max_distance=np.float32(1))
    subsel.ball(2, SCHEDULE)
    subsel.expand(radius=SCHEDULE)

    def first(radius, rate):
        tx = subsel.adam(rate, candidates=subsel.ball(2, radius))
        return tx.init(jnp.ones(2))

    jax.eval_shape(first, 1.0, 0.1)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool"])
def test_leaves_that_are_not_real_or_complex(dtype):
    params = {"a": jnp.ones(3), "deep": [jnp.ones(2, dtype)]}
    with pytest.raises(TypeError, match=rf"\['deep'\]\[0\].*{dtype}.*optax.masked"):
        subsel.select_subgradient().init(params)


def twice(x):
    return 2 * x


@pytest.mark.parametrize(
    "tx",
    [
        subsel.extragradient(0.1),
        subsel.keep_going(optax.sgd(1.0)),
        subsel.select_subgradient(subsel.ball(3, 0.1), subsel.mean()),
        subsel.select_subgradient(subsel.segment(2, 0.1), subsel.min_norm()),
        subsel.select_subgradient(subsel.reflect()),
        subsel.gradient_sampling(),
    ],
)
def test_a_function_that_returns_something_else_is_named(tx):
    x, f = jnp.array([1.0, 2.0]), jnp.sum
    for wrong in (f, jax.value_and_grad(f), lambda x: {"x": x}):
        with pytest.raises(ValueError, match="returned what is shaped as .*gradients"):
            tx.update(0 * x, tx.init(x), x, grad_fn=wrong, value_fn=f)


def test_a_value_that_is_no_scalar_is_named():
    tx, x = subsel.gradient_sampling(), jnp.array([1.0, 2.0])
    with pytest.raises(ValueError, match=r"twice returned .*\(2,\).*expected a scalar"):
        tx.update(x, tx.init(x), x, grad_fn=jax.grad(jnp.sum), value_fn=twice)
