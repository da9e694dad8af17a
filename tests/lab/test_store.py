"""Nothing that was stored is lost, and nothing is done twice."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from subsel.lab.errors import UsageError
from subsel.lab.store import Store

PROTOCOL = {"budget": 10}


def test_results_come_back_and_studies_do_not_mix(tmp_path):
    path = tmp_path / "new" / "store.db"
    store = Store(path, PROTOCOL)
    assert store.claim("job", ["a", "b"])
    store.finish("job", {"a": {"x": 1.5, "y": None}, "b": {"x": 2}})
    again, other = Store(path, {"budget": 10}), Store(path, {"budget": 11})
    assert again.results() == {"a": {"x": 1.5, "y": None}, "b": {"x": 2}}
    assert again.names() == {"a", "b"}
    assert not again.claim("job", ["a", "b"])  # done
    assert other.results() == {} and other.claim("job", ["a", "b"])
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        saved = {
            json.loads(p)["budget"]
            for (p,) in db.execute("SELECT protocol FROM studies")
        }
    db.close()
    assert saved == {10, 11}


def test_a_job_has_one_owner_until_that_is_silent(tmp_path):
    ours, theirs = (Store(tmp_path / "s.db", PROTOCOL, lease=0.4) for _ in range(2))
    with ours.alive():
        assert ours.claim("job", ["a"])
        time.sleep(1)
        assert not theirs.claim("job", ["a"])  # for the heart beats
    assert theirs.claim("job", ["a"])  # given up at the end of the block
    assert not ours.claim("job", ["a"])
    time.sleep(0.6)
    assert ours.claim("job", ["a"])  # silent for longer than the lease
    theirs.finish("job", {"a": {"x": 1}})  # late, and still of use
    ours.finish("job", {"a": {"x": 2}})
    assert ours.results() == {"a": {"x": 1}}


WORKER = """
import sys, time
from subsel.lab.store import Store
store = Store(sys.argv[1], {"budget": 10}, lease=1.0)
with store.alive():
    while len(store.names()) < 40:
        for i in range(20):
            job = [f"{i}a", f"{i}b"]
            if store.claim(str(i), job):
                time.sleep(0.02)
                print(i, flush=True)
                store.finish(str(i), {name: {"by": sys.argv[2]} for name in job})
        time.sleep(0.05)
"""


def test_processes_share_a_store_and_one_is_killed(tmp_path):
    path = tmp_path / "s.db"
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, path, str(i)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(3)
    ]
    workers[0].stdout.readline()
    os.kill(workers[0].pid, signal.SIGKILL)
    outs = [worker.communicate(timeout=60)[0].split() for worker in workers]
    assert [worker.returncode for worker in workers[1:]] == [0, 0]
    # Two of them never did the same job; the dead one may have begun one more.
    both = outs[1] + outs[2]
    assert len(both) == len(set(both))
    assert len(Store(path, PROTOCOL).names()) == 40


@pytest.mark.parametrize("text", ["no database at all" * 100])
def test_what_is_no_store_is_refused(tmp_path, text):
    path = tmp_path / "s.db"
    path.write_text(text)
    with pytest.raises(UsageError, match="--store"):
        Store(path, PROTOCOL)
    assert path.read_text() == text
    with pytest.raises(UsageError, match="--store"):
        Store(path / "below" / "a.db", PROTOCOL)
