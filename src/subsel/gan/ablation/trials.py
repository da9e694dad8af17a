"""Trials: members of one population, trained and measured as one program."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from subsel.gan import data, population, step
from subsel.gan.ablation import judges
from subsel.gan.ablation.contestants import Contestant, configured
from subsel.gan.ablation.judges import Judge
from subsel.gan.ablation.space import defaults
from subsel.gan.ablation.tasks import Task
from subsel.gan.config import Config, check
from subsel.gan.features import Made
from subsel.gan.models import Variables
from subsel.gan.step import State

_COSINES = ("d_cosine", "g_cosine", "pair_cosine", "snapshots_cosine")
_SHOWN = 4  # members whose samples are kept


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What every result of a study depends on."""

    budget: int = 3000
    """Gradients of each player, on batches of the task's size."""
    trials: int = 20
    """Points of the space, for every optimizer."""
    tuning_seeds: int = 2
    """Runs of each point; their median says which are the finalists."""
    finalists: int = 4
    """The best few points, run again before one is chosen; 1: the best is chosen."""
    finalist_seeds: int = 10
    """Further runs of each finalist; their median alone decides."""
    seeds: int = 20
    """Fresh runs of the best point, and of the defaults."""
    segments: int = 10
    """Points of a learning curve, evenly over the budget."""
    population: int = 20
    """Runs in one compiled program."""
    curve_samples: int = 2500
    """Samples for a point of a curve."""
    final_samples: int = 10_000
    """Samples for the final metrics; of images no more than the test split has."""


class Program(NamedTuple):
    """A structure of a task, compiled when it is first used, for any numbers."""

    play: Callable  # (states, numbers) -> (states, metrics), a segment of the curve
    fresh: Callable  # configurations -> states
    judge: Judge
    segment: int  # steps
    average: Callable  # states -> means of G over steps, to draw with
    draw: Callable  # (states, count) -> samples [M, count, ...] of the last iterate


@functools.lru_cache(maxsize=16)  # of --quick, all: its defaults come last
def program(
    structure: Config,
    task: Task,
    segments: int,
    data_dir: str | None,
    counts: tuple,
    network: Made | None,
) -> Program:
    """Of ``population.structure(cfg)``; the data are loaded and placed once."""
    playing = judges.playing(structure, data_dir)
    body = population.make_step(structure, playing, step.ALL)
    segment = structure.steps // segments
    run = step.make_run(body, segment)
    pool = playing.dataset.rows, playing.dataset.labels
    pool = jax.device_put(pool, step.sharding())
    slots = step.slots(structure.batch_size, structure.microbatches)

    def play(states, numbers):
        states, metrics, _ = run(states, (numbers, pool), slots)
        return states, jax.device_get(metrics)

    def fresh(cfgs):
        return population.fresh(cfgs, playing)

    @functools.partial(jax.jit, static_argnums=1)
    def draw(states, count):
        def one(generator, key):
            z_key, label_key = jax.random.split(key)
            z = jax.random.normal(z_key, (count, structure.latent))
            label = data.draw(playing.dataset, label_key, count)[1]
            return playing.draw(generator, z, label)

        return jax.vmap(one)(last_iterate(states), _addresses(states))

    average = jax.jit(jax.vmap(playing.generator))
    judge = judges.judge(task, data_dir, counts, network)
    return Program(play, fresh, judge, segment, average, draw)


def last_iterate(states: State) -> Variables:
    """Of G; the headline, since an average can hide what the optimizer does."""
    return Variables(states.params.g, states.stats.g)


def _addresses(states):
    return jax.vmap(lambda key: jax.random.fold_in(key, step.EVALUATION))(states.key)


def run(
    task: Task,
    contestant: Contestant,
    members: Sequence[tuple[dict, int]],
    protocol: Protocol,
    data_dir: str | None = None,
    network: Made | None = None,
    *,
    reported: bool = True,
) -> list[dict]:
    """Trains the members, and measures them on the way and at the end.

    Args:
        task: what is trained.
        contestant: by what.
        members: ``(point of the space, seed)`` each; at most the population. The last
            is repeated to fill it, so that a result depends on no other members.
        protocol: how long, and how it is measured.
        data_dir: where tensorflow-datasets keeps its sets.
        network: whose features images are compared in; this machine's own if left out.
        reported: whether to measure the mean of G over steps, and to return
            ``samples`` of the first members, as well.

    Returns:
        Of each member, a dictionary of JSON data: ``curve`` of the primary metric, the
        ``final`` metrics and those ``averaged`` (of the mean of G over steps), the
        untrained one's ``start``, ``finished`` steps, mean ``cosine`` between selection
        and plain gradient, ``seconds``, and of these ``compiling``, a share of the
        program's each. Not finite is None; a member that diverged has no final metrics.
    """
    begun = time.perf_counter()
    own, cfgs = _prepared(task, contestant, members, protocol, data_dir, network)
    states, numbers = own.fresh(cfgs), population.numbers(cfgs)
    keys = _addresses(states)

    def measured(states):
        return np.asarray(own.judge.points(last_iterate(states), keys)[task.primary])

    start, curves, cosines, times = measured(states), [], [], []
    for _ in range(protocol.segments):
        turn = time.perf_counter()
        states, metrics = own.play(states, numbers)
        times.append(time.perf_counter() - turn)
        # What a frozen member last was says nothing: diverged is worse than any number.
        whole = np.asarray(states.step) == own.segment * len(times)
        curves.append(np.where(whole, measured(states), np.nan))
        cosines.append({k: metrics[k].mean(0) for k in _COSINES if k in metrics})
    final = jax.device_get(own.judge.final(last_iterate(states), keys))
    averaged = {}
    if reported:
        averaged = jax.device_get(own.judge.final(own.average(states), keys))
    shown = np.asarray(own.draw(states, task.config.samples)) if reported else ()
    seconds = time.perf_counter() - begun
    shared = {
        "seconds": round(seconds / len(members), 4),
        "compiling": round(max(times[0] - np.median(times), 0.0) / len(members), 4),
    }
    cosine = {k: np.mean([found[k] for found in cosines], 0) for k in cosines[0]}
    rows = []
    for i in range(len(members)):
        row = {
            "curve": [_json(x[i]) for x in curves],
            "final": _of_member(final, i) if whole[i] else None,
            "averaged": _of_member(averaged, i) if whole[i] else None,
            "start": _json(start[i]),
            "finished": int(states.step[i]),
            "cosine": _of_member(cosine, i),
        }
        samples = {"samples": _rounded(shown[i])} if reported and i < _SHOWN else {}
        rows.append(row | samples | shared)
    return rows


def seconds(
    task: Task,
    contestant: Contestant,
    protocol: Protocol,
    data_dir: str | None = None,
    network: Made | None = None,
) -> tuple[float, float]:
    """Seconds of a member without compiling, and of compiling for a whole population,
    from a segment and an evaluation here."""
    members = [(defaults(contestant.knobs), 0)] * protocol.population
    own, cfgs = _prepared(task, contestant, members, protocol, data_dir, network)
    states, numbers = own.fresh(cfgs), population.numbers(cfgs)
    keys, turns = _addresses(states), []
    for _ in range(2):  # the first turn compiles
        times = [time.perf_counter()]
        states, _ = own.play(states, numbers)
        times.append(time.perf_counter())
        jax.block_until_ready(own.judge.points(last_iterate(states), keys))
        times.append(time.perf_counter())
        jax.block_until_ready(own.judge.final(last_iterate(states), keys))
        times.append(time.perf_counter())
        turns.append(np.diff(times))
    first, spent = turns
    whole = protocol.segments * sum(spent[:2]) + spent[2]
    return float(whole) / protocol.population, max(float(sum(first - spent)), 0.0)


def _prepared(task, contestant, members, protocol, data_dir, network):
    """The program, and the configurations of its members, the last one repeated."""
    cfgs = [
        check(configured(task, contestant, point, seed, protocol.budget))
        for point, seed in members
    ]
    size = protocol.population
    if len(cfgs) > size:
        raise ValueError(f"{len(cfgs)} members for a program of {size}")
    counts = protocol.curve_samples, protocol.final_samples
    structure = population.structure(cfgs[0])
    own = program(structure, task, protocol.segments, data_dir, counts, network)
    return own, cfgs + [cfgs[-1]] * (size - len(cfgs))


def _of_member(found, i):
    return {name: _json(x[i]) for name, x in found.items()}


def _rounded(samples):
    return [round(float(x), 3) for x in samples.ravel()]


def _json(x):
    x = float(x)
    return float(f"{x:.6g}") if math.isfinite(x) else None
