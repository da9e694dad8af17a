"""What a study found: one dictionary of JSON data, from which reports are written."""

import csv
import dataclasses
import json
import math
from pathlib import Path

import numpy as np

from subsel.gan.ablation import study, trials
from subsel.gan.ablation.contestants import CONTESTANTS, TASKS, edges
from subsel.gan.ablation.study import TARGET
from subsel.gan.ablation.trials import Protocol
from subsel.lab import statistics
from subsel.lab.files import atomic

# After this share of the budget the target is taken: what tuned Adam reaches there may
# be reached with a third of the gradients more (AlgoPerf, Dahl 2023).
_TARGET_AT = 0.75
_COLUMNS = ("task", "optimizer", "phase", "point", "seed")
_LEVELS = np.linspace(0, 1, 101)


def analyse(
    protocol: Protocol, tasks, contestants, results: dict, data_dir: str | None = None
) -> dict:
    """All numbers of a report, of what is there so far.

    Args:
        protocol: of the study.
        tasks, contestants: names, in the order of the report.
        results: of the trials, by name.
        data_dir: where tensorflow-datasets keeps its sets.

    Returns:
        ``protocol``; ``tasks``, with what real samples score, what an untrained G does
        and the target; ``cells[contestant][task]``, the numbers of one pair; and
        ``overall[contestant]``, those over all tasks, of contestants that have all.
        Diverged runs are None in lists of values, and score 0.

        A score is ``(untrained - x) / (untrained - real)`` of the primary metric x, at
        least 0; 1 is what real samples score.
    """
    known = {task: _of_task(protocol, task, results, data_dir) for task in tasks}
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
    _compare(cells)
    return {
        "protocol": dataclasses.asdict(protocol),
        "tasks": known,
        "contestants": {name: _about(name) for name in cells},
        "cells": cells,
        "overall": _overall(protocol, list(known), cells),
        "levels": _LEVELS.tolist(),
    }


def save(found: dict, results: dict, folder: Path) -> None:
    """``analysis.json`` without samples, and ``runs.csv``, a line for every trial."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, run in sorted(results.items()):
        task, contestant, _, phase, point, seed = name.split("/")
        if task in found["tasks"] and contestant in found["cells"]:
            which = [task, contestant, phase, point, seed]
            rows.append(dict(zip(_COLUMNS, which, strict=True)) | _flat(run))
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


def _flat(run):
    of = {f"final_{key}": x for key, x in (run["final"] or {}).items()}
    return run["point"] | {"finished": run["finished"], "seconds": run["seconds"]} | of


def _about(name):
    one = CONTESTANTS[name]
    return {
        "about": one.about,
        "rule": one.rule,
        "control_of": one.control_of,
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


def _of_task(protocol, task, results, data_dir):
    """What runs of a task are compared with; None before tuned Adam is there."""
    found = study.best(protocol, task, TARGET, results)
    goal = _runs(protocol, task, TARGET, "target", results, found)
    reports = _runs(protocol, task, TARGET, "report", results, found)
    if not goal or not reports:
        return None
    primary = TASKS[task].primary
    at = math.ceil(_TARGET_AT * protocol.segments) - 1
    counts = protocol.curve_samples, protocol.final_samples
    real = trials.floor(TASKS[task], data_dir, counts)
    return {
        "about": TASKS[task].about,
        "primary": primary,
        "real": real,
        "floor": real[primary],
        "untrained": float(np.median([run["start"] for run in reports])),
        "target": float(np.median([_number(run["curve"][at]) for run in goal])),
        "shape": list(trials.shape(TASKS[task], data_dir)),
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
    curves = np.array([[_number(x) for x in run["curve"]] for run in runs])
    cost = np.arange(1, protocol.segments + 1) * protocol.budget / protocol.segments
    reached = curves <= of_task["target"]
    hit = reached.any(1)
    times = np.where(hit, cost[np.argmax(reached, axis=1)], np.inf)
    tuned = study.tuning(protocol, task, name, results)
    initial = _runs(protocol, task, name, "default", results, found)
    by_default = np.array([study.score(run, primary) for run in initial])
    finite = [run["final"] for run in runs if run["final"]]
    averaged = [_number((run["averaged"] or {}).get(primary)) for run in runs]
    return {
        "point": runs[0]["point"],
        "edges": edges(contestant, protocol.trials, found),
        "values": _plain(values),
        "median": _plain(np.median(values)),
        "averaged": _plain(np.median(averaged)),
        "diverged": int(np.sum(~np.isfinite(values))),
        "scores": _plain(score),
        "score": statistics.interquartile_mean(score[:, None]),
        "success": [int(hit.sum()), len(hit)],
        "success_interval": statistics.clopper_pearson(int(hit.sum()), len(hit)),
        "times": _plain(times),
        "tuning": _plain(tuned),
        "expected_best": _plain(statistics.expected_best(_scores(tuned, of_task))),
        "default_values": _plain(by_default),
        "default_median": _plain(np.median(by_default)) if initial else None,
        "curve": {
            "gradients": _plain(cost),
            "median": _plain(_quantile(curves, 0.5)),
            "low": _plain(_quantile(curves, 0.25)),
            "high": _plain(_quantile(curves, 0.75)),
        },
        "final": {
            key: _plain(np.median([_number(one[key]) for one in finite]))
            for key in (finite[0] if finite else {})
        },
        "cosine": {
            key: _plain(np.median([_number(run["cosine"][key]) for run in runs]))
            for key in runs[0]["cosine"]
        },
        "seconds": _plain(np.median([run["seconds"] for run in runs])),
        "compiling": _plain(np.median([run["compiling"] for run in runs])),
        "samples": [run["samples"] for run in runs if "samples" in run],
    }


def _compare(cells):
    """Each against tuned Adam on each task; all p values adjusted together."""
    adam, pairs = cells.get(TARGET, {}), []
    for name, found in cells.items():
        for task, cell in found.items():
            if name == TARGET or task not in adam:
                continue
            own, other = (np.array(x["scores"]) for x in (cell, adam[task]))
            cell["improvement"] = statistics.improvement(own[:, None], other[:, None])
            cell["p"] = statistics.mann_whitney(own, other)
            pairs.append(cell)
    adjusted = statistics.holm([cell["p"] for cell in pairs])
    for cell, p in zip(pairs, adjusted, strict=True):
        cell["p_holm"] = float(p)


def _overall(protocol, tasks, cells):
    whole = {name: x for name, x in cells.items() if set(x) == set(tasks)}
    if TARGET not in whole or not tasks:
        return {}

    def matrix(name, key):
        columns = [whole[name][task][key] for task in tasks]
        return np.array([[_number(x) for x in column] for column in columns]).T

    adam = matrix(TARGET, "scores")
    benchmark = statistics.benchmark_intervals([matrix(n, "times") for n in whole])
    found = {}
    for name, own_benchmark in zip(whole, benchmark, strict=True):
        scores = matrix(name, "scores")
        line, low, high = statistics.score_profile(scores, _LEVELS)
        found[name] = {
            "score": statistics.interquartile_mean(scores),
            "improvement": None
            if name == TARGET
            else statistics.improvement(scores, adam),
            "benchmark": own_benchmark,
            "profile": {"line": _plain(line), "low": _plain(low), "high": _plain(high)},
        }
    return found


def _scores(values, of_task):
    start, floor = of_task["untrained"], of_task["floor"]
    with np.errstate(invalid="ignore"):
        return np.clip((start - np.asarray(values)) / (start - floor), 0, None)


def _quantile(curves, q):
    """Over runs; of two neighbours the worse, so that infinity spoils no others."""
    return np.quantile(curves, q, axis=0, method="higher")


def _number(x):
    return np.inf if x is None else x


def _plain(x):
    """As JSON data of six digits; what is not finite is None."""
    if isinstance(x, np.ndarray | list):
        return [_plain(y) for y in x]
    return float(f"{float(x):.6g}") if math.isfinite(x) else None
