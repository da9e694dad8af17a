"""Numbers and names of a report as texts."""

import math

from subsel.gan.ablation.groups import role

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


def with_p(pair: dict | None) -> str:
    """The same, and p as adjusted."""
    return f"{improvement(pair)} p {number(pair['p_holm'])}" if pair else ABSENT
