"""Nothing that was stored is lost, and nothing is done twice."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from subsel.lab.errors import RunError, UsageError
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


def test_what_all_of_a_study_share_is_kept_once(tmp_path):
    ours, theirs = (Store(tmp_path / "s.db", PROTOCOL) for _ in range(2))
    assert ours.kept("ring") is None
    assert ours.keep("ring", {"floor": 0.1}) == {"floor": 0.1}
    assert theirs.keep("ring", {"floor": 0.2}) == {"floor": 0.1}
    assert theirs.kept("ring") == {"floor": 0.1} and theirs.kept("grid") is None
    assert Store(tmp_path / "s.db", {"budget": 11}).kept("ring") is None
    reading = Store(tmp_path / "s.db", PROTOCOL, read_only=True)
    assert reading.kept("ring") == {"floor": 0.1}
    assert ours.names() == set()


def test_to_look_changes_no_byte(tmp_path):
    """As of one that was committed in one file, without a log beside it."""
    path = tmp_path / "s.db"
    Store(path, PROTOCOL).finish("job", {"a": {"x": 1}})
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode=DELETE")
    db.close()
    before = path.read_bytes()
    store = Store(path, PROTOCOL)
    with store.alive():
        assert not store.claim("job", ["a"])
    reading = Store(path, PROTOCOL, read_only=True)
    assert store.names() == reading.names() == {"a"}
    assert store.kept("ring") is reading.kept("ring") is None
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    Store(path, PROTOCOL).finish("other", {"b": {"x": 2}})
    assert Store(path, PROTOCOL).names() == {"a", "b"}


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


def test_a_clock_that_is_set_ends_no_claim_and_keeps_none(tmp_path, monkeypatch):
    clock = [time.time()]
    monkeypatch.setattr(time, "time", lambda: clock[0])
    ours, theirs = (Store(tmp_path / "s.db", PROTOCOL, lease=0.8) for _ in range(2))
    with ours.alive():
        assert ours.claim("job", ["a"])
        assert not theirs.claim("job", ["a"])
        for jump in (1e6, -2e6, 0, 0, 0, 0):  # forwards, backwards, standing still
            clock[0] += jump
            time.sleep(0.2)
            assert not theirs.claim("job", ["a"])  # alive, whatever the time
        ours.finish("job", {"a": {"x": 1}})
    assert ours.claim("other", ["b"])  # and this one falls silent
    clock[0] -= 1e6
    assert not theirs.claim("other", ["b"])
    time.sleep(1)
    assert theirs.claim("other", ["b"])
    theirs.finish("other", {"b": {"x": 2}})
    assert theirs.results() == {"a": {"x": 1}, "b": {"x": 2}}


def test_what_a_dead_process_of_this_host_had_claimed_is_free_at_once(tmp_path):
    path = tmp_path / "s.db"
    begin = "import sys; from subsel.lab.store import Store; import os, signal\n"
    begin += "Store(sys.argv[1], {'budget': 10}).claim('job', ['a'])\n"
    begin += "os.kill(os.getpid(), signal.SIGKILL)"
    ended = subprocess.run([sys.executable, "-c", begin, path])
    assert ended.returncode == -signal.SIGKILL
    store = Store(path, PROTOCOL)
    with sqlite3.connect(path) as db:  # the same, on another host
        (owner,) = db.execute("SELECT owner FROM claims").fetchone()
        far = f"0{owner[1:]}" if owner[0] != "0" else f"1{owner[1:]}"
        db.execute(
            "INSERT INTO claims VALUES (?, 'far', ?, ?)", (store.study, far, 0.0)
        )
    db.close()
    assert store.claim("job", ["a"]) and not store.claim("far", ["b"])


def test_a_full_disk_is_one_clear_error_and_loses_nothing(small_disk):
    store = Store(small_disk / "s.db", PROTOCOL)
    store.finish("job", {"a": {"x": 1}})
    (small_disk / "other").write_bytes(b"x" * 200_000)
    with pytest.raises(RunError, match="disk.*what it holds is kept"):
        for i in range(1000):
            store.finish(str(i), {str(i): {"x": "y" * 4000}})
    (small_disk / "other").unlink()
    store.finish("late", {"b": {"x": 2}})
    results = store.results()
    assert (results["a"], results["b"]) == ({"x": 1}, {"x": 2})


@pytest.mark.parametrize("at", [100, 3000, 5000, 9000, 13000])
def test_a_damaged_store_is_one_clear_error_or_what_it_was(tmp_path, at):
    path = tmp_path / "s.db"
    store, wanted = Store(path, PROTOCOL), {f"{i}": {"x": i} for i in range(300)}
    store.finish("job", wanted)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    content = bytearray(path.read_bytes())
    content[at : at + 500] = bytes(500)
    path.write_bytes(content)
    try:
        found = Store(path, PROTOCOL).results()
    except (UsageError, RunError) as error:
        assert "--store" in str(error) or "put a copy" in str(error)
    else:
        assert found == wanted


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


def test_what_is_only_read_stays_as_it_is(tmp_path):
    path = tmp_path / "a ?#%41.db"
    store = Store(path, PROTOCOL)
    store.finish("job", {"a": {"x": 1}})
    with sqlite3.connect(path) as db:  # as it is committed: one file
        db.execute("PRAGMA journal_mode=DELETE")
    db.close()
    before = path.read_bytes()
    assert Store(path, PROTOCOL, read_only=True).results() == {"a": {"x": 1}}
    other = Store(path, {"budget": 11}, read_only=True)
    assert other.names() == set()
    with pytest.raises(RunError, match="readonly"):
        other.finish("job", {"b": {}})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    with pytest.raises(UsageError, match="--store"):
        Store(tmp_path / "none.db", PROTOCOL, read_only=True)
    assert list(tmp_path.iterdir()) == [path]
