"""The training step against a slow, plain reference, and its promises to XLA."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from subsel.gan import data, models, step
from subsel.gan.losses import LOSSES
from subsel.gan.models import Architecture
from subsel.gan.objective import Pair, packed
from subsel.gan.optimizers import GAMES, OPTIMIZERS, SCHEDULES, Numbers
from subsel.gan.penalties import PENALTIES

SHAPE, LATENT, BATCH = (4, 4, 1), 5, 8
NETS = Pair(
    models.discriminator(Architecture(hidden=(7,)), SHAPE),
    models.generator(Architecture(hidden=(6,)), LATENT, SHAPE),
)
IMAGES = np.random.default_rng(0).integers(0, 256, (20, *SHAPE)).astype(np.uint8)
POOL = IMAGES, np.arange(20, dtype=np.int32) % 3
RULES = step.Rules(LOSSES["non_saturating"], BATCH, LATENT)


def both(name, rate=1e-2):
    return Pair(*[OPTIMIZERS[name](Numbers(rate)) for _ in range(2)])


def start(tx, rules=RULES, nets=NETS, seed=0):
    return jax.jit(
        lambda key: step.init(nets, tx, rules, key), out_shardings=step.sharding()
    )(jax.random.key(seed))


def compiled(tx, length, rules=RULES, nets=NETS):
    return step.make_run(step.make_step(nets, tx, rules, step.ALL), length)


def played(rules, tx=None, steps=3, nets=NETS):
    """The state and the metrics after some steps of the compiled run."""
    tx = tx or both("adam")
    slots = step.slots(BATCH, rules.microbatches)
    return compiled(tx, steps, rules, nets)(start(tx, rules, nets), POOL, slots)[:2]


def close(a, b, rtol=2e-3, atol=2e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol, atol), a, b)


def drawn(state, t, i=0):
    """What the i-th batch of step t holds: an address, not a stream."""
    key = jax.random.fold_in(jax.random.fold_in(state.key, t), i)
    data_key, noise_key, _ = jax.random.split(key, 3)
    real, _ = data.batch(*map(jnp.array, POOL), data_key, BATCH)
    return real, jax.random.normal(noise_key, (BATCH, LATENT))


def judge(d, x):
    return NETS.d.apply(models.Variables(d, {}), x)[0]


def make(g, z):
    return NETS.g.apply(models.Variables(g, {}), z)[0]


def reference(state, tx, loss, steps, d_steps=1, simultaneous=False):
    """D on real and generated batches apart, then G against the new D (or the old)."""

    def d_loss(d, g, real, z):
        return loss.d(judge(d, real), judge(d, make(g, z)))

    def g_loss(g, d, real, z):
        return loss.g(judge(d, real), judge(d, make(g, z)))

    @jax.jit
    def one(params, opt, t):
        d, d_opt = params.d, opt.d
        for i in range(d_steps):
            real, z = drawn(state, t, i)
            d_value, grads = jax.value_and_grad(d_loss)(d, params.g, real, z)
            updates, d_opt = tx.d.update(grads, d_opt, d)
            d = optax.apply_updates(d, updates)
        against = params.d if simultaneous else d
        g_value, grads = jax.value_and_grad(g_loss)(params.g, against, real, z)
        updates, g_opt = tx.g.update(grads, opt.g, params.g)
        g = optax.apply_updates(params.g, updates)
        return Pair(d, g), Pair(d_opt, g_opt), (d_value, g_value)

    path, opt, losses = [state.params], state.opt, []
    for t in range(steps):
        params, opt, values = one(path[-1], opt, t)
        path.append(params)
        losses.append(values)
    return path, losses


@pytest.mark.parametrize("loss", LOSSES)
def test_a_run_is_the_reference(loss):
    tx, rules = both("adam"), RULES._replace(loss=LOSSES[loss])
    expected, losses = reference(start(tx), tx, LOSSES[loss], 3)
    state, metrics = played(rules, tx)
    assert int(state.step) == 3
    close(state.params, expected[-1])
    got = np.stack([metrics["d_loss"], metrics["g_loss"]], axis=1)
    np.testing.assert_allclose(got, np.array(losses), rtol=1e-4)


@pytest.mark.parametrize("name", ["subsel", "sgd"])
def test_with_other_optimizers_too(name):
    tx = both(name)
    expected, _ = reference(start(tx), tx, LOSSES["non_saturating"], 3)
    close(played(RULES, tx)[0].params, expected[-1])


@pytest.mark.parametrize(
    ("rules", "how"),
    [
        ({"d_steps": 3}, {"d_steps": 3}),
        ({"selection": optax.identity()}, {"simultaneous": True}),
    ],
)
def test_game_schedules_are_the_reference(rules, how):
    tx = both("adam")
    expected, _ = reference(start(tx), tx, LOSSES["non_saturating"], 3, **how)
    close(played(RULES._replace(**rules), tx)[0].params, expected[-1])


def field(params, real, z, loss=LOSSES["non_saturating"]):
    """The gradients of both players where they are."""
    d, g = params
    return Pair(
        jax.grad(lambda d: loss.d(judge(d, real), judge(d, make(g, z))))(d),
        jax.grad(lambda g: loss.g(judge(d, real), judge(d, make(g, z))))(g),
    )


def test_extragradient_is_a_step_along_the_field_at_the_point_ahead():
    """With plain descent, against the textbook's two lines."""
    rate = 0.3
    tx = both("sgd", rate)
    rules = RULES._replace(selection=GAMES["extragradient"](optax.sgd(rate), 0))
    first = start(tx)
    batch = drawn(first, 0)

    def descend(x, gradient):
        return jax.tree.map(lambda x, g: x - rate * g, x, gradient)

    ahead = descend(first.params, field(first.params, *batch))
    expected = descend(first.params, field(ahead, *batch))
    state, metrics = played(rules, tx, steps=1)
    close(state.params, expected, rtol=1e-4, atol=1e-6)
    assert {"pair_cosine", "pair_fired"} <= set(metrics)


def test_past_extragradient_is_the_optimistic_step():
    """Twice the gradient less the one before, as optax.optimistic_gradient_descent."""
    rate = 0.3
    rules = RULES._replace(selection=GAMES["past_extragradient"](None, 0))
    ours = played(rules, both("sgd", rate))[0]
    optimistic = Pair(*[optax.optimistic_gradient_descent(rate, 1.0, 1.0)] * 2)
    theirs = played(RULES._replace(selection=optax.identity()), optimistic)[0]
    close(ours.params, theirs.params, rtol=1e-4, atol=1e-6)


def test_reflected_is_malitskys_step_on_the_field_of_both():
    """x+ = x - r F(2 x - x-), F of both players, with plain descent."""
    rate, tx = 0.3, both("sgd", 0.3)
    rules = RULES._replace(selection=GAMES["reflected"](None, 0))
    first = start(tx)
    past = now = first.params
    for t in range(3):
        ahead = jax.tree.map(lambda x, before: 2 * x - before, now, past)
        found = field(ahead, *drawn(first, t))
        past, now = now, jax.tree.map(lambda x, g: x - rate * g, now, found)
    close(played(rules, tx, steps=3)[0].params, now, rtol=1e-4, atol=1e-6)


def test_microbatches_accumulate_the_gradient_of_the_batch():
    whole = played(RULES, both("sgd", 0.3))
    parts = played(RULES._replace(microbatches=4), both("sgd", 0.3))
    close(parts[0].params, whole[0].params, rtol=1e-4, atol=1e-6)
    close(parts[1], whole[1], rtol=1e-4)


def test_lookahead_returns_both_players_part_of_the_way():
    tx = both("adam")
    rules = RULES._replace(lookahead_every=2, lookahead_share=0.25)
    path, _ = reference(start(tx), tx, RULES.loss, 2)
    ahead = jax.tree.map(lambda a, b: 0.75 * a + 0.25 * b, path[0], path[2])
    state, _ = played(rules, tx, steps=2)
    close(state.params, ahead)
    close(state.slow, ahead)


def test_a_point_that_an_optimizer_remembers_returns_with_the_parameters():
    tx = both("reflect")
    points = [played(RULES, tx, steps=t)[0].params for t in (1, 2)]
    rules = RULES._replace(lookahead_every=2, lookahead_share=0.25)
    state, _ = played(rules, tx, steps=2)
    last = optax.tree.sub(points[1], points[0])
    for player in Pair._fields:
        before = optax.tree.get(getattr(state.opt, player), "previous")
        now = getattr(state.params, player)
        close(optax.tree.sub(now, before), getattr(last, player))
    reflected = RULES._replace(selection=GAMES["reflected"](None, 0))
    tx = both("sgd", 0.3)
    points = [played(reflected, tx, steps=t)[0].params for t in (1, 2)]
    pulled = reflected._replace(lookahead_every=2, lookahead_share=0.25)
    state, _ = played(pulled, tx, steps=2)
    before = optax.tree.get(state.selection, "previous")
    last = optax.tree.sub(points[1], points[0])
    close(optax.tree.sub(state.params, before), last, rtol=1e-4, atol=1e-6)


def test_the_average_of_the_generator():
    tx = both("adam")
    path, _ = reference(start(tx), tx, RULES.loss, 3)
    average = path[0].g
    for t, (_, g) in enumerate(path[1:], start=1):
        decay = min(0.9, (1 + t) / (10 + t))  # TensorFlow's start of an average
        average = jax.tree.map(lambda a, b, w=decay: w * a + (1 - w) * b, average, g)
    state, _ = played(RULES._replace(ema=0.9), tx)
    close(state.ema.params, average)
    assert start(tx).ema == ()


def test_a_lazy_penalty_is_due_every_so_many_updates_and_as_many_times_heavier():
    eager, lazy = (
        np.asarray(played(rules, steps=4)[1]["d_penalty"])
        for rules in (
            RULES._replace(penalty=PENALTIES["r1"]),
            RULES._replace(penalty=PENALTIES["r1"], penalty_every=2),
        )
    )
    assert (eager > 0).all()
    assert lazy[0] == pytest.approx(2 * eager[0], rel=1e-5)
    assert lazy[1] == 0 and lazy[2] > 0 and lazy[3] == 0


def test_a_packed_discriminator_sees_neighbours_as_channels():
    x = jnp.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    np.testing.assert_array_equal(
        packed(x, 2)[0], np.concatenate([x[0], x[1]], axis=-1)
    )
    np.testing.assert_array_equal(
        packed(jnp.arange(12).reshape(4, 3), 2),
        np.arange(12).reshape(2, 6),
    )
    nets = NETS._replace(
        d=models.discriminator(Architecture(hidden=(7,)), (4, 4, 2)),
    )
    state, metrics = played(RULES._replace(pack=2), nets=nets)
    assert np.isfinite(metrics["d_loss"]).all()


def test_classes_reach_both_networks():
    arch = Architecture(hidden=(7,))
    nets = Pair(
        models.discriminator(arch, SHAPE, classes=3),
        models.generator(arch, LATENT, SHAPE, classes=3),
    )
    state, _ = played(RULES._replace(conditional=True), nets=nets)
    before = start(both("adam"), nets=nets).params
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), before, state.params)
    assert all(jax.tree.leaves(moved)), "embeddings among them"


@pytest.mark.parametrize("d", list(OPTIMIZERS)[::2])
def test_every_optimizer_moves_its_player(d):
    """One of D and another of G in each program, which takes seconds to compile."""
    names = list(OPTIMIZERS)
    g = names[(names.index(d) + 1) % len(names)]
    tx = Pair(both(d).d, both(g).g)
    before = jax.tree.map(np.array, start(tx).params)
    state, metrics = played(RULES, tx, 2)
    assert np.isfinite(metrics["d_loss"]).all()
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), before, state.params)
    assert all(jax.tree.leaves(moved))


def test_two_runs_are_one_and_nothing_is_traced_twice():
    """3 + 3 steps are 6 bit for bit; the step is traced once, the state donated."""
    rules = RULES._replace(ema=0.9, lookahead_every=2)
    tx, traces = both("subsel"), []
    body = step.make_step(NETS, tx, rules, step.ALL)

    def counted(*args):
        traces.append(args)
        return body(*args)

    run = step.make_run(counted, 3)
    first = start(tx, rules)
    half, m1, _ = run(first, POOL, step.slots(BATCH))
    assert all(x.is_deleted() for x in jax.tree.leaves(first.params))
    twice, m2, _ = run(half, POOL, step.slots(BATCH))
    assert len(traces) == 1
    whole, m, _ = step.make_run(body, 6)(start(tx, rules), POOL, step.slots(BATCH))
    jax.tree.map(np.testing.assert_array_equal, twice.params, whole.params)
    np.testing.assert_array_equal(
        np.concatenate([m1["g_loss"], m2["g_loss"]]), m["g_loss"]
    )


def test_both_players_are_one_xla_program_that_updates_in_place():
    tx = both("subsel")
    args = start(tx), POOL, step.slots(BATCH)
    hlo = compiled(tx, 3).lower(*args).compile().as_text()
    assert hlo.count("HloModule") == 1
    leaves = len(jax.tree.leaves(args[0]))
    aliased = hlo.split("input_output_alias={", 1)[1].split("}, entry", 1)[0]
    assert aliased.count("-alias") == leaves


@pytest.mark.parametrize("game", GAMES)
def test_grad_fn_is_the_players_gradient_on_the_same_batch(game):
    """At the player's own parameters it must return the gradient that came in."""

    def check(updates, state, params=None, *, grad_fn, **extra_args):
        again = grad_fn(params)
        gap = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), updates, again)
        return updates, jnp.maximum(state, jax.tree.reduce(jnp.maximum, gap))

    probe = optax.GradientTransformationExtraArgs(lambda p: jnp.zeros(()), check)
    tx = Pair(*[optax.chain(probe, optax.sgd(0.1))] * 2)
    alone = game in ("alternating", "simultaneous")  # else what comes in was selected
    selection = optax.identity() if game == "simultaneous" else None
    if not alone:
        tx = both("sgd", 0.1)
        selection = optax.chain(probe, GAMES[game](optax.sgd(0.1), 0))
    state, _ = played(RULES._replace(selection=selection), tx, 2)
    seen = (state.opt.d[0], state.opt.g[0]) if alone else (state.selection[0],)
    assert max(seen) < 1e-6


def test_schedules_reach_what_they_say():
    for name, end in {"constant": 0.1, "linear": 0.0, "cosine": 0.0}.items():
        rate = SCHEDULES[name](0.1, 50)
        rate = rate if callable(rate) else (lambda t, rate=rate: rate)
        assert rate(0) == pytest.approx(0.1)
        assert rate(50) == pytest.approx(end, abs=1e-8)


def test_reports_of_the_selection_and_lengths_are_metrics():
    _, metrics = played(RULES, both("subsel"), 2)
    assert {"d_cosine", "g_cosine", "d_fired", "g_fired"} <= set(metrics)
    assert (metrics["d_grad_norm"] > 0).all() and (metrics["g_grad_norm"] > 0).all()
    np.testing.assert_allclose(metrics["d_cosine"], 1, rtol=1e-6)
    _, metrics = played(RULES, both("reflect"), 3)  # first, nothing is to be reflected
    for player in "dg":
        cosine = metrics[f"{player}_cosine"]
        np.testing.assert_allclose(cosine[0], 1, rtol=1e-6)
        assert (cosine[1:] < 0.9999).all()


CHILD = """
import json, sys, jax, numpy as np
sys.path.insert(0, sys.argv[1])
from test_step import *
arch = Architecture(hidden=(7, 7), norm="batch")
nets = Pair(models.discriminator(Architecture(hidden=(7,)), (4, 4, 2), axis="devices"),
            models.generator(arch, LATENT, SHAPE, axis="devices"))
rules = RULES._replace(loss=LOSSES["relativistic"], penalty=PENALTIES["wgan_gp"],
                       pack=2, microbatches=1, d_steps=2, ema=0.9)
tx = both("subsel", 1e-3)
state, metrics = played(rules, tx, 20, nets)
copies = [[np.asarray(s.data) for s in x.addressable_shards]
          for x in jax.tree.leaves((state.params, state.stats))]
same = all((c == copy[0]).all() for copy in copies for c in copy)
plain = start(both("adam")), POOL, step.slots(BATCH)
program = compiled(both("adam"), 1).lower(*plain).as_text()
print(json.dumps({"devices": jax.device_count(), "same": bool(same),
    "messages": program.count("stablehlo.all_reduce"),
    "d_loss": metrics["d_loss"].tolist(), "penalty": metrics["d_penalty"].tolist(),
    "kernel": np.asarray(jax.tree.leaves(state.params.g)[-1]).tolist()}))
"""


def test_four_devices_train_as_one_does(on_devices):
    one, four = (on_devices(CHILD, devices) for devices in (1, 4))
    assert (one["devices"], four["devices"]) == (1, 4)
    assert four["same"], "replicas differ"
    assert (one["messages"], four["messages"]) == (0, 2)  # a player's, a step
    np.testing.assert_allclose(four["d_loss"], one["d_loss"], rtol=1e-4)
    np.testing.assert_allclose(four["penalty"], one["penalty"], rtol=1e-4)
    np.testing.assert_allclose(four["kernel"], one["kernel"], rtol=1e-2, atol=1e-4)
