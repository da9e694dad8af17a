"""What is compared, as options of a run; and what names the results of it.

In one file because it is one table, with what reads it.
"""

import dataclasses
import functools
import hashlib
import json
from typing import Any, NamedTuple

from subsel.gan.ablation.space import DEFAULTS, KNOBS, SPACE
from subsel.gan.ablation.tasks import TASKS, Task
from subsel.gan.config import Config, digest


class Contestant(NamedTuple):
    """An optimizer of both players, as options of :class:`Config`."""

    changes: dict[str, Any]
    about: str
    cost: int = 1  # gradients of each player a step
    knobs: tuple[str, ...] = ()  # of KNOBS
    rate: float = 1.0  # its learning rates are those of the space times this
    control_of: str | None = None  # the rule that it is a control of
    batch: int = 1  # times the batch of the task, and the cost of that
    rule: bool = False  # a subgradient selection
    unused: tuple[str, ...] = ()  # numbers of the space that it has no use for
    controls: tuple[str, ...] = ()  # others that it has to beat, beside Adam
    version: int = 0  # of the program behind the names: raise it when that changes

    @property
    def gradients(self) -> int:
        """Gradients a step on the task's batch, of each player."""
        return self.cost * self.batch


def _selection(optimizer, about, cost=1, size=2, knobs=(), **more):
    changes = {"optimizer": optimizer, "candidates": size}
    return Contestant(changes, about, cost, knobs, **({"rule": True} | more))


def _ball(optimizer, about, **more):
    more = {"knobs": ("radius",), "version": 2} | more  # 2: seeds of their own
    return _selection(optimizer, about, 3, 3, **more)


_PULLED = {"rule": True, "controls": ("lookahead_minimax",)}


def _of_one(player, optimizer, about):
    changes = {"optimizer": "adam", f"{player}_optimizer": optimizer, "candidates": 2}
    return Contestant(changes, about, rule=True)


def _lookahead(optimizer, about, **more):
    changes = {"optimizer": optimizer, "lookahead_every": 5}
    return Contestant(changes, about, knobs=("lookahead_share",), **_PULLED, **more)


def _pair(name, about, cost, **more):
    return Contestant({"optimizer": "adam", "game": name}, about, cost, **more)


def _snapshots(select, about, **more):
    changes = {"optimizer": "adam", "snapshots": 1, "snapshot_select": select}
    return Contestant(changes, about, 2, **more)


CONTESTANTS = {
    "sgd": Contestant(
        {"optimizer": "sgd"},
        "descent and ascent in turn, at 100 times the space's rates",
        rate=100.0,
        unused=("eps",),
    ),
    "momentum": Contestant(
        {"optimizer": "momentum"},
        "the same with heavy-ball momentum",
        rate=100.0,
        unused=("eps",),
    ),
    "adam": Contestant({"optimizer": "adam"}, "Adam in turn"),
    "optimistic_adam": Contestant(
        {"optimizer": "optimistic_adam"}, "optimistic Adam (Daskalakis 2018)"
    ),
    "extragradient_adam": _pair(
        "extragradient",
        "Adam at the gradient a trial step ahead",
        2,
        rule=True,
        controls=("adam_at_once",),
    ),
    "lookahead_minimax": Contestant(
        {"optimizer": "adam", "lookahead_every": 5},
        "Adam, both players pulled back every 5 steps (Chavdarova 2021)",
        knobs=("lookahead_share",),
    ),
    "past_extragradient": _pair(
        "past_extragradient",
        "twice the gradient less the last one, of the pair, before Adam",
        1,
        rule=True,
    ),
    "reflected": _pair(
        "reflected",
        "the gradients of the pair where both are reflected (Malitsky 2015), before "
        "Adam",
        1,
        rule=True,
        controls=("adam_at_once",),
    ),
    "zero_rule": _selection("subsel", "Adam that goes on where the gradient is zero"),
    "reflect": _selection(
        "reflect",
        "for each player the gradient at the reflection of its own parameters, the "
        "other player where it is, before Adam; the program computes the plain one "
        "too, for its reports",
    ),
    "history_min_norm": _selection(
        "history_min_norm", "shortest of the hull of the last 2 gradients, before Adam"
    ),
    "history_matched": _selection(
        "history_matched", "the same, at the length of the gradient"
    ),
    "history_after": _selection(
        "history_after",
        "the same among the last 2 updates of Adam, after it",
    ),
    "ball_min_norm": _ball(
        "ball_min_norm", "shortest of the hull of 3 gradients in a ball"
    ),
    "history_by_leaf": _selection(
        "history_by_leaf", "history_min_norm, a hull for each array of parameters"
    ),
    # One player selects
    "history_g": _of_one("g", "history_min_norm", "history_min_norm for G, Adam for D"),
    "reflect_d": _of_one("d", "reflect", "reflect for D, Adam for G"),
    "reflect_g": _of_one("g", "reflect", "reflect for G, Adam for D"),
    # Selections with both players pulled back, as in lookahead_minimax: their control
    "reflect_lookahead": _lookahead(
        "reflect",
        "reflect, pulled back every 5 steps",
        version=1,  # 1: the point that is reflected is pulled back too
    ),
    "history_lookahead": _lookahead(
        "history_matched",
        "history_min_norm at the length of the gradient, pulled back every 5 steps",
    ),
    "past_extragradient_lookahead": Contestant(
        {"optimizer": "adam", "game": "past_extragradient", "lookahead_every": 5},
        "past_extragradient, pulled back every 5 steps",
        knobs=("lookahead_share",),
        **_PULLED,
    ),
    # G against D and an earlier one. G evaluates two gradients and D one, and the cost
    # is that of the former for both: the rule may be dearer here than it is.
    "snapshots_min_norm": _snapshots(
        "min_norm",
        "Adam, for G at the shortest of the hull of its gradients against D and "
        "against D as it was up to 100 steps ago; counted as 2 gradients of both "
        "players, though D evaluates one",
        rule=True,
        controls=("adam_batch_2",),
    ),
    "snapshots_mean": _snapshots(
        "mean",
        "the same at their mean: fictitious play (Ge 2018); counted as 2, too",
        rule=True,
        controls=("adam_batch_2", "snapshots_random"),
    ),
    # Controls
    "adam_at_once": _pair(
        "simultaneous", "Adam, both players at once", 1, control_of="past_extragradient"
    ),
    "adam_batch_2": Contestant(
        {"optimizer": "adam"},
        "Adam, twice the batch",
        control_of="extragradient_adam",
        batch=2,
    ),
    "adam_batch_3": Contestant(
        {"optimizer": "adam"},
        "Adam, three times the batch",
        control_of="ball_min_norm",
        batch=3,
    ),
    "adam_r1": Contestant(
        {"optimizer": "adam", "penalties": ("r1",)},
        "Adam with an R1 penalty (Mescheder 2018): not an optimizer, a yardstick; an "
        "update of D takes a gradient of a gradient, which is counted as 1",
        knobs=("penalty_weight",),
        control_of="adam",
    ),
    "extragradient_random": _pair(
        "extragradient_random",
        "one of the two gradients of extragradient, at random",
        2,
        control_of="extragradient_adam",
    ),
    "extragradient_reversed": _pair(
        "extragradient_reversed",
        "the gradient a trial step behind",
        2,
        control_of="extragradient_adam",
    ),
    "extragradient_mean": _pair(
        "extragradient_mean",
        "mean of the gradient and that a trial step ahead",
        2,
        rule=True,
    ),
    "history_random": _selection(
        "history_random",
        "one of the last 2 gradients at random, before Adam",
        control_of="history_min_norm",
        rule=False,
    ),
    "history_longest": _selection(
        "history_longest",
        "the longer of the last 2 gradients, before Adam",
        control_of="history_min_norm",
        rule=False,
    ),
    "snapshots_random": _snapshots(
        "random",
        "one of the two gradients of snapshots_min_norm, at random",
        control_of="snapshots_min_norm",
    ),
    "ball_random": _ball(
        "ball_random",
        "one of 3 gradients in a ball at random",
        control_of="ball_min_norm",
        rule=False,
    ),
    "ball_longest": _ball(
        "ball_longest",
        "the longest of 3 gradients in a ball",
        control_of="ball_min_norm",
        rule=False,
    ),
    "ball_mean": _ball("ball_mean", "mean of 3 gradients in a ball: smoothing"),
}


def controls(contestant: str) -> list[str]:
    """What a rule has to beat beside Adam."""
    own = CONTESTANTS[contestant].controls
    others = (n for n, one in CONTESTANTS.items() if one.control_of == contestant)
    return [*own, *others]


def configured(
    task: Task, contestant: Contestant, point: dict[str, float], seed: int, budget: int
) -> Config:
    """The run of one trial: ``budget`` gradients of each player on the task's batch."""
    rate = point["learning_rate"] * contestant.rate
    numbers = {k: v for k, v in point.items() if k not in ("learning_rate", "ratio")}
    steps = budget // contestant.gradients
    return dataclasses.replace(
        task.config,
        **contestant.changes,
        **numbers,
        learning_rate=rate,
        d_learning_rate=rate * point["ratio"],
        batch_size=task.config.batch_size * contestant.batch,
        steps=steps,
        log_every=steps,
        seed=seed,
    )


def identity(task: str, contestant: str) -> str:
    """Eight digits of what tables say of a pair: what is changed there is another one.

    They know nothing of the program behind the names; that is what ``version`` is for.
    """
    one = CONTESTANTS[contestant]
    plain = {"about": "", "control_of": None, "rule": False, "unused": ()}
    one = one._replace(**plain, controls=(), changes=())
    return _digest(TASKS[task], one, tuple(CONTESTANTS[contestant].changes.items()))


@functools.lru_cache(maxsize=1000)
def _digest(task, one, changes):
    one = one._asdict() | {"changes": dict(changes)}
    del one["unused"], one["controls"]
    if not one["version"]:
        del one["version"]
    said = [digest(task.config), task.primary, DEFAULTS, one]
    said += [{k: v._asdict() for k, v in (SPACE | KNOBS).items()}]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:8]
