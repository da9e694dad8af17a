"""What a process of its own takes: memory, and time until it says something."""

import multiprocessing
import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from subsel.lab.errors import RunError


def peak_mib(pid: int | str = "self") -> float | None:
    """The most memory that a process has had resident; None where it is not known.

    Not ``getrusage``, where a process counts from the size of the one that started it.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    (peak,) = (x for x in status.splitlines() if x.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024


def peak_of(function: Callable, *args) -> float | None:
    """:func:`peak_mib` of a new process that has called the function."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as alone:
        return alone.submit(_peak, function, args).result()


def _peak(function, args):
    function(*args)
    return peak_mib()


def until(command: list[str], start: str, **environment) -> dict:
    """Starts a command and stops it at the first line of its output with this start.

    Returns:
        ``seconds`` until that line, and ``peak_mib`` so far.

    Raises:
        RunError: it ended without such a line; with the last one of its errors.
    """
    began = time.perf_counter()
    with subprocess.Popen(
        command,
        env=os.environ | environment | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as child:
        line = ""
        for line in child.stdout:
            if line.startswith(start):
                seconds, peak = time.perf_counter() - began, peak_mib(child.pid)
                child.kill()
                return {"seconds": seconds, "peak_mib": peak}
    raise RunError(f"{' '.join(map(str, command))} ended without {start!r}: {line}")
