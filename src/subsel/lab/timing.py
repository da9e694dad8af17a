"""Times that can be compared: contenders take turns, and the machine is named."""

import os
import platform
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm


def seconds(turn: Callable[[], None]) -> float:
    """That one turn takes, by a clock that nobody sets."""
    start = time.perf_counter()
    turn()
    return time.perf_counter() - start


def alternate(turns: dict[str, Callable], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of each turn ``[rounds]``; every other round goes backwards."""
    took = {name: [] for name in turns}
    for turn in turns.values():
        turn()
    for i in tqdm(range(rounds), unit="round"):
        for name in list(turns)[:: -1 if i % 2 else 1]:
            took[name].append(seconds(turns[name]))
    return {name: np.array(spent) for name, spent in took.items()}


def spread(values: np.ndarray) -> dict[str, float]:
    """Median, smallest and largest of ``values`` of any shape."""
    return {
        "median": float(np.median(values)),
        "min": float(np.min(values)),
        "max": float(np.max(values)),
    }


def threads() -> int:
    """The threads that XLA takes on a CPU, and that PyTorch is given."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def others_cpu_seconds() -> float:
    """CPU seconds that other processes have taken so far; 0 where it is not known."""
    if not (stat := Path("/proc/stat")).exists():
        return 0.0
    user, nice, system, _, _, *rest = map(int, stat.read_text().split()[1:9])
    everybody = (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")
    return everybody - time.process_time()


def machine() -> dict:
    """What it was measured on, and with."""
    packages = ("jax", "jaxlib", "flax", "optax", "numpy", "torch")
    present = {d.metadata["Name"] for d in metadata.distributions()}
    cpu = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        named = [x for x in info.read_text().splitlines() if x.startswith("model name")]
        cpu = named[0].split(":")[1].strip() if named else cpu
    return {
        "cpu": cpu,
        "threads": threads(),
        "devices": [device.device_kind for device in jax.local_devices()],
        "python": platform.python_version(),
        "versions": {p: metadata.version(p) for p in packages if p in present},
    }
