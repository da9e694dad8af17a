"""The space that contestants are tuned in, and the points of it that they all get."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import qmc


class Axis(NamedTuple):
    """One number of a search space."""

    low: float = 0.0
    high: float = 1.0
    log: bool = False
    choices: tuple = ()

    def at(self, u: float):
        """The value at ``u`` in [0, 1)."""
        if self.choices:
            return self.choices[int(u * len(self.choices))]
        if self.log:
            return float(self.low * (self.high / self.low) ** u)
        return float(self.low + (self.high - self.low) * u)


# Shared by all. ``ratio`` is D's learning rate over G's. Momentum has Adam's b1.
SPACE = {
    "learning_rate": Axis(1e-5, 1e-2, log=True),
    "ratio": Axis(0.25, 4.0, log=True),
    "b1": Axis(choices=(0.0, 0.5, 0.9)),
    "b2": Axis(choices=(0.9, 0.99, 0.999)),
    "eps": Axis(1e-10, 1e-3, log=True),
}
# Own numbers of some, found with the same number of trials.
KNOBS = {
    "radius": Axis(1e-3, 1.0, log=True),
    "lookahead_share": Axis(0.2, 0.9),
    "penalty_weight": Axis(0.01, 10.0, log=True),
}
# Adam as DCGAN has it (Radford 2016), at this project's rate.
DEFAULTS = {"learning_rate": 5e-4, "ratio": 1.0, "b1": 0.5, "b2": 0.999, "eps": 1e-8}
DEFAULTS |= {"radius": 0.1, "lookahead_share": 0.5, "penalty_weight": 1.0}
_EDGE = 0.05  # of an axis, at either end


def points(knobs: Sequence[str], trials: int) -> list[dict[str, float]]:
    """The trials: one Halton sequence, scrambled once, for all contestants.

    The shared numbers of the i-th trial are the same for everybody; a knob takes a
    further dimension of the same sequence.
    """
    return [
        {name: axis.at(u[i]) for name, (i, axis) in _axes(knobs).items()}
        for u in _sequence(trials)
    ]


def edges(
    knobs: Sequence[str], trials: int, trial: int, unused: Sequence[str] = ()
) -> list[str]:
    """Numbers in use that lie near an end of their axis at a trial; no choices."""
    u = _sequence(trials)[trial]
    return [
        name
        for name, (i, axis) in _axes(knobs).items()
        if name not in unused and not axis.choices and not _EDGE <= u[i] <= 1 - _EDGE
    ]


def defaults(knobs: Sequence[str]) -> dict[str, float]:
    """What somebody who does not tune would take."""
    return {name: DEFAULTS[name] for name in (*SPACE, *knobs)}


def _axes(knobs):
    own = {name: (len(SPACE) + i, KNOBS[name]) for i, name in enumerate(KNOBS)}
    shared = {name: (i, axis) for i, (name, axis) in enumerate(SPACE.items())}
    return shared | {name: own[name] for name in knobs}


def _sequence(trials) -> np.ndarray:
    # Dimensions to spare: another knob must not move the points of the others.
    return qmc.Halton(2 * len(SPACE), seed=0).random(trials)
