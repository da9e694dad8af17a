"""A study: which trials there are, and which point of each contestant is reported.

Every contestant gets the same points of the space on the same few tuning seeds. Those
with the best medians are the finalists, run again on further seeds, which alone choose
one of them: the best of many points on few seeds is more often lucky than good. That
one is run on reporting seeds that tuning never saw, and so are the defaults. Tuned Adam
alone is also run on seeds of its own, for the targets.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from subsel.gan.ablation.contestants import CONTESTANTS, configured, identity
from subsel.gan.ablation.space import defaults
from subsel.gan.ablation.tasks import TASKS
from subsel.gan.ablation.trials import Protocol
from subsel.gan.checks import check as check_config
from subsel.gan.checks import one_of
from subsel.lab.errors import UsageError

PHASES = ("tune", "final", "target", "report", "default")
_SAMPLES = 6  # at least, in a metric that has 5 neighbours of each
TARGET = "adam"  # whose tuned median is the target
# The first seed of each phase.
_FIRST = dict(tune=0, final=5000, target=10_000, report=20_000, default=20_000)


class Job(NamedTuple):
    """Trials of one population: ``(index of the point, -1 for the defaults; seed)``."""

    task: str
    contestant: str
    phase: str
    members: tuple[tuple[int, int], ...]

    @property
    def name(self) -> str:
        """By which it is claimed."""
        first, last = self.members[0], self.members[-1]
        return f"{'/'.join(self[:3])}/{first[0]}.{first[1]}-{last[0]}.{last[1]}"

    @property
    def trials(self) -> list[str]:
        """Their names in the store."""
        return [trial(*self[:3], *member) for member in self.members]


def trial(task: str, contestant: str, phase: str, point: int, seed: int) -> str:
    """The name of a trial in the store.

    It holds a digest of the task and the contestant, so that a changed one is another.
    """
    which = identity(task, contestant)
    return f"{task}/{contestant}/{which}/{phase}/{point}/{seed}"


def check(protocol: Protocol, tasks, contestants) -> None:
    """Raises UsageError for a study that cannot be."""
    for field, value in vars(protocol).items():
        if value < 1:
            raise UsageError(f"--{field.replace('_', '-')} {value}: expected 1 or more")
    for name in tasks:
        one_of("task", name, TASKS)
    for name in contestants:
        one_of("optimizer", name, CONTESTANTS)
    if TARGET not in contestants:
        raise UsageError(
            f"--optimizers {' '.join(contestants)}: add {TARGET}, which sets the "
            "targets and is what all are compared with"
        )
    if protocol.finalists > protocol.trials:
        raise UsageError(
            f"--finalists {protocol.finalists} of {protocol.trials} points: expected "
            "at most --trials"
        )
    costs = {CONTESTANTS[name].gradients for name in contestants} | {1}
    each = int(np.lcm.reduce(sorted(costs))) * protocol.segments
    if protocol.budget % each:
        raise UsageError(
            f"a budget of {protocol.budget} gradients cannot be shared out evenly over "
            f"{protocol.segments} segments of rules that take "
            f"{', '.join(map(str, sorted(costs)))} gradients a step: try "
            f"{max(round(protocol.budget / each), 1) * each}"
        )
    for samples in ("curve_samples", "final_samples"):
        if getattr(protocol, samples) < _SAMPLES:
            flag = f"--{samples.replace('_', '-')} {getattr(protocol, samples)}"
            raise UsageError(f"{flag}: expected {_SAMPLES} or more, to compare them")
    for task, name in itertools.product(tasks, contestants):
        run = configured(
            *(TASKS[task], CONTESTANTS[name], defaults(CONTESTANTS[name].knobs)),
            *(0, protocol.budget),
        )
        try:
            check_config(run)
        except UsageError as error:
            raise UsageError(f"{name} on {task}: {error}") from None


def jobs(
    protocol: Protocol, task: str, contestant: str, results: dict
) -> Iterator[Job]:
    """All jobs of a pair that are known: those of the best point once it is."""
    found = best(protocol, task, contestant, results)
    of = {
        "tune": range(protocol.trials),
        "final": finalists(protocol, task, contestant, results) or (),
        "target": () if found is None or contestant != TARGET else (found,),
        "report": () if found is None else (found,),
        "default": (-1,),
    }
    for phase in PHASES:
        members = [(p, seed) for seed in seeds(protocol, phase) for p in of[phase]]
        yield from _chunks(protocol, task, contestant, phase, members)


def seeds(protocol: Protocol, phase: str) -> range:
    """Of a phase; only the best point and the defaults are run on the same."""
    few = {"tune": protocol.tuning_seeds, "final": protocol.finalist_seeds}
    if protocol.finalists == 1:
        few["final"] = 0  # there is nothing to choose
    return range(_FIRST[phase], _FIRST[phase] + few.get(phase, protocol.seeds))


def _chunks(protocol, task, contestant, phase, members):
    size = protocol.population
    for i in range(0, len(members), size):
        yield Job(task, contestant, phase, tuple(members[i : i + size]))


def score(result: dict, primary: str) -> float:
    """The primary metric of a trial at its end; infinite where it diverged."""
    value = (result["final"] or {}).get(primary)
    return np.inf if value is None else value


def medians(
    protocol: Protocol,
    task: str,
    contestant: str,
    phase: str,
    of: Sequence[int],
    results: dict,
) -> np.ndarray | None:
    """Median scores of points in a phase, ``[len(of)]``; None before all are there."""
    names = [
        [trial(task, contestant, phase, p, seed) for seed in seeds(protocol, phase)]
        for p in of
    ]
    if any(name not in results for row in names for name in row):
        return None
    primary = TASKS[task].primary
    scores = [[score(results[name], primary) for name in row] for row in names]
    return np.median(np.array(scores), axis=1)


def finalists(
    protocol: Protocol, task: str, contestant: str, results: dict
) -> list[int] | None:
    """The points with the smallest medians, best first; None before all are there."""
    every = range(protocol.trials)
    scores = medians(protocol, task, contestant, "tune", every, results)
    if scores is None:
        return None
    return np.argsort(scores, kind="stable")[: protocol.finalists].tolist()


def best(protocol: Protocol, task: str, contestant: str, results: dict) -> int | None:
    """The point that is reported, the best finalist; None before it is known."""
    few = finalists(protocol, task, contestant, results)
    if few is None or len(few) == 1:
        return few and few[0]
    scores = medians(protocol, task, contestant, "final", few, results)
    return None if scores is None else few[int(np.argmin(scores))]


def total(protocol: Protocol, tasks, contestants) -> int:
    """How many trials the whole study has."""
    each = protocol.trials * protocol.tuning_seeds + 2 * protocol.seeds
    each += protocol.finalists * len(seeds(protocol, "final"))
    targets = protocol.seeds * (TARGET in contestants)
    return len(tasks) * (len(contestants) * each + targets)
