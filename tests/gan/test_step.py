"""The training step against a slow, plain reference, and its promises to XLA."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from subsel.gan import data, models, step
from subsel.gan.losses import LOSSES
from subsel.gan.optimizers import OPTIMIZERS, SCHEDULES
from subsel.gan.step import Pair

SHAPE, LATENT, BATCH = (4, 4, 1), 5, 8
NETS = Pair(
    models.discriminator(SHAPE, (7,)), models.generator(LATENT, SHAPE, (6,), "tanh")
)
IMAGES = np.random.default_rng(0).integers(0, 256, (20, *SHAPE)).astype(np.uint8)


def both(name, rate=1e-2):
    return Pair(*[OPTIMIZERS[name](rate, 0.5, 0.999) for _ in range(2)])


def start(tx, seed=0):
    return jax.jit(lambda key: step.init(NETS, tx, key), out_shardings=step.sharding())(
        jax.random.key(seed)
    )


def compiled(tx, length, loss="non_saturating"):
    body = step.make_step(NETS, tx, LOSSES[loss], BATCH, LATENT, mean=step.devices_mean)
    return step.make_run(body, length)


def reference(state, tx, loss, steps):
    """D on real and generated batches apart, then G against the new D."""

    def d_loss(d, g, real, z):
        return loss.d(NETS.d.apply(d, real), NETS.d.apply(d, NETS.g.apply(g, z)))

    def g_loss(g, d, real, z):
        return loss.g(NETS.d.apply(d, real), NETS.d.apply(d, NETS.g.apply(g, z)))

    @jax.jit
    def one(params, opt, t):
        image_key, noise_key = jax.random.split(jax.random.fold_in(state.key, t))
        real = data.batch(jnp.array(IMAGES), 0.0, image_key, BATCH)
        z = jax.random.normal(noise_key, (BATCH, LATENT))
        d_value, grads = jax.value_and_grad(d_loss)(params.d, params.g, real, z)
        updates, d_opt = tx.d.update(grads, opt.d, params.d)
        d = optax.apply_updates(params.d, updates)
        g_value, grads = jax.value_and_grad(g_loss)(params.g, d, real, z)
        updates, g_opt = tx.g.update(grads, opt.g, params.g)
        g = optax.apply_updates(params.g, updates)
        return Pair(d, g), Pair(d_opt, g_opt), (d_value, g_value)

    params, opt, losses = state.params, state.opt, []
    for t in range(steps):
        params, opt, values = one(params, opt, t)
        losses.append(values)
    return params, losses


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["adam", "subsel", "sgd"])
def test_a_run_is_the_reference(name, loss):
    tx = both(name)
    expected, losses = reference(start(tx), tx, LOSSES[loss], 3)
    state, metrics, finite = compiled(tx, 3, loss)(start(tx), IMAGES, step.slots(BATCH))
    assert int(state.step) == 3
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5),
        state.params,
        expected,
    )
    got = np.stack([metrics["d_loss"], metrics["g_loss"]], axis=1)
    np.testing.assert_allclose(got, np.array(losses), rtol=1e-4)
    assert all(jax.tree.leaves(finite))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_moves_both_players(name):
    tx = both(name)
    before = jax.tree.map(np.array, start(tx).params)
    state, metrics, _ = compiled(tx, 2)(start(tx), IMAGES, step.slots(BATCH))
    assert np.isfinite(metrics["d_loss"]).all()
    moved = jax.tree.map(lambda a, b: bool((a != b).all()), before, state.params)
    kernels = [moved.d["Dense_0"]["kernel"], moved.g["Dense_0"]["kernel"]]
    assert all(kernels)


def test_two_runs_are_one_and_nothing_is_traced_twice():
    """3 + 3 steps are 6 bit for bit; the step is traced once, the state donated."""
    tx, traces = both("subsel"), []
    body = step.make_step(
        NETS, tx, LOSSES["minimax"], BATCH, LATENT, mean=step.devices_mean
    )

    def counted(*args):
        traces.append(args)
        return body(*args)

    run = step.make_run(counted, 3)
    first = start(tx)
    half, m1, _ = run(first, IMAGES, step.slots(BATCH))
    assert jax.tree.leaves(first.params)[0].is_deleted()
    twice, m2, _ = run(half, IMAGES, step.slots(BATCH))
    assert len(traces) == 1
    whole, m, _ = step.make_run(body, 6)(start(tx), IMAGES, step.slots(BATCH))
    jax.tree.map(np.testing.assert_array_equal, twice.params, whole.params)
    np.testing.assert_array_equal(
        np.concatenate([m1["g_loss"], m2["g_loss"]]), m["g_loss"]
    )


def test_both_players_are_one_xla_program_that_updates_in_place():
    tx = both("subsel")
    args = start(tx), IMAGES, step.slots(BATCH)
    hlo = compiled(tx, 3).lower(*args).compile().as_text()
    assert hlo.count("HloModule") == 1
    leaves = len(jax.tree.leaves(args[0]))
    aliased = hlo.split("input_output_alias={", 1)[1].split("}, entry", 1)[0]
    assert aliased.count("-alias") == leaves


def test_grad_fn_is_the_players_gradient_on_the_same_batch():
    """At the player's own parameters it must return the gradient that came in."""

    def check(updates, state, params=None, *, grad_fn, **extra_args):
        again = grad_fn(params)
        gap = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), updates, again)
        return updates, jnp.maximum(state, jax.tree.reduce(jnp.maximum, gap))

    probe = optax.GradientTransformationExtraArgs(lambda p: jnp.zeros(()), check)
    tx = Pair(*[optax.chain(probe, optax.sgd(0.1))] * 2)
    state, _, _ = compiled(tx, 2)(start(tx), IMAGES, step.slots(BATCH))
    assert max(state.opt.d[0], state.opt.g[0]) < 1e-6


def test_schedules_reach_what_they_say():
    for name, end in {"constant": 0.1, "linear": 0.0, "cosine": 0.0}.items():
        rate = SCHEDULES[name](0.1, 50)
        rate = rate if callable(rate) else (lambda t, rate=rate: rate)
        assert rate(0) == pytest.approx(0.1)
        assert rate(50) == pytest.approx(end, abs=1e-8)


def test_reports_of_the_selection_are_metrics():
    _, metrics, _ = compiled(both("subsel"), 2)(
        start(both("subsel")), IMAGES, step.slots(BATCH)
    )
    assert {"d_cosine", "g_cosine", "d_fired", "g_fired"} <= set(metrics)
    np.testing.assert_allclose(metrics["d_cosine"], 1, rtol=1e-6)


CHILD = """
import json, sys, jax, numpy as np
sys.path.insert(0, sys.argv[1])
from test_step import *
tx = both("subsel", 1e-3)
state, metrics, _ = compiled(tx, 20)(start(tx), IMAGES, step.slots(BATCH))
copies = [[np.asarray(s.data) for s in x.addressable_shards]
          for x in jax.tree.leaves(state.params)]
same = all((c == copy[0]).all() for copy in copies for c in copy)
print(json.dumps({"devices": jax.device_count(), "same": bool(same),
    "d_loss": metrics["d_loss"].tolist(),
    "kernel": np.asarray(state.params.g["Dense_1"]["kernel"]).tolist()}))
"""


def test_four_devices_train_as_one_does():
    results = []
    for devices in (1, 4):
        flags = f"--xla_force_host_platform_device_count={devices}"
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(Path(__file__).parent)],
            env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            check=True,
        )
        results.append(json.loads(done.stdout.splitlines()[-1]))
    one, four = results
    assert (one["devices"], four["devices"]) == (1, 4)
    assert four["same"], "replicas differ"
    np.testing.assert_allclose(four["d_loss"], one["d_loss"], rtol=1e-4)
    np.testing.assert_allclose(four["kernel"], one["kernel"], rtol=1e-2, atol=1e-4)
