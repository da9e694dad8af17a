"""What a study found: one dictionary of JSON data, from which reports are written."""

import csv
import dataclasses
import json
import math
from pathlib import Path

import numpy as np

from subsel.gan.ablation import study
from subsel.gan.ablation.comparison import LEVELS, compare, number, overall, plain
from subsel.gan.ablation.contestants import CONTESTANTS, controls, identity
from subsel.gan.ablation.space import edges
from subsel.gan.ablation.study import TARGET
from subsel.gan.ablation.tasks import TASKS
from subsel.gan.ablation.trials import Protocol
from subsel.lab import statistics
from subsel.lab.files import atomic

# From this share of the budget on, at a point of the curve, the target is taken: what
# tuned Adam reaches there others may reach somewhat later (AlgoPerf, Dahl 2023).
_TARGET_AT = 0.75
_COLUMNS = ("task", "optimizer", "phase", "point", "seed")


def analyse(
    protocol: Protocol, tasks, contestants, results: dict, standards: dict
) -> dict:
    """All numbers of a report, of what is there so far.

    Args:
        protocol: of the study.
        tasks, contestants: names, in the order of the report.
        results: of the trials, by name.
        standards: of tasks, from :func:`judges.standard`.

    Returns:
        ``protocol``; ``asked``, the names; ``tasks``, with what real samples score,
        what an untrained G does and the target; ``cells[contestant][task]``, the
        numbers of one pair; and ``overall[contestant]``, those over all of these
        tasks, of contestants that have all. Diverged runs are None in lists of values,
        and score 0; where runs are compared, they are worse than any number.

        A score is ``(untrained - x) / (untrained - real)`` of the primary metric x, at
        least 0; 1 is what real samples score.
    """
    known = {
        task: _of_task(protocol, task, results, standards.get(task)) for task in tasks
    }
    cells = {}
    for name in contestants:
        found = {
            task: _of_pair(protocol, task, name, known[task], results)
            for task in tasks
            if known[task]
        }
        if found := {task: cell for task, cell in found.items() if cell}:
            cells[name] = found
    known = {task: of for task, of in known.items() if of}
    compare(cells)
    return {
        "protocol": dataclasses.asdict(protocol),
        "asked": {"tasks": list(tasks), "contestants": list(contestants)},
        "tasks": known,
        "contestants": {name: _about(name) for name in cells},
        "cells": cells,
        "overall": overall(list(known), cells),
        "levels": LEVELS.tolist(),
    }


def save(found: dict, results: dict, folder: Path) -> None:
    """``analysis.json`` without samples, and ``runs.csv``, a line for every trial."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, run in sorted(results.items()):
        task, contestant, which, phase, point, seed = name.split("/")
        if task not in found["cells"].get(contestant, {}):
            continue
        if which == identity(task, contestant):
            where = zip(_COLUMNS, (task, contestant, phase, point, seed), strict=True)
            rows.append(dict(where) | _flat(CONTESTANTS[contestant], run))
    columns = dict.fromkeys(key for row in rows for key in row)
    with atomic(folder / "runs.csv") as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    cells = {
        name: {task: {**cell, "samples": []} for task, cell in of.items()}
        for name, of in found["cells"].items()
    }
    with atomic(folder / "analysis.json") as part:
        part.write_text(json.dumps(found | {"cells": cells}) + "\n")


def _flat(contestant, run):
    of = {
        f"{which}_{key}": x
        for which in ("final", "averaged")
        for key, x in (run[which] or {}).items()
    }
    of |= {"finished": run["finished"], "seconds": run["seconds"]}
    return _applied(contestant, run["point"]) | of


def _about(name):
    one = CONTESTANTS[name]
    return {
        "about": one.about,
        "rule": one.rule,
        "control_of": one.control_of,
        "controls": list(controls(name)),
        "gradients": one.gradients,
        "knobs": list(one.knobs),
    }


def _runs(protocol, task, name, phase, results, found):
    """The results of a phase, all of them or none."""
    point = -1 if phase == "default" else found
    names = [
        study.trial(task, name, phase, point, seed)
        for seed in study.seeds(protocol, phase)
    ]
    return [results[n] for n in names] if all(n in results for n in names) else []


def _of_task(protocol, task, results, standard):
    """What runs of a task are compared with; None before tuned Adam is there."""
    found = study.best(protocol, task, TARGET, results)
    goal = _runs(protocol, task, TARGET, "target", results, found)
    reports = _runs(protocol, task, TARGET, "report", results, found)
    if not goal or not reports or not standard:
        return None
    primary = TASKS[task].primary
    at = math.ceil(_TARGET_AT * protocol.segments) - 1
    return {
        "about": TASKS[task].about,
        "judge": standard["judge"],
        "primary": primary,
        "real": standard["real"],
        "floor": standard["real"][primary],
        "curve_floor": standard["curve_floor"],
        "untrained": float(np.median([run["start"] for run in reports])),
        "target": plain(np.median([number(run["curve"][at]) for run in goal])),
        "target_at": (at + 1) / protocol.segments,
        "shape": standard["shape"],
    }


def _of_pair(protocol, task, name, of_task, results):
    """The numbers of one contestant on one task; None before its runs are there."""
    found = study.best(protocol, task, name, results)
    runs = _runs(protocol, task, name, "report", results, found)
    if not runs:
        return None
    primary, contestant = of_task["primary"], CONTESTANTS[name]
    values = np.array([study.score(run, primary) for run in runs])
    score = _scores(values, of_task)
    curves = np.array([[number(x) for x in run["curve"]] for run in runs])
    cost = np.arange(1, protocol.segments + 1) * protocol.budget / protocol.segments
    target = of_task["target"]  # none where half of Adam's runs have diverged
    reached = np.isfinite(curves) & (curves <= (-np.inf if target is None else target))
    hit = reached.any(1)
    times = np.where(hit, cost[np.argmax(reached, axis=1)], np.inf)
    every, few = range(protocol.trials), study.finalists(protocol, task, name, results)
    tuned = study.medians(protocol, task, name, "tune", every, results)
    decisive = tuned[few]
    if len(few) > 1:
        decisive = study.medians(protocol, task, name, "final", few, results)
    initial = _runs(protocol, task, name, "default", results, found)
    by_default = np.array([study.score(run, primary) for run in initial])
    finite = [run["final"] for run in runs if run["final"]]
    averaged = [number((run["averaged"] or {}).get(primary)) for run in runs]
    return {
        "point": _applied(contestant, runs[0]["point"]),
        "edges": edges(contestant.knobs, protocol.trials, found, contestant.unused),
        "values": plain(values),
        "median": plain(np.median(values)),
        "averaged": plain(np.median(averaged)),
        "averaged_values": plain(averaged),
        "diverged": int(np.sum(~np.isfinite(values))),
        "scores": plain(score),
        "score": statistics.interquartile_mean(score[:, None]),
        "success": [int(hit.sum()), len(hit)],
        "success_interval": statistics.clopper_pearson(int(hit.sum()), len(hit)),
        "times": plain(times),
        "tuning": plain(tuned),
        "finalists": plain(np.sort(decisive)),
        "overturned": found != few[0],
        "expected_best": plain(statistics.expected_best(_scores(tuned, of_task))),
        "default_values": plain(by_default),
        "default_median": plain(np.median(by_default)) if initial else None,
        "curve": {
            "gradients": plain(cost),
            "median": plain(_quantile(curves, 0.5)),
            "low": plain(_quantile(curves, 0.25)),
            "high": plain(_quantile(curves, 0.75)),
        },
        "final": {
            key: plain(np.median([number(one[key]) for one in finite]))
            for key in (finite[0] if finite else {})
        },
        "cosine": {
            key: plain(np.median([number(run["cosine"][key]) for run in runs]))
            for key in runs[0]["cosine"]
        },
        "seconds": plain(
            np.median([run["seconds"] - run["compiling"] for run in runs])
        ),
        "compiling": _compiling(protocol, task, name, results),
        "samples": [run["samples"] for run in runs if "samples" in run],
    }


def _applied(contestant, point):
    """A point with the learning rate that its optimizer is given."""
    return point | {"learning_rate": plain(point["learning_rate"] * contestant.rate)}


def _compiling(protocol, task, name, results):
    """Seconds that the program of a pair took to compile, where it was compiled."""
    tuned = [
        results[study.trial(task, name, "tune", point, seed)]
        for seed in study.seeds(protocol, "tune")
        for point in range(protocol.trials)
    ]
    size = min(protocol.population, len(tuned))
    return plain(size * max(run["compiling"] for run in tuned))


def _scores(values, of_task):
    start, floor = of_task["untrained"], of_task["floor"]
    with np.errstate(invalid="ignore"):
        return np.clip((start - np.asarray(values)) / (start - floor), 0, None)


def _quantile(curves, q):
    """Over runs; of two neighbours the worse, so that infinity spoils no others."""
    return np.quantile(curves, q, axis=0, method="higher")
