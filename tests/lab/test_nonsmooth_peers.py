"""The peers are not dependencies: without them the script says how to get them."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "nonsmooth_peers.py"


@pytest.mark.skipif(find_spec("torch") is not None, reason="PyTorch is here")
def test_without_pytorch_it_names_the_command_that_installs_it(tmp_path):
    out = tmp_path / "peers.json"
    command = [sys.executable, SCRIPT, "--quick", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "pip install torch torchzero ncopt" in done.stderr
    assert not out.exists()
