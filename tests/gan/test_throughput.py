"""The benchmark runs and counts; how fast anything is, is not a test's business."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "experiments" / "throughput.py"
TINY = "--quick --rounds 2 --steps 3 --images 64 --hidden 8 --batch-size 4".split()


def test_the_table_and_the_file_have_every_row_and_say_what_is_absent(tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "torch.py").write_text("raise ImportError('hidden by a test')")
    out = tmp_path / "throughput.json"
    done = subprocess.run(
        [sys.executable, SCRIPT, *TINY, "--out", out],
        env=os.environ | {"PYTHONPATH": str(hidden)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    for name, row in report["rows"].items():
        assert name in done.stdout
        if "PyTorch" not in name:
            speed = row["steps_per_second"]
            assert all(math.isfinite(v) and v > 0 for v in speed.values())
    assert report["rows"]["PyTorch eager"]["missing"].startswith("absent")
    counted = report["flops_a_step"]
    # Forward: D on 8 + 4 samples, G on 4; backward: twice that, less D's and G's input
    # gradients, plus D's input gradient for G.
    d, g = 784 * 8 + 8, 100 * 8 + 8 * 784
    by_hand = 2 * (8 * d + 8 * d + 8 * 8 + 4 * d + 4 * d + 4 * g + 4 * g + 4 * 8 * 784)
    assert math.isclose(counted["matrix_products_by_hand"], by_hand, rel_tol=0.02)
