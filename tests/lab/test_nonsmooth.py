"""The comparison runs in its quick form; that Rosenbrock is solved is its figure."""

import json
import math
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "experiments" / "nonsmooth.py"


def test_the_quick_form(tmp_path):
    out = tmp_path / "nonsmooth.json"
    done = subprocess.run(
        [sys.executable, SCRIPT, "--quick", "--starts", "2", "--out", out],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    cells = json.loads(out.read_text())["cells"]
    for name in cells:
        assert name.split(" | ")[0] in done.stdout
    for data in cells.values():
        for trace in data["above"]:  # of the best value so far: it never rises
            assert all(map(math.isfinite, trace)) and sorted(trace)[::-1] == trace
    last = {
        arm: max(trace[-1] + cell["reference"] for trace in cell["above"])
        for arm in ("history(2), min_norm", "gradient_sampling", "normalised sgd")
        for cell in [cells[f"rosenbrock 2 | {arm}"]]
    }
    assert max(last["history(2), min_norm"], last["gradient_sampling"]) < 1e-2
    assert last["normalised sgd"] > 1e-2
