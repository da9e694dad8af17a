"""Comparing optimizers: the points, the jobs, the trials, and what is made of them."""

import csv
import dataclasses
import functools
import json
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from subsel.gan import features, game, step
from subsel.gan.ablation import (
    analysis,
    contestants,
    judges,
    launchers,
    running,
    space,
    study,
    trials,
)
from subsel.gan.ablation.contestants import CONTESTANTS
from subsel.gan.ablation.space import SPACE
from subsel.gan.ablation.tasks import TASKS
from subsel.gan.ablation.trials import Protocol
from subsel.gan.optimizers import OPTIMIZERS, Numbers
from subsel.lab.errors import UsageError
from subsel.lab.store import Store

TINY = Protocol(
    budget=24,
    trials=3,
    tuning_seeds=1,
    finalists=2,
    finalist_seeds=2,
    seeds=3,
    segments=2,
    population=3,
    curve_samples=50,
    final_samples=80,
)
SMALL = TASKS["ring"]._replace(
    config=dataclasses.replace(
        TASKS["ring"].config, hidden=(8,), batch_size=8, samples=5
    )
)


@pytest.fixture(scope="module", autouse=True)
def small_tasks():
    """The ring with small networks in place of the full one."""
    before = TASKS["ring"]
    TASKS["ring"] = SMALL
    yield
    TASKS["ring"] = before


# Points


def test_a_ball_is_not_drawn_with_the_keys_of_the_batch():
    """At seed 0 a probe would be the noise that is added to the data."""
    params = {"a": jnp.zeros(2), "b": jnp.zeros(512)}
    tx = OPTIMIZERS["ball_mean"](Numbers(1.0, candidates=2, seed=jnp.uint32(0)))
    updates, _ = tx.update(params, tx.init(params), params, grad_fn=lambda x: x)
    batch = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 0), 0)
    data_key = jax.random.split(batch, 3)[0]
    noise = jax.random.normal(jax.random.split(data_key)[1], (256, 2)).ravel()
    assert jnp.abs(updates["b"]).min() > 0.9  # Adam's first step: the signs
    assert abs(np.corrcoef(updates["b"], noise)[0, 1]) < 0.2


def test_all_contestants_try_the_same_points_of_the_shared_space():
    lists = {name: space.points(one.knobs, 20) for name, one in CONTESTANTS.items()}
    adam = lists["adam"]
    for name, points in lists.items():
        shared = [{k: v for k, v in point.items() if k in SPACE} for point in points]
        assert shared == adam, name
        assert set(points[0]) == {*SPACE, *CONTESTANTS[name].knobs}
    assert lists["ball_min_norm"][0]["radius"] != lists["ball_min_norm"][1]["radius"]
    assert adam[:10] == space.points(CONTESTANTS["adam"].knobs, 10)
    for name, axis in SPACE.items():
        values = [point[name] for point in adam]
        if axis.choices:
            assert set(values) == set(axis.choices)
        else:
            assert axis.low <= min(values) < max(values) <= axis.high
            # Every quarter of the axis, as its scale has it, is tried.
            where = np.log(values) - math.log(axis.low)
            quarter = where / math.log(axis.high / axis.low) * 4
            assert set(np.floor(quarter)) == {0, 1, 2, 3}


def test_points_at_the_edge_of_the_space_are_named():
    for name in ("adam", "sgd"):
        one = CONTESTANTS[name]
        points = space.points(one.knobs, 20)
        found = [space.edges(one.knobs, 20, i, one.unused) for i in range(20)]
        for point, edges in zip(points, found, strict=True):
            for key in ("learning_rate", "ratio", "eps"):
                axis = SPACE[key]
                u = math.log(point[key] / axis.low) / math.log(axis.high / axis.low)
                near = not 0.05 <= u <= 0.95 and not (name == "sgd" and key == "eps")
                assert (key in edges) == near
    assert any(found)


def test_budgets_are_gradients_on_the_tasks_batch():
    point = space.defaults(CONTESTANTS["adam"].knobs)
    for name, one in CONTESTANTS.items():
        point = space.defaults(one.knobs)
        cfg = contestants.configured(SMALL, one, point, 7, 240)
        assert cfg.steps * one.gradients == 240, name
        assert cfg.steps * one.cost * cfg.batch_size == 240 * SMALL.config.batch_size
        assert cfg.seed == 7 and cfg.d_learning_rate == cfg.learning_rate


def test_a_changed_contestant_is_another_one(monkeypatch):
    before = contestants.identity("ring", "adam")
    renamed = CONTESTANTS["adam"]._replace(about="the same")
    monkeypatch.setitem(CONTESTANTS, "adam", renamed)
    assert contestants.identity("ring", "adam") == before
    monkeypatch.setitem(CONTESTANTS, "adam", renamed._replace(rate=2.0))
    assert contestants.identity("ring", "adam") != before
    assert contestants.identity("grid", "adam") != before


@pytest.mark.parametrize("name", CONTESTANTS)
def test_controls_are_of_contestants(name):
    one = CONTESTANTS[name]
    assert one.control_of in {None, *CONTESTANTS}
    assert not (one.rule and one.control_of)
    if one.control_of and one.changes.get("candidates"):
        assert one.gradients == CONTESTANTS[one.control_of].gradients


# Trials


def alone(cfg):
    """The run of one configuration, by the step that train_gan.py has."""
    playing = game.build(cfg)
    body = step.make_step(playing.nets, playing.tx, playing.rules, step.ALL)
    pool = playing.dataset.rows, playing.dataset.labels
    run = step.make_run(body, cfg.steps)
    return run(game.fresh(cfg, playing), pool, step.slots(cfg.batch_size))[0]


@pytest.mark.parametrize(
    "name", [name for name in OPTIMIZERS if name.startswith(("history_", "ball_"))]
)
def test_one_candidate_is_adam_bit_for_bit(name):
    """The control of every rule with K candidates: K = 1 is no selection."""
    given = Numbers(0.1, eps=1e-6, candidates=1)
    rule, adam = OPTIMIZERS[name](given), OPTIMIZERS["adam"](given)
    params = {"w": jnp.ones((3, 2)), "b": jnp.zeros(2)}
    states = [tx.init(params) for tx in (rule, adam)]
    update = jax.jit(lambda g, s: rule.update(g, s, params, grad_fn=lambda p: p))
    reference = jax.jit(adam.update)
    for i in range(5):
        keys = jax.random.split(jax.random.key(i))
        grads = {
            k: jax.random.normal(key, params[k].shape)
            for k, key in zip(params, keys, strict=True)
        }
        ours, states[0] = update(grads, states[0])
        theirs, states[1] = reference(grads, states[1])
        for k in params:
            np.testing.assert_array_equal(ours[k], theirs[k])


def test_a_trial_is_the_run_that_it_would_be_alone():
    contestant = CONTESTANTS["adam"]
    point = space.defaults(contestant.knobs)
    members = [(point, 1), (point | {"learning_rate": 1e-3}, 2)]
    rows = trials.run(SMALL, contestant, members, TINY)
    assert [row["finished"] for row in rows] == [24, 24]
    assert len(rows[0]["curve"]) == 2 and len(rows[0]["samples"]) == 5 * 2
    cfg = contestants.configured(SMALL, contestant, *members[1], TINY.budget)
    state = jax.tree.map(lambda x: x[None], alone(cfg))
    counts = TINY.curve_samples, TINY.final_samples
    judge = judges.judge(SMALL, None, counts)
    keys = jax.vmap(lambda k: jax.random.fold_in(k, step.EVALUATION))(state.key)
    last = judge.final(trials.last_iterate(state), keys)
    mean = judge.final(state.ema, keys)
    for found, expected in ((rows[1]["final"], last), (rows[1]["averaged"], mean)):
        assert found.keys() == expected.keys() >= {"sliced_wasserstein", "modes"}
        for key, x in found.items():
            if x is not None:
                assert x == pytest.approx(float(expected[key][0]), rel=1e-2, abs=1e-2)
    again = trials.run(SMALL, contestant, members[:1], TINY)[0]
    for row in (again, rows[0]):
        del row["seconds"], row["compiling"]
    assert again == rows[0]  # bit for bit, whoever else is in the population


def test_a_run_that_diverges_is_the_worst_and_stays_in():
    contestant = CONTESTANTS["sgd"]
    point = space.defaults(contestant.knobs)
    members = [(point, 1), (point | {"learning_rate": 1e30}, 1)]
    fine, wild = trials.run(SMALL, contestant, members, TINY)
    assert fine["final"] and wild["final"] is None and wild["averaged"] is None
    assert wild["finished"] < 24 and wild["curve"][-1] is None
    assert study.score(wild, "sliced_wasserstein") == math.inf


def test_images_are_judged_by_the_metrics_of_a_run():
    """The floor of digits is what evaluate.py finds for the same real samples."""
    standard = judges.standard(TASKS["digits"], None, (100, 10_000))
    real = standard["real"]
    assert {"frechet", "density", "coverage", "classes"} <= real.keys()
    assert 0.05 < real["frechet"] < 0.4 and real["classes"] == 10
    assert standard["shape"] == [8, 8, 1]
    name = standard["network"]["name"]
    assert re.fullmatch(r"digits-[0-9a-f]{8}-[0-9a-f]{4}", name)
    assert f"599 samples, of curves 100, test split, {name}" in standard["judge"]


def test_a_study_keeps_the_network_that_judges(tmp_path, monkeypatch):
    """Another machine, whose own has other weights, uses that one."""
    task = TASKS["digits"]._replace(
        config=dataclasses.replace(SMALL.config, dataset="digits")
    )
    monkeypatch.setitem(TASKS, "digits", task)
    store = protocol_store(tmp_path / "s.db")
    (held_to,) = running.standards(TINY, ["digits"], store).values()
    assert json.loads(json.dumps(held_to)) == held_to
    network = judges.network_of(held_to)
    member = [(space.defaults(()), 1)]

    def measured(network=None):
        judges.judge.cache_clear(), trials.program.cache_clear()
        found = trials.run(task, CONTESTANTS["sgd"], member, TINY, None, network)
        return found[0]["final"]

    before = measured(network)
    assert measured() == before  # this machine's own is that one
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(features, "RECIPE", features.RECIPE | {"steps": 1500})
        elsewhere.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert measured()["frechet"] != before["frechet"]
        assert measured(network) == before
        assert running.standards(TINY, ["digits"], store) == {"digits": held_to}
    judges.judge.cache_clear(), trials.program.cache_clear()


def test_a_store_without_its_network_takes_no_more_runs(tmp_path):
    store = protocol_store(tmp_path / "s.db")
    store.finish("job", {study.trial("digits", "sgd", "tune", 0, 0): {}})
    with pytest.raises(UsageError, match="runs of digits and not the network"):
        running.standards(TINY, ["digits"], store)
    assert store.kept(judges.kept_as(TASKS["digits"])) is None


# Studies


def run(store, names=("adam", "history_min_norm"), perform=None):
    perform = perform or functools.partial(running.perform, TINY, {"ring": None})
    running.run(TINY, ["ring"], names, store, launchers.local(perform), patience=0.05)


def fake(job, calls=None):
    """Results without training: the larger the point, the better.

    Only on seeds of tuning is the largest but one.
    """
    if calls is not None:
        calls.append(job)
    point = space.defaults(CONTESTANTS[job.contestant].knobs)
    good = CONTESTANTS[job.contestant].rule
    rows = {}
    for name, (index, seed) in zip(job.trials, job.members, strict=True):
        lucky = index == 1 and job.phase == "tune"
        x = 0.9 - 0.1 * index - 0.3 * good + 0.01 * (seed % 10) - 0.2 * lucky
        rows[name] = {
            "point": point,
            "curve": [1.0, x],
            "final": None if (index, seed) == (0, 0) else {"sliced_wasserstein": x},
            "averaged": {"sliced_wasserstein": x},
            "start": 1.2,
            "finished": 24,
            "cosine": {},
            "seconds": 1.0,
            "compiling": 0.1,
        }
    return rows


def protocol_store(path):
    return Store(path, dataclasses.asdict(TINY))


def analysed(store, tasks, names, protocol=TINY):
    held_to = running.standards(protocol, tasks, store)
    return analysis.analyse(protocol, tasks, names, store.results(), held_to)


def test_a_study_tunes_on_some_seeds_and_reports_on_others(tmp_path):
    store, calls = protocol_store(tmp_path / "s.db"), []
    run(store, perform=functools.partial(fake, calls=calls))
    assert {job.phase for job in calls} == set(study.PHASES)
    assert [job.phase for job in calls][-2:] == ["default"] * 2  # the last of all
    seeds = {phase: set(study.seeds(TINY, phase)) for phase in study.PHASES}
    assert seeds["report"] == seeds["default"]  # paired
    assert not seeds["tune"] & seeds["report"] and not seeds["target"] & seeds["report"]
    assert not seeds["final"] & (seeds["tune"] | seeds["target"] | seeds["report"])
    again = [m for job in calls if job.phase == "final" for m in job.members]
    assert set(again) == {(point, seed) for point in (1, 2) for seed in seeds["final"]}
    reports = {job.contestant: job for job in calls if job.phase == "report"}
    # The best of the finalists, not the one that was lucky.
    assert all(m[0] == 2 for job in reports.values() for m in job.members)
    assert [job.contestant for job in calls if job.phase == "target"] == ["adam"]
    names = store.names()
    assert len(names) == study.total(TINY, ["ring"], ("adam", "history_min_norm"))
    run(store, perform=lambda job: pytest.fail("all was there"))
    there, none = store.results(), {"ring": None}
    assert running.estimate(TINY, ["ring"], ("adam",), there, none) == (
        "all trials are there"
    )
    found = running.estimate(TINY, ["ring"], ("adam", "sgd"), there, none)
    assert found.startswith("about 0 h 00 min alone; ring: 13 trials of 1 s")


def test_without_finalists_the_first_round_decides(tmp_path):
    protocol, calls = dataclasses.replace(TINY, finalists=1), []
    store = Store(tmp_path / "s.db", dataclasses.asdict(protocol))
    perform = functools.partial(fake, calls=calls)
    running.run(protocol, ["ring"], ("adam",), store, launchers.local(perform))
    assert {job.phase for job in calls} == set(study.PHASES) - {"final"}
    assert {m[0] for job in calls if job.phase == "report" for m in job.members} == {1}
    found = analysed(store, ["ring"], ("adam",), protocol)
    adam = found["cells"]["adam"]["ring"]
    assert adam["finalists"] == pytest.approx([0.6]) and not adam["overturned"]


def test_an_interrupted_study_goes_on_with_what_is_missing(tmp_path):
    store, calls = protocol_store(tmp_path / "s.db"), []

    def interrupted(job):
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fake(job, calls)

    with pytest.raises(KeyboardInterrupt):
        run(store, perform=interrupted)
    other = protocol_store(tmp_path / "s.db")  # nothing is left claimed
    run(other, perform=functools.partial(fake, calls=calls))
    assert len({job.name for job in calls}) == len(calls) == 11


def test_what_a_study_found(tmp_path):
    store, names = (
        protocol_store(tmp_path / "s.db"),
        ("adam", "sgd", "history_min_norm"),
    )
    run(store, names, perform=fake)
    found = analysed(store, ["ring"], names)
    ring, cells = found["tasks"]["ring"], found["cells"]
    assert ring["untrained"] == 1.2
    assert ring["target"] == pytest.approx(0.71)  # Adam's median at the last point
    adam, rule = cells["adam"]["ring"], cells["history_min_norm"]["ring"]
    assert adam["values"] == pytest.approx([0.7, 0.71, 0.72])
    assert adam["success"] == [2, 3] and adam["times"] == [24, 24, None]
    floor = ring["floor"]
    assert adam["scores"][0] == pytest.approx((1.2 - 0.7) / (1.2 - floor), rel=1e-5)
    pair = rule["against"]["adam"]
    assert pair["improvement"] == (1, 1, 1) and pair["p"] == pytest.approx(0.1)
    assert pair["p_holm"] == pytest.approx(0.2)  # of two comparisons
    assert pair["side"] == 0  # three seeds can never be sure
    assert "averaged_against" in rule and adam["averaged_against"] == {}
    assert rule["averaged_against"]["adam"] == pair  # fakes have one number for both
    assert ring["curve_floor"] > floor > 0  # of fewer samples
    assert rule["overturned"] and len(rule["finalists"]) == 2
    assert cells["sgd"]["ring"]["against"]["adam"]["improvement"].value == 0.5
    assert rule["compiling"] == pytest.approx(0.3)  # three members' shares
    assert rule["tuning"][0] is None and rule["expected_best"][0] < rule["scores"][0]
    overall = found["overall"]
    assert overall["adam"]["against"] is None
    pair = overall["history_min_norm"]["against"]
    assert pair["improvement"] == (1, 1, 1) and pair["side"] == 0
    normal = 2 * stats.norm.sf(4.5 / np.sqrt(9 / 12 * 7))  # U is 9 of 9
    assert pair["p"] == pytest.approx(normal)
    assert pair["p_holm"] == pytest.approx(2 * normal)
    assert overall["history_min_norm"]["score"].low > overall["adam"]["score"].high
    analysis.save(found, store.results(), tmp_path / "out")
    saved = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert saved["cells"]["adam"]["ring"]["success"] == [2, 3]
    with (tmp_path / "out" / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(store.names())
    assert rows[0]["task"] == "ring" and float(rows[0]["final_sliced_wasserstein"])
    for row in rows:  # of fakes that have finished the same
        last, mean = (row[f"{of}_sliced_wasserstein"] for of in ("final", "averaged"))
        assert mean == last or (last == "" and float(mean))


def test_a_study_that_is_not_done_shows_what_there_is(tmp_path):
    store = protocol_store(tmp_path / "s.db")
    nothing = analysis.analyse(TINY, ["ring"], ["adam"], {}, {})
    assert nothing["cells"] == nothing["tasks"] == nothing["overall"] == {}
    run(store, ["adam"], perform=fake)
    found = analysed(store, ["ring", "grid"], ["adam", "sgd"])
    assert set(found["tasks"]) == {"ring"} and set(found["cells"]) == {"adam"}
    assert found["asked"]["tasks"] == ["ring", "grid"]


def test_where_adams_runs_diverge_there_is_no_target_to_reach(tmp_path):
    def diverging(job):
        rows = fake(job)
        for row in rows.values():
            if job.phase == "target":
                row["curve"] = [None, None]
        return rows

    store = protocol_store(tmp_path / "s.db")
    run(store, ["adam"], perform=diverging)
    found = analysed(store, ["ring"], ["adam"])
    assert found["tasks"]["ring"]["target"] is None
    assert found["cells"]["adam"]["ring"]["success"] == [0, 3]
    json.dumps(found, allow_nan=False)


def test_a_run_that_diverged_is_worse_than_one_that_is_bad(tmp_path):
    """Both score 0; rank tells them apart."""

    def bad(job):
        rows = fake(job)
        for row in rows.values():
            row["final"] = {"sliced_wasserstein": 5.0}
            if job.contestant == "sgd" and job.phase == "report":
                row["final"] = None
        return rows

    store, names = protocol_store(tmp_path / "s.db"), ("adam", "sgd")
    run(store, names, perform=bad)
    found = analysed(store, ["ring"], names)["cells"]["sgd"]
    assert found["ring"]["scores"] == [0, 0, 0] and found["ring"]["diverged"] == 3
    assert found["ring"]["against"]["adam"]["improvement"].value == 0


def test_rules_are_compared_with_their_controls():
    assert contestants.controls("history_min_norm") == [
        "history_random",
        "history_longest",
    ]
    assert contestants.controls("reflect_lookahead") == ["lookahead_minimax"]
    assert contestants.controls("adam_r1") == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": 0}, "--seeds 0: expected 1 or more"),
        ({"budget": 25}, "try 24"),
        ({"curve_samples": -1}, "--curve-samples -1"),
        ({"final_samples": 1}, "--final-samples 1: expected 6 or more"),
        ({"finalists": 4}, "--finalists 4 of 3 points"),
    ],
)
def test_studies_that_cannot_be_are_refused(change, message):
    protocol = dataclasses.replace(TINY, **change)
    with pytest.raises(UsageError, match=message):
        study.check(protocol, ["ring"], ["adam", "extragradient_adam", "ball_mean"])


def test_a_study_whose_runs_cannot_be_is_refused_before_it_begins():
    short = dataclasses.replace(TINY, budget=120)
    with pytest.raises(UsageError, match="snapshots_mean on ring: --snapshot-every"):
        study.check(short, ["ring"], ["adam", "snapshots_mean"])


def test_a_study_needs_adam():
    with pytest.raises(UsageError, match="--optimizers sgd: add adam"):
        study.check(TINY, ["ring"], ["sgd"])


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="unknown task 'rng'.*'ring'"):
        study.check(TINY, ["rng"], ["adam"])
    with pytest.raises(UsageError, match="unknown optimizer 'adan'.*'adam'"):
        study.check(TINY, ["ring"], ["adan"])
