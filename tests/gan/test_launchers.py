"""Jobs on a Ray cluster of this machine; needs the extra ``cluster``."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from subsel.gan.ablation import launchers
from subsel.lab.errors import UsageError
from subsel.lab.store import Store

RAY = Path(sys.executable).parent / "ray"
needs_ray = pytest.mark.skipif(
    not RAY.exists(), reason="Ray is not installed: pip install 'subsel[cluster]'"
)


def test_jobs_are_done_one_after_the_other():
    jobs = iter(["a", None, "b"])
    assert list(launchers.local(str.upper)(jobs)) == [("a", "A"), ("b", "B")]


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"subsel\[cluster\]"):
        launchers.ray(str)


@needs_ray
def test_without_a_cluster_it_is_said_how_to_begin_one(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UsageError, match="ray start --head"):
        next(launchers.ray(str)(iter(["a"])))


# Driver of a study of six jobs; each leaves its worker's number while it runs.
DRIVER = """
import os, sys, time
from pathlib import Path
from subsel.gan.ablation import launchers
from subsel.lab.store import Store

folder = Path(sys.argv[1])
store = Store(folder / "s.db", {})

def perform(job):
    import os, time
    (folder / f"{job}.{os.getpid()}").touch()
    time.sleep(2)
    return {job: {"by": os.getpid()}}

def jobs():
    while len(store.names()) < 6:
        open_ = [j for j in "abcdef" if store.claim(j, [j])]
        yield from open_
        if not open_:
            yield None

with store.alive():
    for job, results in launchers.ray(perform)(jobs()):
        store.finish(job, results)
print("done")
"""


@pytest.fixture
def cluster(monkeypatch):
    """Two CPUs of this machine; Ray's sockets need a short path."""
    folder = Path("/tmp") / f"ray-{os.getpid()}"
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    start = [RAY, "start", "--head", f"--port={port}", "--num-cpus=2", "--block"]
    start += ["--include-dashboard=false"]
    start += [f"--temp-dir={folder}", "--object-store-memory=100000000"]
    process = subprocess.Popen(
        start,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    status = [RAY, "status"]
    deadline = time.time() + 120
    while subprocess.run(status, capture_output=True).returncode:
        assert process.poll() is None and time.time() < deadline
        time.sleep(0.5)
    yield
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)


@needs_ray
def test_a_worker_is_killed_and_no_trial_is_lost(cluster, tmp_path):
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.time() + 120
    while not (begun := list(tmp_path.glob("?.*[0-9]"))):
        assert driver.poll() is None and time.time() < deadline, driver.stdout.read()
        time.sleep(0.05)
    job, _, pid = begun[0].name.partition(".")
    os.kill(int(pid), signal.SIGKILL)
    out, _ = driver.communicate(timeout=180)
    assert driver.returncode == 0, out
    results = Store(tmp_path / "s.db", {}).results()
    assert sorted(results) == list("abcdef")
    assert results[job]["by"] != int(pid)
    workers = {result["by"] for result in results.values()}
    assert len(workers) >= 2
