"""Where the time of a compiled program goes on a CPU, from JAX's profiler."""

import re
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import jax

_LARGEST = 6  # names that are reported beside the kinds
# Events that hold others, wait for them or only mark a moment.
_HOLDERS = ("while", "call", "conditional", "ThunkExecutor", "end: ")
_HOLDERS += ("ThreadpoolListener", "SlinkyThreadPool")


def products(program: str) -> set[str]:
    """The instructions of an optimised HLO module that multiply matrices."""
    computations = re.split(r"\n(?=\S)", program)
    multiply = {text.split()[0] for text in computations if re.search(r" dot\(", text)}
    lines = re.findall(r"%(\S+) = (.*)", program)
    return {
        name
        for name, rest in lines
        if re.search(r"(^| )(dot|convolution)\(", rest)
        or multiply & set(re.findall(r"calls=(%[^\s,]+)", rest))
    }


def shares(turn: Callable[[], None], program: str) -> dict | None:
    """Shares of a turn's time by the kind of work; None where there are no threads.

    A moment counts as "matrix products" if any thread is in one, else as "others" if
    any is in another operation, else as "none": waiting, starting, going on. Threads
    that help in a product do not show, so their time is not summed up.

    Args:
        turn: runs the program.
        program: its optimised HLO.
    """
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            turn()
        (path,) = Path(folder).rglob("*.xplane.pb")
        data = jax.profiler.ProfileData.from_file(str(path))
        spans = defaultdict(list)
        for line in (line for plane in data.planes for line in plane.lines):
            if line.name.startswith("tf_XLA"):
                for event in line.events:
                    spans[event.name].append((event.start_ns, event.end_ns))
    if not spans:
        return None
    every = sum(spans.values(), [])
    whole = max(end for _, end in every) - min(start for start, _ in every)
    multiplying, named = products(program), defaultdict(list)
    for name, own in spans.items():
        if name in multiplying:
            named["matrix products"] += own
        elif not name.startswith(_HOLDERS):
            named[re.sub(r"[.\d]+$", "", name)] += own
    busy = _covered(sum(named.values(), [])) / whole
    share = {name: _covered(own) / whole for name, own in named.items()}
    by_product = share.pop("matrix products", 0.0)
    largest = sorted(share, key=share.get, reverse=True)[:_LARGEST]
    return {
        "matrix products": by_product,
        "others": busy - by_product,
        "none": 1 - busy,
        "largest others": {name: share[name] for name in largest},
    }


def _covered(spans) -> float:
    """The length of a union of intervals."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
