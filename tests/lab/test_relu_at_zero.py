"""The experiment runs, resumes and counts; what it finds is not a test's business."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "experiments" / "relu_at_zero.py"
TINY = "--quick --draws 20 --sweeps 2 --steps 3 --width 8".split()


def test_the_experiment_runs_without_a_download_and_keeps_what_is_done(tmp_path):
    out = tmp_path / "new" / "relu.json"

    def run(*options):
        return subprocess.run(
            [sys.executable, SCRIPT, *TINY, "--out", out, *options],
            capture_output=True,
            text=True,
        )

    done = run()
    assert done.returncode == 0, done.stderr
    cells = json.loads(out.read_text())["cells"]
    assert {name.split("/")[0] for name in cells} == {"draws", "sweeps", "train"}
    for name, cell in cells.items():
        assert 0 <= cell["zeros"] < cell["evaluations"]
        if name.startswith("train"):
            assert all(0 <= accuracy <= 1 for accuracy in cell["accuracy"])
        else:
            assert 0 <= cell["differ"] <= cell["of"]
    assert cells["draws/float16/1"]["zeros"] > 0
    assert out.with_suffix(".png").stat().st_size > 1000
    other = run("--seeds", "1")
    assert other.returncode == 2 and "--seeds 2 or more" in other.stderr
