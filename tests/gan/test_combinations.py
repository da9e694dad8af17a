"""Every loss, regulariser, model and game schedule that goes together, played."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from subsel.gan import config, game, penalties, step
from subsel.gan.config import Config
from subsel.gan.losses import LOSSES, Loss
from subsel.gan.models import MODELS
from subsel.gan.optimizers import GAMES
from subsel.lab.errors import UsageError

BATCH = 4
REGULARISERS = ("none", *penalties.PENALTIES, "clip")
LABELS = {"none": (), "clip": ()} | {name: (name,) for name in penalties.PENALTIES}
SNAPSHOTS = {"snapshots": 2, "snapshot_every": 1}


def chosen(loss, regulariser, **options):
    """The configuration of one combination."""
    tiny = {"latent": 3, "batch_size": BATCH}
    is_mlp = options.get("model", "mlp") == "mlp"
    tiny |= {"hidden": (4,)} if is_mlp else {"width": 2}
    return Config(
        loss=loss,
        penalties=LABELS[regulariser],
        clip_weights=0.01 if regulariser == "clip" else None,
        eval_every=0,
        **({"optimizer": "adam"} | tiny | options),
    )


def all_in_one(losses, regularisers):
    """Rules whose loss and regulariser are numbers, so that one program has them all.

    A program for each of the hundreds of combinations would take an hour to compile.
    """

    def loss(i):
        def of(player):
            branches = [getattr(LOSSES[name], player) for name in losses]

            def value(real, fake, mean=jnp.mean):
                calls = [lambda r, f, b=b: b(r, f, mean) for b in branches]
                return jax.lax.switch(i, calls, real, fake)

            return value

        return Loss(of("d"), of("g"), lambda x: x)

    def penalty(i):
        def value(d, real, fake, keys):
            terms = [penalties.PENALTIES.get(name) for name in regularisers]
            calls = [
                # Heavy, because the first gradients of a DCGAN are tiny.
                (lambda t=t: 1e3 * t(d, real, fake, keys)) if t else (lambda: 0.0)
                for t in terms
            ]
            return jax.lax.switch(i, calls)

        return value

    return loss, penalty


def clipped_if(tx, wanted):
    clip = penalties.clip_weights(0.01)

    def update(updates, state, params):
        updates, state = tx.update(updates, state, params)
        short, _ = clip.update(updates, clip.init(params), params)
        return optax.tree.where(wanted, short, updates), state

    return optax.GradientTransformation(tx.init, update)


# The others differ from extragradient in the selector alone.
PLAYED = [name for name in GAMES if not name.startswith("extragradient_")]


# The slow ones leave out two games whose gradients are those of extragradient.
BOTH_KINDS = ("alternating", "extragradient")
PAIRS = [(model, "none", game) for model in ("mlp", "dcgan") for game in PLAYED]
PAIRS += [
    (*slow, game)
    for slow in (("resnet", "none"), ("dcgan", "batch"))
    for game in BOTH_KINDS
]


def test_no_model_is_left_out():
    assert {model for model, *_ in PAIRS} == set(MODELS)


@pytest.mark.parametrize(("model", "d_norm", "schedule"), PAIRS)
def test_every_combination_runs_three_steps(model, d_norm, schedule):
    regularisers = ("none", "clip") if d_norm == "batch" else REGULARISERS
    losses = tuple(LOSSES)
    options = {"model": model, "game": schedule, "d_norm": d_norm}
    cfg = config.check(chosen("hinge", "none", **options))
    playing = game.build(cfg)
    # The data of a step hold an axis of devices; here there is none.
    nets = _without_axis(cfg, playing)
    make_loss, make_penalty = all_in_one(losses, regularisers)
    pool = playing.dataset.rows[:20], playing.dataset.labels[:20]

    @jax.jit
    def play(loss, regulariser, state):
        rules = playing.rules._replace(
            loss=make_loss(loss),
            penalty=None if d_norm == "batch" else make_penalty(regulariser),
        )
        clipping = regularisers.index("clip") == regulariser
        tx = playing.tx._replace(d=clipped_if(playing.tx.d, clipping))
        body = step.make_step(nets, tx, rules)
        return jax.lax.scan(
            lambda state, _: body(state, pool, jnp.arange(BATCH)), state, length=3
        )

    first = step.init(nets, playing.tx, playing.rules, jax.random.key(0))
    seen = {}
    for i, loss in enumerate(losses):
        for j, regulariser in enumerate(regularisers):
            wanted = chosen(loss, regulariser, **options)
            try:
                config.check(wanted)
            except UsageError:
                assert loss == "wasserstein" and regulariser == "none"
                continue
            state, metrics = play(i, j, first)
            leaves = jax.tree.leaves((state.params, metrics))
            assert all(np.isfinite(x).all() for x in leaves), (loss, regulariser)
            moved = [
                bool((a != b).any())
                for a, b in zip(
                    jax.tree.leaves(first.params.g),
                    jax.tree.leaves(state.params.g),
                    strict=True,
                )
            ]
            assert any(moved), (loss, regulariser)
            last = metrics["d_loss"][-1], metrics["g_loss"][-1]
            seen[loss, regulariser] = tuple(map(float, last))
    assert len(set(seen.values())) == len(seen), "no two of them are the same game"


def _without_axis(cfg, playing):
    from subsel.gan import models

    shape = playing.dataset.shape
    return playing.nets._replace(
        d=models.discriminator(game.architecture(cfg, "d"), shape),
        g=models.generator(game.architecture(cfg, "g"), cfg.latent, shape),
    )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"loss": "wasserstein"}, "--loss wasserstein alone makes no sense.*Lipschitz"),
        ({"penalties": ("r1",), "d_norm": "batch"}, "of one sample.*--d-norm layer"),
        ({"clip_weights": 0.1, "spectral": True}, "bounds nothing"),
        ({"clip_weights": 0.1, "penalties": ("wgan_gp",)}, "cannot follow"),
        ({"spectral": True, "penalties": ("wgan_gp",)}, "choose one, or r1"),
        ({"penalties": ("dragan",), "spectral": True}, "or dragan.*choose one, or r1"),
        ({"spectral": True, "norm": "batch"}, "undoes.*--d-norm none"),
        ({"spectral": True, "d_norm": "layer"}, "undoes.*--d-norm none"),
        ({"penalties": ("r1", "r1")}, "a name twice.*--penalty-weight"),
        ({"penalty_every": 4}, "there is no penalty"),
        ({"penalty_weight": 2.0}, "there is no penalty.*--penalties r1"),
        ({"lookahead_share": 0.2}, "nothing to return to.*--lookahead-every"),
        ({"lookahead_every": 5, "clip_weights": 0.1}, "no update has clipped"),
        ({"g_width": 8}, "no convolutions"),
        ({"dataset": "grid", "output": "tanh"}, "lie beyond.*--output identity"),
        ({"game": "extragradient", "optimizer": "reflect"}, "both choose the point"),
        ({"game": "past_extragradient", "g_optimizer": "ball_mean"}, "both choose"),
        ({"conditional": True, "pack": 2}, "of different classes"),
        ({"d_steps": 2, "game": "extragradient"}, "one field.*--game alternating"),
        ({"snapshots": 1, "game": "simultaneous"}, "one field.*--game alternating"),
        ({"snapshots": 1, "snapshot_every": 10_000}, "never face.*more often"),
        ({"snapshot_every": 7}, "without --snapshots.*add --snapshots 1"),
        ({"snapshot_select": "mean"}, "without --snapshots.*add --snapshots 1"),
        ({"model": "resnet", "d_hidden": (8,)}, "no dense layers"),
        ({"pack": 3}, "a --batch-size that is no multiple of --pack"),
        ({"lookahead_every": 20_000}, "never return"),
        ({"eval_every": 7}, "--eval-every 7 is not a multiple of --log-every 1000"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(options, reason):
    with pytest.raises(UsageError, match=reason):
        config.check(dataclasses.replace(Config(), **options))


@pytest.mark.parametrize("options", [{"spectral": True}, {"penalties": ("r1",)}])
@pytest.mark.parametrize("model", ["dcgan", "resnet"])
def test_what_bounds_d_leaves_it_without_normalisation(model, options):
    cfg = config.check(Config(model=model, **options))
    assert game.architecture(cfg, "d").norm == "none"
    assert game.architecture(cfg, "g").norm == "batch"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"dataset": "ring", "model": "dcgan"}, "points of the plane: use --model mlp"),
        ({"dataset": "ring", "augment": ("color",)}, "is for images"),
        ({"dataset": "signals", "augment": ("cutout",)}, "is for images"),
    ],
)
def test_networks_that_do_not_go_with_the_data_are_refused(options, reason):
    with pytest.raises(UsageError, match=reason):
        game.build(config.check(dataclasses.replace(Config(), **options)))


@pytest.mark.parametrize(
    "options",
    [
        {"augment": ("color", "translation", "cutout"), "pack": 2},
        {"precision": "bfloat16", "model": "dcgan"},
        {"model": "resnet", "spectral": True, "conditional": True, "ema": 0.9},
        {"microbatches": 2, "d_steps": 2},
        {"dataset": "signals", "model": "dcgan", "lookahead_every": 2},
        {"dataset": "grid", "norm": "layer", "conditional": True},
        {"game": "extragradient", "optimizer": "subsel"},
        {"spectral": True, "g_norm": "batch", "pack": 2, "microbatches": 2} | SNAPSHOTS,
        {"precision": "bfloat16", "conditional": True, "d_steps": 2} | SNAPSHOTS,
    ],
)
def test_the_other_options_of_a_game_run_three_steps(options):
    options = {"dataset": "digits"} | options
    cfg = config.check(chosen("hinge", "none", **options))
    playing = game.build(cfg)
    run = step.make_run(
        step.make_step(playing.nets, playing.tx, playing.rules, step.ALL), 3
    )
    pool = playing.dataset.rows, playing.dataset.labels
    slots = step.slots(BATCH, cfg.microbatches)
    state, metrics, finite = run(game.fresh(cfg, playing), pool, slots)
    assert all(jax.tree.leaves(finite))
    assert np.isfinite(metrics["d_loss"]).all()
    z, label = jnp.ones((2, cfg.latent)), jnp.arange(2)
    drawn = playing.draw(playing.generator(state), z, label)
    assert drawn.shape == (2, *playing.dataset.shape) and drawn.dtype == jnp.float32
