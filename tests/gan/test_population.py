"""Members of a population are the runs that they would be alone."""

import dataclasses

import jax
import numpy as np
import pytest

from subsel.gan import game, population, step
from subsel.gan.config import Config
from subsel.lab.errors import UsageError

STEPS = 4
BASE = Config(dataset="ring", hidden=(6, 5), latent=3, batch_size=8, steps=STEPS)
VARIANTS = {
    "subsel": {"optimizer": "subsel"},
    "in turn": {
        "optimizer": "optimistic_adam",
        "schedule": "cosine",
        "penalties": ("r1",),
        "penalty_every": 2,
        "d_steps": 2,
        "lookahead_every": 2,
        "ema": 0.9,
    },
    "snapshots": {
        "optimizer": "sgd",  # Adam would make steps of the bias that D's norm ignores
        "snapshots": 2,
        "snapshot_every": 1,
        "norm": "batch",
        "conditional": True,
    },
    "at once": {
        "optimizer": "sgd",
        "game": "extragradient",
        "norm": "batch",
        "conditional": True,
    },
}


def members(**changes):
    """Three, of which no two share a seed or a number."""
    base = dataclasses.replace(BASE, **changes)
    return [
        dataclasses.replace(
            base,
            seed=seed,
            learning_rate=rate,
            g_learning_rate=rate / seed,
            b1=b1,
            penalty_weight=1.0 + seed,
            lookahead_share=0.2 * seed,
        )
        for seed, rate, b1 in ((1, 1e-2, 0.5), (2, 3e-3, 0.0), (3, 1e-3, 0.9))
    ]


def run_of(cfg):
    """The program of a population, its game, and a list that grows with each trace."""
    playing, traced = game.build(cfg), []
    body = population.make_step(cfg, playing, step.ALL)

    def counted(*args):
        traced.append(cfg)
        return body(*args)

    return step.make_run(counted, STEPS), playing, traced


def play(cfgs, run, playing):
    pool = playing.dataset.rows, playing.dataset.labels
    given = population.numbers(cfgs), pool
    slots = step.slots(cfgs[0].batch_size)
    return run(population.fresh(cfgs, playing), given, slots)[:2]


def alone(cfg):
    playing = game.build(cfg)
    body = step.make_step(playing.nets, playing.tx, playing.rules, step.ALL)
    pool = playing.dataset.rows, playing.dataset.labels
    slots = step.slots(cfg.batch_size)
    return step.make_run(body, STEPS)(game.fresh(cfg, playing), pool, slots)[:2]


def arrays(tree):
    """The leaves as NumPy's, keys as bits."""
    if isinstance(tree, step.State):
        tree = tree._replace(key=jax.random.key_data(tree.key))
    return [np.asarray(x) for x in jax.tree.leaves(tree)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_member_is_the_run_that_it_would_be_alone(variant):
    cfgs = members(**VARIANTS[variant])
    run, playing, _ = run_of(cfgs[0])
    states, metrics = play(cfgs, run, playing)
    state, alone_metrics = alone(cfgs[-1])
    found = population.member(states, -1)
    assert jax.tree.structure(found) == jax.tree.structure(state)
    for a, b in zip(arrays(found), arrays(state), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5)
    for name, values in alone_metrics.items():
        np.testing.assert_allclose(
            metrics[name][:, -1], values, rtol=2e-3, atol=2e-4, err_msg=name
        )


def test_a_member_that_diverges_stays_and_disturbs_no_other():
    fine = members(optimizer="sgd")
    wild = [fine[0], dataclasses.replace(fine[1], g_learning_rate=1e30), fine[2]]
    run, playing, traced = run_of(fine[0])
    calm, _ = play(fine, run, playing)
    once = len(traced)
    states, metrics = play(wild, run, playing)
    assert len(traced) == once  # other numbers, the same program
    assert states.step.tolist() == [STEPS, 1, STEPS]
    for i in (0, 2):
        pair = (arrays(population.member(of, i)) for of in (calm, states))
        for a, b in zip(*pair, strict=True):
            np.testing.assert_array_equal(a, b)
    assert all(np.isfinite(x).all() for x in arrays(states.params))
    lost = np.isfinite(metrics["g_loss"])
    assert lost.tolist() == [[True, t < 1, True] for t in range(STEPS)]


def test_what_is_no_population_is_refused():
    with pytest.raises(UsageError, match="no members"):
        population.numbers([])
    other = dataclasses.replace(BASE, loss="hinge", latent=4, b1=0.1, seed=7)
    with pytest.raises(UsageError, match="differ in latent, loss: expected one value"):
        population.numbers([BASE, other])
    assert population.structure(BASE) != population.structure(other)
    same = dataclasses.replace(BASE, d_learning_rate=0.1, b2=0.5, seed=9)
    assert population.structure(BASE) == population.structure(same)
