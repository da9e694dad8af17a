"""G against D and snapshots of it: candidates, ring, and promises, each by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from subsel.gan import checkpoint, data, models, snapshots, step
from subsel.gan.losses import LOSSES
from subsel.gan.models import Architecture
from subsel.gan.objective import Pair
from subsel.gan.optimizers import OPTIMIZERS, SNAPSHOTS, Numbers
from subsel.gan.snapshots import Snapshots

SHAPE, LATENT, BATCH, RATE = (3,), 4, 8, 0.5
NETS = Pair(
    models.discriminator(Architecture(hidden=(7,)), SHAPE),
    models.generator(Architecture(hidden=(6,)), LATENT, SHAPE, output="identity"),
)
POOL = (
    np.random.default_rng(0).normal(size=(20, *SHAPE)).astype(np.float32),
    np.arange(20, dtype=np.int32) % 3,
)
RULES = step.Rules(LOSSES["minimax"], BATCH, LATENT)


def with_snapshots(count, every, select="min_norm", rules=RULES):
    return rules._replace(snapshots=Snapshots(count, every, SNAPSHOTS[select](3)))


def both(name="sgd", rate=RATE):
    return Pair(*[OPTIMIZERS[name](Numbers(rate)) for _ in range(2)])


def start(rules, tx, nets=NETS):
    return jax.jit(
        lambda key: step.init(nets, tx, rules, key), out_shardings=step.sharding()
    )(jax.random.key(0))


def played(rules, steps, tx=None, nets=NETS):
    tx = tx or both()
    run = step.make_run(step.make_step(nets, tx, rules, step.ALL), steps)
    slots = step.slots(BATCH, rules.microbatches)
    return run(start(rules, tx, nets), POOL, slots)[:2]


def close(a, b, rtol=1e-4, atol=1e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol, atol), a, b)


def bits(state):
    state = state._replace(key=jax.random.key_data(state.key))
    return [np.asarray(x) for x in jax.tree.leaves(state)]


# By hand: plain loops over discriminators, NumPy for what is selected


def shortest(old, new):
    """The point of a segment that is next to the origin, as a share of the new end."""
    across = new - old
    apart = across @ across
    return float(np.clip(-(old @ across) / apart, 0, 1)) if apart else 1.0


def by_hand(state, steps, every, count, weigh):
    """Descent in turn; ``weigh`` makes weights of gradients ``[K, P]``, newest last."""

    def make(g, z):
        return NETS.g.apply(models.Variables(g, {}), z)[0]

    def judge(d, x):
        return NETS.d.apply(models.Variables(d, {}), x)[0]

    def loss(player, d, g, real, z):
        return getattr(RULES.loss, player)(judge(d, real), judge(d, make(g, z)))

    d_grad = jax.jit(jax.grad(lambda d, *rest: loss("d", d, *rest)))
    g_value = jax.jit(
        jax.value_and_grad(lambda g, d, *rest: loss("g", d, g, *rest)),
    )

    def flat(tree):
        return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)], dtype="f8")

    def descend(x, grad):
        return jax.tree.map(lambda x, g: x - np.float32(RATE * g), x, grad)

    d, g = state.params
    kept, path = [], []
    for t in range(steps):
        key = jax.random.fold_in(jax.random.fold_in(state.key, t), 0)
        data_key, noise_key, _ = jax.random.split(key, 3)
        real, _ = data.batch(*map(jnp.array, POOL), data_key, BATCH)
        z = jax.random.normal(noise_key, (BATCH, LATENT))
        d = descend(d, d_grad(d, g, real, z))
        opponents = [*([d] * (count - len(kept)) + kept[-count:]), d]
        found = [g_value(g, one, real, z) for one in opponents]
        grads = [grad for _, grad in found]
        rows = np.stack([flat(grad) for grad in grads])
        weights = np.asarray(weigh(rows))
        chosen = jax.tree.map(
            lambda *leaves, w=weights: np.tensordot(w, np.stack(leaves), 1), *grads
        )
        u = weights @ rows
        cosine = u @ rows[-1] / np.linalg.norm(u) / np.linalg.norm(rows[-1])
        g = descend(g, chosen)
        path.append((d, g, float(found[-1][0]), cosine))
        if (t + 1) % every == 0:
            kept.append(d)
    return path


WEIGHTS = {
    "min_norm": (1, lambda rows: [1 - shortest(*rows), shortest(*rows)]),
    "mean": (2, lambda rows: np.full(3, 1 / 3)),
}


@pytest.mark.parametrize("select", WEIGHTS)
def test_a_run_is_the_one_by_hand(select):
    count, weigh = WEIGHTS[select]
    rules = with_snapshots(count, 2, select)
    path = by_hand(start(rules, both()), 7, 2, count, weigh)
    state, metrics = played(rules, 7)
    close(state.params, Pair(*path[-1][:2]), rtol=2e-3, atol=2e-5)
    np.testing.assert_allclose(metrics["g_loss"], [x[2] for x in path], rtol=1e-3)
    cosines = np.array([x[3] for x in path])
    np.testing.assert_allclose(metrics["snapshots_cosine"], cosines, rtol=1e-3)
    assert (cosines[2:] < 0.9999).any(), "nothing was selected"
    plain, _ = played(RULES, 7)
    gap = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), plain.params, state.params)
    assert max(jax.tree.leaves(gap)) > 1e-3


def test_random_follows_one_of_the_two():
    """And both of them at times; the choice is addressed by the seed and the step."""
    rules, picked = with_snapshots(1, 1, "random"), []
    first = start(rules, both())
    state, metrics = played(rules, 8)

    def replay(rows):
        key = jax.random.fold_in(jax.random.key(3), len(picked))
        picked.append(int(jax.random.categorical(key, jnp.zeros(2))))
        return np.eye(2)[picked[-1]]

    path = by_hand(first, 8, 1, 1, replay)
    close(state.params, Pair(*path[-1][:2]), rtol=2e-3, atol=2e-5)
    assert set(picked) == {0, 1}
    np.testing.assert_allclose(metrics["snapshots_cosine"][0], 1, rtol=1e-6)


@pytest.mark.parametrize("select", SNAPSHOTS)
def test_until_the_first_is_due_it_is_plain_training(select):
    """All candidates are the gradient against D itself, up to the order of sums."""
    plain, plain_metrics = played(RULES, 4)
    state, metrics = played(with_snapshots(3, 4, select), 4)
    close(state.params, plain.params)
    np.testing.assert_allclose(metrics.pop("snapshots_cosine"), 1, rtol=1e-5)
    assert not metrics.pop("snapshots_fired").any()
    close(metrics, plain_metrics)


def test_without_snapshots_there_is_nothing_of_them():
    state, metrics = played(RULES, 2)
    assert state.snapshots == state.selection == ()
    assert not [name for name in metrics if "snapshots" in name]


# The ring


def test_the_oldest_gives_way_to_the_newest():
    rule = Snapshots(3, 2, None)

    @jax.jit
    @jax.vmap  # members of a population may have come to different steps
    def after(ring, at):
        return snapshots.taken(rule, ring, {"d": jnp.float32([1, -1]) * at}, at)

    def empty(_):
        return snapshots.empty(rule, {"d": jnp.zeros(2)})

    ring = jax.vmap(empty)(jnp.arange(2))
    for t in range(1, 12):
        ring = after(ring, jnp.array([t, max(t - 1, 1)]))
    assert ring["d"][..., 0].tolist() == [[8, 10, 6], [8, 10, 6]]
    ring = after(ring, jnp.array([12, 11]))
    assert ring["d"][..., 0].tolist() == [[8, 10, 12], [8, 10, 6]]
    np.testing.assert_array_equal(ring["d"][..., 1], -ring["d"][..., 0])


def test_snapshots_are_of_what_lookahead_left():
    rules = with_snapshots(2, 2)._replace(lookahead_every=2)
    state, _ = played(rules, 4)
    close(jax.tree.map(lambda x: x[1], state.snapshots.params), state.params.d, 0, 0)


# Promises


def test_microbatches_select_among_gradients_of_the_batch():
    rules = with_snapshots(2, 1)
    whole, parts = (played(r, 4) for r in (rules, rules._replace(microbatches=4)))
    close(parts[0].params, whole[0].params, rtol=1e-3, atol=1e-5)
    close(parts[1], whole[1], rtol=1e-3, atol=1e-5)


def test_grad_fn_selects_as_well():
    """At G's own parameters it is what came in, whichever that was."""

    def check(updates, state, params=None, *, grad_fn, **extra_args):
        gap = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), updates, grad_fn(params))
        return updates, jnp.maximum(state, jax.tree.reduce(jnp.maximum, gap))

    probe = optax.GradientTransformationExtraArgs(lambda p: jnp.zeros(()), check)
    tx = Pair(*[optax.chain(probe, optax.sgd(RATE))] * 2)
    for select in SNAPSHOTS:
        state, metrics = played(with_snapshots(1, 1, select), 6, tx)
        assert (metrics["snapshots_cosine"] < 0.9999).any()
        assert max(state.opt.d[0], state.opt.g[0]) < 1e-6


def test_a_resumed_run_is_the_undisturbed_one(tmp_path):
    """From a checkpoint between two snapshots; traced once, the state donated."""
    rules, tx = with_snapshots(2, 2, "random")._replace(ema=0.9), both("subsel")
    traces, body = [], step.make_step(NETS, tx, rules, step.ALL)

    def counted(*args):
        traces.append(args)
        return body(*args)

    run = step.make_run(counted, 3)
    first = start(rules, tx)
    half, *_ = run(first, POOL, step.slots(BATCH))
    assert all(x.is_deleted() for x in jax.tree.leaves(first.snapshots))
    manager = checkpoint.open(tmp_path)
    checkpoint.save(manager, half)
    checkpoint.close(manager)
    half = checkpoint.restore(tmp_path, start(rules, tx))
    twice, *_ = run(half, POOL, step.slots(BATCH))
    assert len(traces) == 1
    whole, *_ = step.make_run(body, 6)(start(rules, tx), POOL, step.slots(BATCH))
    for a, b in zip(bits(twice), bits(whole), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_statistics_of_g_know_nothing_of_the_number_of_opponents():
    """Nor are they a mean over them: G runs forward once."""
    nets = NETS._replace(
        g=models.generator(
            Architecture(hidden=(6, 5), norm="batch"),
            *(LATENT, SHAPE),
            axis="devices",
        )
    )
    one, many = (played(r, 2, nets=nets)[0] for r in (RULES, with_snapshots(3, 9)))
    close(many.stats, one.stats)


CHILD = """
import json, sys, jax, numpy as np
sys.path.insert(0, sys.argv[1])
from test_snapshots import *
arch = Architecture(hidden=(7, 7), norm="batch")
nets = Pair(models.discriminator(Architecture(hidden=(7,), spectral=True), SHAPE,
                                 axis="devices"),
            models.generator(arch, LATENT, SHAPE, output="identity", axis="devices"))
rules = with_snapshots(2, 3, "mean")._replace(loss=LOSSES["relativistic"])
tx = both("adam", 3e-2)
state, metrics = played(rules, 15, tx, nets)
copies = [[np.asarray(s.data) for s in x.addressable_shards]
          for x in jax.tree.leaves((state.params, state.stats, state.snapshots))]
same = all((c == copy[0]).all() for copy in copies for c in copy)
run = step.make_run(step.make_step(NETS, tx, rules._replace(loss=RULES.loss), step.ALL),
                    1)
text = run.lower(start(rules, tx), POOL, step.slots(BATCH)).as_text()
print(json.dumps({"devices": jax.device_count(), "same": bool(same),
    "messages": text.count("stablehlo.all_reduce"),
    "cosine": metrics["snapshots_cosine"].tolist(),
    "g_loss": metrics["g_loss"].tolist(),
    "kernel": np.asarray(jax.tree.leaves(state.params.g)[-1]).tolist()}))
"""


def test_four_devices_select_what_one_does(on_devices):
    one, four = (on_devices(CHILD, devices) for devices in (1, 4))
    assert (one["devices"], four["devices"]) == (1, 4)
    assert four["same"], "replicas differ"
    assert (one["messages"], four["messages"]) == (0, 2)  # all candidates in one
    assert min(one["cosine"]) < 0.999
    np.testing.assert_allclose(four["cosine"], one["cosine"], rtol=1e-2)
    np.testing.assert_allclose(four["g_loss"], one["g_loss"], rtol=1e-3)
    np.testing.assert_allclose(four["kernel"], one["kernel"], rtol=1e-2, atol=1e-3)
