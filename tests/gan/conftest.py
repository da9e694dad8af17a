"""What the tests of the GAN part share."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def on_devices():
    """Runs code where there are so many devices: the JSON that it prints last."""

    def run(code, devices):
        env = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
        done = subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parent)],
            env=os.environ | env,
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout.splitlines()[-1])

    return run
