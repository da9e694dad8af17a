"""Numbers and names of a report as texts."""

import math

from subsel.gan.ablation.groups import role
from subsel.gan.ablation.study import TARGET

ABSENT = "–"
_MARKS = {1: " ▲", -1: " ▼", 0: ""}


def number(x: float | None, otherwise: str = ABSENT) -> str:
    """Three significant digits."""
    if x is None or not math.isfinite(x):
        return otherwise
    if float(x).is_integer() and abs(x) < 1000:
        return str(int(x))
    if 1000 <= abs(x) < 1e6:
        return f"{float(f'{x:.3g}'):.0f}"
    return f"{x:#.3g}".rstrip(".")


def estimate(of: list[float] | None) -> str:
    """A number with its interval."""
    return f"{number(of[0])} [{number(of[1])}, {number(of[2])}]" if of else ABSENT


def interval_side(of: list[float] | None) -> int:
    """1 where the whole interval is above 1/2, -1 where it is below, else 0."""
    return int(of[1] > 0.5) - int(of[2] < 0.5) if of else 0


def median(times: list[float | None]) -> float:
    """Of times, of which a miss is infinite: the later of two in the middle."""
    return sorted(math.inf if x is None else x for x in times)[len(times) // 2]


def shown(name: str, one: dict) -> str:
    """A name and its sign; a control comes after what it controls."""
    signs = {"rule": "● ", "control": "↳ ", "optimizer": ""}
    return signs[role(one)] + name


def what(one: dict) -> str:
    """Of a contestant: what it is, and a control of what."""
    return f"control of {one['control_of']}" if one["control_of"] else role(one)


def improvement(pair: dict | None) -> str:
    """The probability of improvement, its interval, and where that surely lies."""
    if not pair:
        return ABSENT
    return estimate(pair["improvement"]) + _MARKS[pair["side"]]


def against(cell: dict) -> str:
    """How a contestant fares against tuned Adam on a task."""
    pair = cell["against"].get(TARGET)
    return f"{improvement(pair)} p {number(pair['p_holm'])}" if pair else ABSENT


def overall_improvement(of: dict | None) -> str:
    """The same over all tasks."""
    of = of and of["improvement"]
    return estimate(of) + _MARKS[interval_side(of)]
