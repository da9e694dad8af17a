"""The script of the ablation, killed on the way, and its refusals."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from subsel.gan.ablation.contestants import CONTESTANTS
from subsel.gan.ablation.tasks import TASKS
from subsel.gan.ablation.trials import Protocol
from subsel.lab.errors import UsageError
from subsel.lab.store import Store

SCRIPT = Path(__file__).parents[2] / "experiments" / "compare_optimizers.py"
TINY = "--tasks ring --optimizers adam --budget 4 --segments 2"
TINY += " --trials 2 --tuning-seeds 1 --finalists 2 --finalist-seeds 1"
TINY += " --seeds 2 --population 2"
TINY += " --curve-samples 50 --final-samples 50"


def command(folder, *more):
    paths = ["--store", folder / "s.db", "--out", folder / "out"]
    return [sys.executable, SCRIPT, *TINY.split(), *paths, *more]


def stored(path):
    if not path.exists():
        return {}
    db = sqlite3.connect(path)
    try:
        return dict(db.execute("SELECT trial, result FROM trials"))
    except sqlite3.OperationalError:  # no table yet
        return {}
    finally:
        db.close()


def test_a_killed_study_goes_on_and_reports(tmp_path):
    store = tmp_path / "s.db"
    first = subprocess.Popen(command(tmp_path), stderr=subprocess.DEVNULL)
    deadline = time.time() + 300
    while not (before := stored(store)):
        assert first.poll() is None and time.time() < deadline
        time.sleep(0.1)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    done = subprocess.run(command(tmp_path), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "alone; ring: " in done.stdout  # how long it was going to take
    after = stored(store)
    assert len(after) == 2 + 2 + 2 + 2 + 2
    assert {name: after[name] for name in before} == before  # not done again
    out = tmp_path / "out"
    assert "adam" in (out / "report.html").read_text()
    assert json.loads((out / "analysis.json").read_text())["cells"].keys() == {"adam"}
    again = subprocess.run(
        command(tmp_path, "--report-only"), capture_output=True, text=True
    )
    assert again.returncode == 0 and "report.html" in again.stdout, again.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ("rng",)}, "unknown task 'rng'"),
        ({"optimizers": ("adm",)}, "did you mean 'adam'"),
        ({"launcher": "ray", "cpus": 0.0}, "--cpus 0"),
        ({"report_only": True}, "there is no store"),
        ({"quick": True, "protocol": Protocol(seeds=3)}, "leave one out"),
    ],
)
def test_what_cannot_be_is_refused(script, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        script.main(store=tmp_path / "s.db", out=tmp_path / "out", **options)
    assert not (tmp_path / "out").is_file()


def test_a_folder_that_cannot_be_and_an_empty_study_are_refused(script, tmp_path):
    store, file = tmp_path / "s.db", tmp_path / "file"
    file.touch()
    with pytest.raises(UsageError, match="--out .* cannot be written"):
        script.main(store=store, out=file)
    Store(store, {})
    with pytest.raises(UsageError, match="holds no trials of this protocol"):
        script.main(report_only=True, store=store, out=tmp_path / "out")


def test_the_defaults_are_names(script):
    for names in (script.DEFAULT_TASKS, script.ON_GPU, script.QUICK_TASKS):
        assert set(names) <= set(TASKS)
    assert set(script.QUICK_OPTIMIZERS) <= set(CONTESTANTS)
