"""Evaluations: what real data score, and what a run is told of them."""

import dataclasses

import jax
import numpy as np
import pytest

from subsel.gan import config, data, evaluate, game, step, summary
from subsel.gan.config import Config

POINTS = Config(dataset="grid", hidden=(4,), log_every=50, steps=100, eval_samples=2500)


def built(**options):
    cfg = config.check(dataclasses.replace(POINTS, **options))
    playing = game.build(cfg)
    return cfg, playing, evaluate.evaluation(cfg, playing)


def test_real_points_score_the_known_ceilings():
    _, _, judge = built(eval_samples=10_000)
    assert judge.floor()["modes_honest"] == 25
    assert judge.floor()["high_quality"] == pytest.approx(0.98889, abs=0.005)
    assert judge.floor()["reverse_kl"] == pytest.approx(24 / 20_000, abs=1e-3)


def test_a_generator_that_copies_the_data_scores_as_the_data():
    cfg, playing, _ = built()

    def copy(generator, z, label):
        drawn = data.batch(
            playing.dataset.rows,
            playing.dataset.labels,
            jax.random.fold_in(jax.random.key(1), (1e6 * abs(z[0, 0])).astype(int)),
            len(z),
            noise=playing.dataset.noise,
        )
        return drawn[0]

    judge = evaluate.evaluation(cfg, playing._replace(draw=jax.jit(copy)))
    found = judge.run(game.fresh(cfg, playing))
    assert found["protocol"] == "2500 samples, known density, last iterate"
    assert found["modes_honest"] == 25
    assert found["high_quality"] == pytest.approx(0.98889, abs=0.01)
    assert set(judge.floor()) | {"protocol"} == set(found)


def test_a_fresh_generator_is_far_off_and_the_same_state_scores_the_same():
    cfg, playing, judge = built(ema=0.5)
    state = game.fresh(cfg, playing)
    found = judge.run(state)
    assert found == judge.run(state)
    assert found["modes_honest"] <= 1  # all near the origin, which is one
    assert found["protocol"].endswith("ema 0.5")


def test_a_temperature_is_of_the_noise_drawn_from_alone():
    """What is drawn at z is what is drawn without it at temperature times z."""
    plain_cfg, plain, _ = built()
    cfg, cold, judge = built(temperature=0.5)
    state = game.fresh(cfg, cold)
    for ours, others in zip(
        jax.tree.leaves(state.params),
        jax.tree.leaves(game.fresh(plain_cfg, plain).params),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, others)
    z, label = jax.random.normal(jax.random.key(0), (9, cfg.latent)), np.zeros(9, int)
    generator = cold.generator(state)
    np.testing.assert_array_equal(
        cold.draw(generator, z, label), plain.draw(generator, z / 2, label)
    )
    assert judge.run(state)["protocol"].endswith("last iterate, temperature 0.5")


def test_generated_and_real_samples_are_measured_by_one_program(caplog):
    cfg, playing, judge = built()
    with jax.log_compiles(True):
        judge.run(game.fresh(cfg, playing))
        judge.floor()
    said = [record.getMessage() for record in caplog.records]
    assert sum("Finished XLA compilation of jit(measure)" in line for line in said) == 1


@pytest.mark.parametrize(
    ("options", "due"),
    [
        ({}, [50, 100]),  # every report of a mixture
        ({"eval_every": 100}, [100]),
        ({"eval_every": 0}, []),
        ({"steps": 150, "eval_every": 100}, [100, 150]),  # and the end in any case
    ],
)
def test_evaluations_are_due_when_they_were_asked_for(options, due):
    cfg, _, judge = built(**options)
    assert [t for t in range(50, cfg.steps + 1, 50) if judge.due(t)] == due


def test_stacked_digits_are_told_apart_by_their_classes():
    rng = np.random.default_rng(0)
    digits = rng.integers(0, 10, (500, 3))
    images = np.zeros((500, 2, 2, 3), np.float32) + digits[:, None, None, :]

    def of(channel):  # a classifier that reads the brightness
        return None, jax.nn.one_hot(channel[:, 0, 0, 0].astype(int), 10)

    classified = evaluate._classified(of, 3, 10)
    triples = digits @ [100, 10, 1]
    np.testing.assert_array_equal(classified(images), triples)
    found = evaluate._of_stacks(classified, 1000)(images, None)
    assert found["modes"] == len(np.unique(triples))
    counts = np.bincount(triples, minlength=1000) / 500
    seen = counts[counts > 0]
    assert found["reverse_kl"] == pytest.approx(
        np.sum(seen * np.log(1000 * seen)), 1e-4
    )


def test_the_summary_has_the_final_and_the_best_value(tmp_path):
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "100.png").touch()
    told = {"protocol": "as ever", "mmd": 0.5, "modes": 8.0, "reverse_kl": None}
    rows = [
        {"step": 50, "d_loss": 1.0} | told,
        {"step": 100, "d_loss": 0.5} | told | {"mmd": 0.7, "modes": 3.0},
    ]
    assert summary.best(rows, "mmd") == (0.5, 50)
    assert summary.best(rows, "modes") == (8, 50)
    summary.write(tmp_path, POINTS, rows, {"mmd": 0.0, "modes": 25, "reverse_kl": 0.1})
    text = (tmp_path / "summary.md").read_text()
    assert "| mmd | 0.7 | 0.5 | 50 | 0 |" in text
    assert "| modes | 3 | 8 | 50 | 25 |" in text
    assert "| reverse_kl | - | - | - | 0.1 |" in text
    assert "hidden (4,)" in text and "seed 0" in text
    assert (tmp_path / "curves.png").exists()


@pytest.mark.parametrize("conditional", [False, True])
def test_averages_are_drawn_with_statistics_of_their_own(conditional):
    """Not with running means: those of training may be anything."""
    cfg = config.check(
        Config(
            dataset="digits",
            model="dcgan",
            width=2,
            ema=0.9,
            conditional=conditional,
            latent=4,
        )
    )
    playing = game.build(cfg)
    state = game.fresh(cfg, playing)
    lost = jax.tree.map(lambda x: x + np.nan, state.ema.stats)
    found = playing.generator(state._replace(ema=state.ema._replace(stats=lost)))
    z = jax.random.normal(jax.random.key(1), (2000, 4))
    label = np.arange(2000) % 10
    wanted, _ = jax.vmap(  # the axis that statistics are shared over
        lambda z, label: playing.nets.g.apply(state.ema, z, label, train=True),
        axis_name=step.ALL.axis,
    )(z[None], label[None])
    drawn = playing.draw(found, z, label)
    np.testing.assert_allclose(drawn, wanted[0], atol=0.1 * np.std(wanted))


def test_without_averages_the_last_iterate_is_drawn_with():
    cfg, playing, _ = built()
    state = game.fresh(cfg, playing)
    found = playing.generator(state)
    assert found.params is state.params.g and found.stats is state.stats.g
