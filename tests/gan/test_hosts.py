"""One run as two processes on the loopback interface, and what becomes of it when one
is lost."""

import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from subsel.gan import checkpoint, config, game, hosts, record
from subsel.lab.errors import UsageError

SCRIPT = Path(__file__).parents[2] / "experiments" / "train_gan.py"
SMALL = ["--dataset", "ring", "--hidden", "8", "--batch-size", "8", "--samples", "6"]
SMALL += ["--eval-every", "0", "--log-every", "20"]
STEPS = 160


def start(*args, devices=2):
    env = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
    return subprocess.Popen(
        [sys.executable, __file__, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | env,
    )


def pair(*args):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = f"127.0.0.1:{port},2"
    return [start("--distributed", f"{where},{i}", *args) for i in range(2)]


def ended(*processes):
    """Status, output and errors of each, within a bounded time."""
    try:
        ends = [process.communicate(timeout=180) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, *end) for p, end in zip(processes, ends, strict=True)]


def wait_for_steps(run_dir, steps, processes):
    deadline = time.monotonic() + 180
    while (checkpoint.latest(run_dir) or 0) < steps:
        assert all(process.poll() is None for process in processes), ended(*processes)
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)


def state_of(run_dir):
    cfg = config.load(run_dir)
    state = checkpoint.restore(run_dir, game.fresh(cfg, game.build(cfg)))
    state = state._replace(key=jax.random.key_data(state.key))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


@pytest.fixture(scope="module")
def one_and_two(tmp_path_factory):
    """The same run by one process of four devices, and by two of two."""
    one, two = (tmp_path_factory.mktemp(name) / "run" for name in ("one", "two"))
    options = [*SMALL, "--steps", STEPS]
    processes = pair("--run-dir", two, *options)
    processes.append(start("--run-dir", one, *options, devices=4))
    for code, _, err in ended(*processes):
        assert code == 0, err
    return one, two


@pytest.fixture
def two(one_and_two):
    return one_and_two[1]


def test_two_processes_train_as_one_with_as_many_devices(one_and_two):
    one, two = one_and_two
    for a, b in zip(state_of(two), state_of(one), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    assert [row["step"] for row in record.read(two)] == list(range(1, STEPS + 1))
    names = {path.name for path in (two / "checkpoints").iterdir()}
    assert names == {str(STEPS - 20), str(STEPS)}


def test_interrupted_and_killed_and_resumed_it_is_the_undisturbed_run(two, tmp_path):
    run_dir = tmp_path / "run"
    how = f"--resume {run_dir}"

    processes = pair("--run-dir", run_dir, *SMALL, "--steps", STEPS)
    wait_for_steps(run_dir, 20, processes)
    for process in processes:  # as srun and mpirun do
        process.send_signal(signal.SIGINT)
    for code, _, err in ended(*processes):
        assert code == 130 and how in err and "Traceback" not in err, err
    done = checkpoint.latest(run_dir)
    assert done == len(record.read(run_dir)) < STEPS

    for victim in (1, 0):
        processes = pair("--resume", run_dir)
        wait_for_steps(run_dir, done + 20, processes)
        processes[victim].kill()
        survivor = 1 - victim
        code, _, err = ended(*processes)[survivor]
        assert code == 1, err
        assert f"error: process {survivor} of 2 cannot go on" in err, err
        assert how in err and "Traceback" not in err, err
        done = checkpoint.latest(run_dir)
        assert done < STEPS, "killed too late to show anything"

    for code, _, err in ended(*pair("--resume", run_dir)):
        assert code == 0, err
    for a, b in zip(state_of(run_dir), state_of(two), strict=True):
        np.testing.assert_array_equal(a, b)
    assert record.read(run_dir) == record.read(two)


def test_an_error_of_one_is_an_error_of_all(two):
    (code, _, err), (other, _, told) = ended(*pair("--run-dir", two, *SMALL))
    assert code == other == 2
    assert f"go on with --resume {two}" in err and "process 0: " in told, told


def test_a_place_that_is_none_is_refused():
    ((code, _, err),) = ended(start("--distributed", "auto"))
    assert code == 2 and "error: --distributed auto: " in err, err
    with pytest.raises(UsageError, match="HOST:PORT,COUNT,INDEX"):
        hosts.join("nonsense")
    with pytest.raises(UsageError, match="localhost,1,0: .*HOST:PORT,COUNT,INDEX"):
        hosts.join("localhost,1,0")  # no port


if __name__ == "__main__":
    hosts.LOST = 5  # seconds: a test should not take longer
    runpy.run_path(str(SCRIPT), run_name="__main__")
