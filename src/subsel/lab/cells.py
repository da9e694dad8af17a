"""Experiments in cells: each is saved when it is done; only missing ones are run."""

import json
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from subsel.lab.errors import UsageError
from subsel.lab.files import atomic, named
from subsel.lab.timing import machine


def run(out: Path, protocol: dict, cells: dict[str, Callable[[], dict]]) -> dict:
    """Runs the cells that the file ``out`` does not hold, and saves after each.

    Args:
        out: a JSON file; written anew, as a whole, after every cell.
        protocol: everything that the numbers depend on beside the code; JSON data.
        cells: by name, a function that returns JSON data.

    Returns:
        ``{"protocol": …, "machine": …, "cells": {name: data}}``, as in the file.

    Raises:
        UsageError: the file holds another protocol, or cannot be read or written.
        KeyboardInterrupt: with a message that says what is kept.
    """
    protocol = json.loads(json.dumps(protocol))
    report = _read(out, protocol)
    done = report["cells"]
    missing = [name for name in cells if name not in done]
    bar = tqdm(
        missing, unit="cell", initial=len(cells) - len(missing), total=len(cells)
    )
    try:
        for name in bar:
            bar.set_postfix_str(name)
            done[name] = cells[name]()
            _write(out, report)
    except KeyboardInterrupt:
        kept = f"{len(done)} of {len(cells)} cells are kept in {out}"
        raise KeyboardInterrupt(f"{kept}; the same command goes on") from None
    report["cells"] = {name: done[name] for name in cells} | done  # in their order
    _write(out, report)
    return report


def place(name: str, quick: bool, out: Path | None) -> Path:
    """``out``, or a file in runs/ that the quick form and the full one do not share.

    Raises:
        UsageError: its name does not end in ``.json``: a picture beside it has it too.
    """
    return named(out or Path(f"runs/{name}{'_quick' * quick}.json"), ".json")


def _read(out, protocol):
    try:
        report = json.loads(out.read_text())
    except FileNotFoundError:
        return {"protocol": protocol, "machine": machine(), "cells": {}}
    except OSError as error:
        raise UsageError(f"--out {out} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UsageError(
            f"--out {out} is no file of results: name another, or move it away"
        ) from None
    saved = report.get("protocol") if isinstance(report, dict) else None
    if saved != protocol:
        raise UsageError(
            f"{out} holds the results of another protocol: {saved}, now {protocol}; "
            "name another file with --out, or delete that one"
        )
    return report


def _text(report):
    """JSON with one line for each cell."""
    lines = [
        f"  {json.dumps(name)}: {json.dumps(data)}"
        for name, data in report["cells"].items()
    ]
    head = json.dumps({k: v for k, v in report.items() if k != "cells"}, indent=1)
    return head[:-2] + ',\n "cells": {\n' + ",\n".join(lines) + "\n }\n}\n"


def _write(out, report):
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with atomic(out) as part:
            part.write_text(_text(report))
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written: {error.strerror}") from None
