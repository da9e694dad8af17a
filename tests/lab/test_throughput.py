"""The benchmark runs and counts; how fast anything is, is not a test's business."""

import json
import math
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "throughput.py"
TINY = "--rounds 1 --steps 3 --images 64 --hidden 8 --width 2 --batch-size 4".split()


def run(tmp_path, *options):
    """The report of a run without PyTorch, and what it printed."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "torch.py").write_text("raise ImportError('hidden by a test')")
    path = os.pathsep.join([str(hidden), os.environ.get("PYTHONPATH", "")])
    out = tmp_path / "throughput.json"
    done = subprocess.run(
        [sys.executable, SCRIPT, *TINY, *options, "--out", out],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text()), done.stdout


def test_the_table_and_the_file_have_every_row_and_say_what_is_absent(tmp_path):
    report, printed = run(tmp_path, "--quick")
    assert list(report["cells"]) == ["mlp", "dcgan"]
    for found in report["cells"].values():
        for name, row in found["rows"].items():
            assert name in printed
            if "PyTorch" not in name:
                speed = row["steps_per_second"]
                assert all(math.isfinite(v) and v > 0 for v in speed.values())
        assert found["rows"]["PyTorch eager"]["missing"].startswith("absent")
        kinds = found["rows"]["subsel.gan, optax.adam"]["time_by_kind"]
        parts = [kinds[kind] for kind in ("matrix products", "others", "none")]
        assert min(parts) >= 0 and math.isclose(sum(parts), 1)
    assert "16 seeds at once, adam" in report["cells"]["mlp"]["rows"]


def test_memory_is_measured_and_a_first_report_printed(tmp_path):
    report, printed = run(tmp_path, *"--models dcgan --starts 0".split())
    assert list(report["cells"]) == ["dcgan"]
    assert report["cells"]["dcgan"]["peak_mib"] > 50
    report["cells"]["first report"] = {
        "cold_seconds": 8.25,
        "warm_seconds": {"median": 4.0, "min": 3.0, "max": 5.0},
        "peak_mib": {"cold": 700.0, "warm": None},
    }
    text = runpy.run_path(str(SCRIPT))["table"](report)
    assert "after 8.2 s, with a warm cache 4.0 (3.0-5.0) s" in text
    assert "700 MiB cold, not measured warm" in text


@pytest.mark.parametrize(
    "options, said",
    [
        ("--rounds 0", "--rounds 0"),
        ("--models resnet", "expected some of mlp, dcgan"),
        ("--starts -1", "--starts -1"),
    ],
)
def test_says_what_it_expects(options, said):
    done = subprocess.run(
        [sys.executable, SCRIPT, *options.split()], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert said in done.stderr
