"""The script on the min-norm solver, in its quick form: no times, but accuracy."""

import json
import math
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "experiments" / "minnorm.py"


def run(*args):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *args], capture_output=True, text=True
    )


def test_projected_gradient_is_brought_to_our_accuracy(tmp_path):
    out = tmp_path / "new" / "minnorm.json"
    done = run(*"--quick --sizes 2 4 --problems 5 --rounds 1 --out".split(), str(out))
    assert done.returncode == 0, done.stderr
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(out.read_text())["cells"]

    assert list(found) == ["K = 2", "K = 4"]
    for size, cell in zip((2, 4), found.values(), strict=True):
        assert 1 <= cell["support"] <= size
        assert abs(cell["subsel"]["excess"]) < 1e-9
        for name in ("equal", "loose"):
            row = cell[name]
            target = cell["subsel"]["excess"] if name == "equal" else 1e-6
            assert row["reached"] == (row["excess"] <= target)
            for key in ("alone", "vmapped", "alone_ratio", "vmapped_ratio"):
                assert all(math.isfinite(v) and v > 0 for v in row[key].values())
        assert cell["loose"]["reached"]


def test_says_what_it_expects():
    done = run("--problems", "0")
    assert done.returncode == 2
    assert "--problems 0" in done.stderr
