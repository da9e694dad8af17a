"""``metrics.jsonl``: one line of JSON for each step, none lost, none twice."""

import contextlib
import json
import math
import os
from pathlib import Path

import numpy as np

from subsel.lab.errors import UsageError
from subsel.lab.files import atomic

_FILE = "metrics.jsonl"


def append(
    run_dir: Path,
    first_step: int,
    metrics: dict[str, np.ndarray],
    last: dict[str, float | str],
) -> None:
    """Appends a report: arrays ``[steps]``, the first of them for ``first_step``.

    ``last`` is what is known of the last step only. On the disk when it returns, so
    that a checkpoint made afterwards never knows of more steps than the file. JSON has
    no NaN: what is not finite is written as null.
    """
    columns = {name: np.asarray(values).tolist() for name, values in metrics.items()}
    rows = [
        {"step": first_step + index} | dict(zip(columns, values, strict=True))
        for index, values in enumerate(zip(*columns.values(), strict=True))
    ]
    rows[-1] |= last
    lines = [json.dumps({k: _finite(v) for k, v in row.items()}) + "\n" for row in rows]
    with open(run_dir / _FILE, "a") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())


def read(run_dir: Path) -> list[dict]:
    """All lines as dictionaries; a last line that was cut short is left out.

    Raises:
        UsageError: another line is damaged.
    """
    try:
        lines = (run_dir / _FILE).read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    whole = [line for line in lines if line.endswith(b"\n")]
    return [_row(run_dir / _FILE, *line) for line in enumerate(whole, start=1)]


def truncate(run_dir: Path, step: int) -> None:
    """Keeps the lines up to ``step``: those after it are about to be written again.

    Raises:
        UsageError: lines up to ``step`` are missing.
    """
    rows = [row for row in read(run_dir) if row["step"] <= step]
    if [row["step"] for row in rows] != list(range(1, step + 1)):
        raise UsageError(
            f"{run_dir / _FILE} does not hold steps 1 to {step} of the checkpoint; put "
            "the file back, or start a new run"
        )
    with atomic(run_dir / _FILE) as path:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _row(path: Path, number: int, line: bytes) -> dict:
    with contextlib.suppress(ValueError, RecursionError):
        row = json.loads(line)
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            return row
    raise UsageError(f"line {number} of {path} is damaged; put the file back")


def _finite(value):
    return value if isinstance(value, str) or math.isfinite(value) else None
