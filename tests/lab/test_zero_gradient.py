"""The script on zero gradients, in its quick form: what theory says of each cell."""

import json
import math
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "experiments" / "zero_gradient.py"
READY = "rescale, last, expand"


def test_the_ready_made_rule_escapes_and_the_controls_do_not(tmp_path):
    out = tmp_path / "new" / "zero.json"
    arguments = ["--quick", "--seeds", "4", "--budget", "300", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(READY) >= 2
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(out.read_text())["cells"]

    for problem in ("plateau", "dead network"):
        ready = found[f"{problem} | {READY} > adam"]
        assert ready["escaped"] >= 3 and ready["not_finite"] == 0
        median, low, high = ready["spent"]
        assert 0 < low <= median <= high <= 300
        assert ready["searched"][0] > 0 and ready["firings"][0] > 0
        for name in ("adam", "min-norm of ball > sgd"):
            assert found[f"{problem} | {name}"]["escaped"] == 0

    healthy = found["healthy, adam"][READY]
    assert healthy["firings"] == healthy["searched"] == healthy["changed_updates"] == 0
    assert healthy["same_bits"] and healthy["off_plain"] < 0.05

    norms = found["gradients"]
    assert all(math.isfinite(x) for row in norms.values() for x in row)
    for form in ("naive", "stable"):
        assert norms[f"logit -90, {form}"] == [0, 0]
        assert 1e-10 < norms[f"logit -20, {form}"][0] < 1e-6
    assert norms["logit -90, non-saturating"][0] > 1


def test_nothing_to_run_is_refused():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--seeds", "0"], capture_output=True, text=True
    )
    assert done.returncode == 2 and "expected at least 1" in done.stderr
