"""The script on overhead, in its quick form: every row is there, and the memory."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "overhead.py"
# Copies of the parameters that the documentation promises, Adam's two among them.
STATE = {
    "adam": 2,
    "stop": 2,
    "last": 3,
    "rescale": 2,
    "explore": 2,
    "expand": 2,
    "subsel.adam": 3,
    "keep_going": 3,
    "aggregate": 3,
    "history(2), mean": 3,
    "history(2)": 3,
    "history(8)": 9,
    "history(8), leaf": 9,
}


def run(*args):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *args], capture_output=True, text=True
    )


def test_states_are_as_large_as_documented(tmp_path):
    out = tmp_path / "new" / "overhead.json"
    done = run(*"--quick --sizes 5000 --leaves 1 --rounds 1 --out".split(), str(out))
    assert done.returncode == 0, done.stderr
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(out.read_text())["cells"]

    assert list(found) == [f"5000 | {rule}" for rule in STATE]
    for rule, documented in STATE.items():
        cell = found[f"5000 | {rule}"]
        assert cell["state"] == cell["documented"] == documented, rule
        assert 0 < cell["constant_bytes"] <= 300, rule
        for key in ("milliseconds", "times_adam", "times_floor"):
            assert all(math.isfinite(v) and v > 0 for v in cell[key].values()), rule
        assert cell["temporary"] >= 0 and cell["copies"] >= 0, rule
    assert found["5000 | adam"]["times_adam"]["median"] == 1


@pytest.mark.parametrize(
    "args, said",
    [
        ("--sizes 100 --leaves 12", "expected at least"),
        ("--rounds 0", "--rounds 0"),
    ],
)
def test_says_what_it_expects(args, said):
    done = run(*args.split())
    assert done.returncode == 2
    assert said in done.stderr
