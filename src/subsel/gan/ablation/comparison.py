"""Contestants beside tuned Adam and their controls, with what chance leaves open."""

import math

import numpy as np

from subsel.gan.ablation.contestants import controls
from subsel.gan.ablation.study import TARGET
from subsel.lab import statistics

LEVEL = 0.05  # of p values, adjusted for all comparisons of a study
LEVELS = np.linspace(0, 1, 101)  # of scores, where profiles are taken


def compare(cells: dict) -> None:
    """Each against tuned Adam, and rules against their controls; p adjusted together.

    Runs are compared by the primary metric itself: one that diverged is worse than one
    that is worse than an untrained G, which a score does not tell.
    """
    pairs = []
    for name, found in cells.items():
        for task, cell in found.items():
            others = (name != TARGET) * [TARGET] + list(controls(name))
            cell["against"] = {}
            for other in others:
                if task in cells.get(other, {}):
                    pair = _against(cell, cells[other][task])
                    cell["against"][other] = pair
                    pairs.append(pair)
    adjusted = statistics.holm([pair["p"] for pair in pairs])
    for pair, p in zip(pairs, adjusted, strict=True):
        pair["p_holm"] = float(p)
        low, high = pair["improvement"][1:]
        pair["side"] = (int(low > 0.5) - int(high < 0.5)) * int(p < LEVEL)


def _against(cell, other):
    own, theirs = (_ranked(x["values"]) for x in (cell, other))
    return {
        "improvement": statistics.improvement(own[:, None], theirs[:, None]),
        "p": statistics.mann_whitney(own, theirs),
    }


def _ranked(values):
    """Larger is better, and diverged the worst."""
    return -np.array([number(x) for x in values])


def overall(tasks: list[str], cells: dict) -> dict:
    """Over all tasks together, of the contestants that were measured on each."""
    whole = {name: x for name, x in cells.items() if set(x) == set(tasks)}
    if TARGET not in whole or not tasks:
        return {}

    def matrix(name, key):
        columns = [whole[name][task][key] for task in tasks]
        return np.array([[number(x) for x in column] for column in columns]).T

    benchmark = statistics.benchmark_intervals([matrix(n, "times") for n in whole])
    found = {}
    for name, own_benchmark in zip(whole, benchmark, strict=True):
        scores = matrix(name, "scores")
        line, low, high = statistics.score_profile(scores, LEVELS)
        found[name] = {
            "score": statistics.interquartile_mean(scores),
            "improvement": None
            if name == TARGET
            else statistics.improvement(
                -matrix(name, "values"), -matrix(TARGET, "values")
            ),
            "benchmark": own_benchmark,
            "profile": {"line": plain(line), "low": plain(low), "high": plain(high)},
        }
    return found


def number(x: float | None) -> float:
    """Of JSON data: what was not finite is infinite."""
    return np.inf if x is None else x


def plain(x):
    """As JSON data of six digits; what is not finite is None."""
    if isinstance(x, np.ndarray | list):
        return [plain(y) for y in x]
    return float(f"{float(x):.6g}") if math.isfinite(x) else None
