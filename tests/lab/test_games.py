"""The script on games, in its quick form, beside the exact spectral radii."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "games.py"


def test_what_is_measured_is_what_theory_says(tmp_path):
    out = tmp_path / "new" / "games.json"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", "--out", str(out)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(out.read_text())["cells"]
    converging = ("extragradient", "optimistic", "reflected")

    for name, cell in found.items():
        if name.startswith("xy"):
            assert cell["measured"] == pytest.approx(cell["exact"], rel=0.01), name
    for method, limit in zip(converging, (1, 3**-0.5, 3**-0.5), strict=True):
        cell = found[f"edge | {method}"]
        below, above = cell["final"]
        assert below < 0.1 and above > 10
        assert cell["exact"] == pytest.approx(limit, abs=1e-3)
    for game in ("Dirac-GAN", "Dirac-GAN, R1", "hinge Dirac-GAN"):
        for method in converging:
            cell = found[f"{game} | {method}"]
            assert math.isfinite(cell["final"]) and cell["final"] < 1
    for method in ("descent-ascent", "min-norm of ball", "min-norm of lookahead"):
        cell = found[f"Dirac-GAN | {method}"]
        assert cell["final"] > math.sqrt(2) and abs(cell["winding"]) > 1
    assert found["Dirac-GAN, R1 | descent-ascent"]["final"] < 0.1
