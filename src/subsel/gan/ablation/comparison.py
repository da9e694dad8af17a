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
    that is worse than an untrained G, which a score does not tell. Once more, and
    adjusted apart, against Adam by that of the mean of G over steps.
    """
    for name, found in cells.items():
        for task, cell in found.items():
            others = (name != TARGET) * [TARGET] + list(controls(name))
            others = {o: cells[o][task] for o in others if task in cells.get(o, {})}
            cell["against"] = {
                other: _against(cell["values"], theirs["values"])
                for other, theirs in others.items()
            }
            cell["averaged_against"] = {
                other: _against(cell["averaged_values"], theirs["averaged_values"])
                for other, theirs in others.items()
                if other == TARGET
            }
    for key in ("against", "averaged_against"):
        every = (cell[key] for found in cells.values() for cell in found.values())
        _adjust([pair for pairs in every for pair in pairs.values()])


def _against(own, theirs):
    own, theirs = map(_ranked, (own, theirs))
    return {
        "improvement": statistics.improvement(own[:, None], theirs[:, None]),
        "p": statistics.mann_whitney(own, theirs),
    }


def _adjust(pairs):
    """Adds p as it is among so many, and 1 or -1 where one is surely the better."""
    adjusted = statistics.holm([pair["p"] for pair in pairs])
    for pair, p in zip(pairs, adjusted, strict=True):
        pair["p_holm"] = float(p)
        low, high = pair["improvement"][1:]
        pair["side"] = (int(low > 0.5) - int(high < 0.5)) * int(p < LEVEL)


def _ranked(values):
    """Larger is better, and diverged the worst."""
    return -np.array([number(x) for x in values])


def overall(tasks: list[str], cells: dict) -> dict:
    """Over all tasks together, of the contestants that were measured on each.

    Against Adam by a stratified test, p adjusted for the contestants.
    """
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
            "against": None if name == TARGET else _stratified(name, matrix),
            "benchmark": own_benchmark,
            "profile": {"line": plain(line), "low": plain(low), "high": plain(high)},
        }
    _adjust([one["against"] for one in found.values() if one["against"]])
    return found


def _stratified(name, matrix):
    own, theirs = -matrix(name, "values"), -matrix(TARGET, "values")
    return {
        "improvement": statistics.improvement(own, theirs),
        "p": statistics.stratified_mann_whitney(own, theirs),
    }


def number(x: float | None) -> float:
    """Of JSON data: what was not finite is infinite."""
    return np.inf if x is None else x


def plain(x):
    """As JSON data of six digits; what is not finite is None."""
    if isinstance(x, np.ndarray | list):
        return [plain(y) for y in x]
    return float(f"{float(x):.6g}") if math.isfinite(x) else None
