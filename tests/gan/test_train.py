"""The job as its user runs it: whole processes, interrupted, killed and resumed."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from matplotlib import image

from subsel.gan import checkpoint, config, game, record, sample, step, train
from subsel.gan.config import Config
from subsel.lab import files
from subsel.lab.errors import UsageError

ROOT = Path(__file__).parents[2]
SMALL = ["--steps", "300", "--log-every", "50", "--hidden", "16", "--samples", "6"]
SMALL += ["--eval-every", "0"]  # one test has the metrics: they take long to compile


def start(*args, script="train_gan.py", env=os.environ, **kwargs):
    command = [sys.executable, str(ROOT / "experiments" / script), *map(str, args)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        **kwargs,
    )


def run(*args, **kwargs):
    process = start(*args, **kwargs)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def wait_for(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.001)


def state_of(run_dir):
    cfg = config.load(run_dir)
    return checkpoint.restore(run_dir, game.fresh(cfg, game.build(cfg)))


def raw(leaf):
    is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("undisturbed") / "run"
    code, out, err = run("--run-dir", run_dir, *SMALL)
    assert code == 0, err
    return run_dir, out, err


def test_a_run_leaves_what_the_readme_promises(undisturbed):
    run_dir, out, err = undisturbed
    assert {path.name for path in run_dir.iterdir()} == {
        "config.json",
        "metrics.jsonl",
        "samples.png",
        "samples",
        "curves.png",
        "summary.md",
        "checkpoints",
        files.LOCK,
    }
    rows = record.read(run_dir)
    assert [row["step"] for row in rows] == list(range(1, 301))
    assert all(np.isfinite([row["d_loss"], row["g_loss"]]).all() for row in rows)
    assert image.imread(run_dir / "samples.png").std() > 0.1
    assert len(list((run_dir / "samples").iterdir())) == 300 / 50  # one a report
    assert "step 300: d_loss" in out and str(run_dir) in out and "Next:" in out
    assert "300/300" in err and "d_loss" in err  # the progress bar
    assert json.loads((run_dir / "config.json").read_text())["optimizer"] == "subsel"


def test_one_compilation_and_one_exchange_a_report(tmp_path, monkeypatch):
    traces, calls = [], []
    make_step, make_run = step.make_step, step.make_run

    def counted_step(*args, **kwargs):
        body = make_step(*args, **kwargs)
        return lambda *args: traces.append(args) or body(*args)

    def counted_run(*args):
        run = make_run(*args)
        return lambda *args: calls.append(args) or run(*args)

    monkeypatch.setattr(step, "make_step", counted_step)
    monkeypatch.setattr(step, "make_run", counted_run)
    run_dir = tmp_path / "run"
    options = {"dataset": "ring", "eval_every": 20, "eval_samples": 100}
    train.train(
        Config(steps=40, log_every=10, hidden=(4,), run_dir=str(run_dir), **options)
    )
    rows = record.read(run_dir)
    assert (len(traces), len(calls), len(rows)) == (1, 4, 40)
    assert [row["step"] for row in rows if "modes" in row] == [20, 40]


def test_prepared_mnist_trains(tmp_path):
    folder = Path(os.environ.get("SUBSEL_TFDS", ROOT.parent / "shared" / "tfds"))
    if not (folder / "mnist").is_dir():
        pytest.skip(f"no prepared MNIST in {folder}; name its folder in $SUBSEL_TFDS")
    options = ["--dataset", "mnist", "--data-dir", folder, "--steps", "20"]
    options += ["--eval-every", "0"]  # the classifier takes a minute to train
    env = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    code, out, err = run("--run-dir", tmp_path / "run", *options, env=env)
    assert code == 0, err
    assert image.imread(tmp_path / "run" / "samples.png").shape[:2] == (8 * 58, 16 * 58)


def kill_at_once(run_dir, process):
    """While the first report is still being compiled."""
    wait_for((run_dir / "config.json").exists, process)


def kill_after_some_reports(run_dir, process):
    wait_for(lambda: len(record.read(run_dir)) >= 150, process)


def kill_inside_a_report(run_dir, process):
    """As soon as the file of metrics grows past the newest checkpoint."""
    wait_for(
        lambda: len(record.read(run_dir)) > (checkpoint.latest(run_dir) or 300), process
    )


def kill_while_a_checkpoint_is_written(run_dir, process):
    folder = run_dir / "checkpoints"
    wait_for(lambda: checkpoint.latest(run_dir), process)
    wait_for(lambda: any("tmp" in path.name for path in folder.iterdir()), process)


@pytest.mark.parametrize(
    "moment",
    [
        kill_at_once,
        kill_after_some_reports,
        kill_inside_a_report,
        kill_while_a_checkpoint_is_written,
    ],
)
def test_kill_and_resume_is_the_undisturbed_run(undisturbed, tmp_path, moment):
    run_dir = tmp_path / "run"
    process = start("--run-dir", run_dir, *SMALL)
    wait_for(run_dir.exists, process)
    moment(run_dir, process)
    process.kill()
    process.communicate()
    assert len(record.read(run_dir)) < 300, "killed too late to show anything"
    # Of a picture that it was writing; and one of somebody else's.
    for name in (".100.1.part.png", "mine.png"):
        (run_dir / "samples").mkdir(exist_ok=True)
        (run_dir / "samples" / name).touch()
    code, out, err = run("--resume", run_dir)
    assert code == 0, err
    reference = undisturbed[0]
    for name in ("metrics.jsonl", "samples.png", "summary.md"):
        assert (run_dir / name).read_bytes() == (reference / name).read_bytes()
    resumed, expected = state_of(run_dir), state_of(reference)
    assert int(resumed.step) == 300
    for a, b in zip(*map(jax.tree.leaves, (resumed, expected)), strict=True):
        np.testing.assert_array_equal(raw(a), raw(b))
    names = [path.name for path in run_dir.rglob("*")]
    assert not [name for name in names if "tmp" in name or "part" in name]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_says_how_to_go_on(number, tmp_path):
    run_dir = tmp_path / "run"
    process = start("--run-dir", run_dir, *SMALL, "--steps", "100000")
    wait_for(lambda: len(record.read(run_dir)) >= 50, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert f"--resume {run_dir}" in err and "Traceback" not in err
    assert checkpoint.latest(run_dir) == len(record.read(run_dir)) < 100_000


def test_a_finished_run_resumed_stays_as_it_is(undisturbed):
    run_dir, _, _ = undisturbed
    before = {p: p.read_bytes() for p in run_dir.glob("*.jsonl")}
    code, out, err = run("--resume", run_dir)
    assert code == 0, err
    assert before == {p: p.read_bytes() for p in run_dir.glob("*.jsonl")}


EXPLODING = ["--optimizer", "sgd", "--learning-rate", "1e30", "--log-every", "100"]


def test_what_is_not_finite_stops_the_run_and_is_named(tmp_path):
    run_dir = tmp_path / "run"
    code, out, err = run("--run-dir", run_dir, *SMALL, *EXPLODING)
    assert code == 1 and "Traceback" not in err
    first = next(r["step"] for r in record.read(run_dir) if r["d_loss"] is None)
    assert f"at step {first}" in err
    assert "d_loss is" in err and "d/Dense_0/kernel" in err
    assert "Last good checkpoint: none yet" in err
    assert checkpoint.latest(run_dir) is None


def test_on_nonfinite_continue_records_and_goes_on(tmp_path):
    run_dir = tmp_path / "run"
    options = [*SMALL, *EXPLODING, "--steps", "200", "--on-nonfinite", "continue"]
    code, out, err = run("--run-dir", run_dir, *options)
    assert code == 0, err
    assert len(record.read(run_dir)) == 200
    assert "going on" in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--optimizer", "adm"], "did you mean 'adam'"),
        (["--dataset", "mnits"], "did you mean 'mnist'"),
        (["--batch-size", "5000"], "larger than the data set: digits has 1198 images"),
        (["--steps", "many"], "many"),
        (["--resume", "nowhere"], "not the folder of a run"),
        (["--run-dir", "/dev/null/run"], "cannot be written"),
        (["--dataset", "mnist", "--data-dir", "."], "mnist is not prepared in"),
    ],
)
def test_bad_input_is_a_clear_error_with_status_2(
    tmp_path, args, message, script_status, monkeypatch, capsys
):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    assert script_status("train_gan.py", *args) == 2
    said = " ".join("".join(capsys.readouterr()).split())
    assert message in said and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_batch_that_the_devices_cannot_share_is_refused(tmp_path):
    env = os.environ | {"JAX_NUM_CPU_DEVICES": "3"}
    code, out, err = run(cwd=tmp_path, env=env)
    assert code == 2
    assert (
        "--batch-size 128 is not divisible by 3, the number of devices" in err
        and "try 126" in err
    )


def test_nothing_earlier_is_overwritten(undisturbed):
    run_dir, _, _ = undisturbed
    before = {p: p.stat().st_mtime_ns for p in run_dir.rglob("*")}
    code, out, err = run("--run-dir", run_dir)
    assert code == 2 and f"--resume {run_dir}" in err
    assert before == {p: p.stat().st_mtime_ns for p in run_dir.rglob("*")}


@pytest.mark.parametrize("how", ["--resume", "--run-dir"])
def test_two_runs_in_one_folder_are_refused(tmp_path, how):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    if how == "--resume":
        config.save(Config(), run_dir)
    before = {p: p.stat().st_mtime_ns for p in run_dir.rglob("*")}
    with files.alone(run_dir, ""):
        code, out, err = run(how, run_dir)
    assert code == 2, err
    assert f"{run_dir} is in use by another process" in err and "Traceback" not in err
    (run_dir / files.LOCK).unlink()
    assert before == {p: p.stat().st_mtime_ns for p in run_dir.rglob("*")}


def test_programs_are_kept_and_a_kept_one_gives_the_same_bits(tmp_path, undisturbed):
    env = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    programs = tmp_path / "cache" / "subsel" / "programs"

    def kept():
        return {p.name for p in programs.iterdir() if not p.name.endswith("-atime")}

    found = []
    for i in range(2):
        code, _, err = run("--run-dir", tmp_path / str(i), *SMALL, env=env)
        assert code == 0, err
        found.append(kept())
        lines = (tmp_path / str(i) / "metrics.jsonl").read_bytes()
        assert lines == (undisturbed[0] / "metrics.jsonl").read_bytes()
    assert found[0] and found[0] == found[1]


def test_a_checkpoint_of_another_model_is_refused(undisturbed, tmp_path):
    run_dir = tmp_path / "run"
    code, _, _ = run("--run-dir", run_dir, *SMALL, "--hidden", "8", "--steps", "50")
    assert code == 0
    for name in ("checkpoints", "metrics.jsonl"):
        (run_dir / name).rename(tmp_path / name)
    cfg = config.load(undisturbed[0])
    config.save(cfg, run_dir)
    (tmp_path / "checkpoints").rename(run_dir / "checkpoints")
    code, out, err = run("--resume", run_dir)
    assert code == 2
    assert "of another model" in err and "Dense_0" in err


def test_samples_and_interpolations_are_drawn_from_a_checkpoint(undisturbed, tmp_path):
    run_dir, out = undisturbed[0], tmp_path / "walk.png"
    options = ["--interpolate", "--rows", "2", "--columns", "5", "--out", out]
    code, text, err = run(run_dir, *options, script="sample.py")
    assert code == 0, err
    assert str(out) in text
    sheet = image.imread(out)[..., 0]
    assert sheet.shape == (2 * 9 * 6, 5 * 9 * 6)
    code, _, err = run(run_dir, "--step", "7", script="sample.py")
    assert code == 2 and "7" in err


def test_a_full_disk_stops_the_run_and_loses_nothing(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here: no right to")
    try:
        run_dir = disk / "run"
        code, out, err = run("--run-dir", run_dir, *SMALL, "--steps", "20000")
        assert code == 1, err
        assert "Traceback" not in err
        good = checkpoint.latest(run_dir)
        assert f"last good checkpoint: {good}" in err
        assert "disk full" in err or "No space left on device" in err
        assert int(state_of(run_dir).step) == good
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        process = start("--resume", run_dir)
        wait_for(lambda: (checkpoint.latest(run_dir) or 0) > good, process)
        process.kill()
        process.communicate()
        steps = [row["step"] for row in record.read(run_dir)]
        assert steps == list(range(1, len(steps) + 1))
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_read_only_folder_is_refused(undisturbed, read_only):
    run_dir = undisturbed[0]
    read_only(run_dir)
    cfg = config.load(run_dir)
    for change in ({"resume": str(run_dir)}, {"run_dir": str(run_dir / "below")}):
        with pytest.raises(UsageError, match="cannot be written: Read-only file"):
            train.train(dataclasses.replace(cfg, **change))
    with pytest.raises(UsageError, match="cannot be written: Read-only file"):
        sample.draw(run_dir, False, rows=1, columns=2, seed=0)


def test_a_seed_that_no_key_can_be_made_of(undisturbed):
    with pytest.raises(UsageError, match=f"--seed {2**64}: expected 0 or more, below"):
        sample.draw(undisturbed[0], False, rows=1, columns=2, seed=2**64)


EVALUATED = ["--steps", "50", "--eval-every", "50", "--tensorboard"]


def test_metrics_are_in_the_record_the_summary_and_the_events(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    run_dir = tmp_path / "run"
    code, _, err = run("--run-dir", run_dir, *SMALL, *EVALUATED)
    assert code == 0, err
    rows = record.read(run_dir)
    assert rows[-1]["protocol"].startswith("599 samples, test split, digits-")
    assert rows[-1]["frechet"] > 0 and "frechet" not in rows[-2]
    summary = (run_dir / "summary.md").read_text()
    assert [path.name for path in (run_dir / "samples").iterdir()] == ["50.png"]
    assert "| frechet | " in summary and "samples/50.png" in summary
    assert rows[-1]["protocol"] in summary
    (path,) = (run_dir / "tensorboard").iterdir()
    found, content = {}, path.read_bytes()
    while content:
        length = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + length])
        found |= {(v.tag, event.step): v.simple_value for v in event.summary.value}
        content = content[16 + length :]
    for row in rows:
        assert found["d_loss", row["step"]] == pytest.approx(row["d_loss"])
    assert found["frechet", 50] == pytest.approx(row["frechet"])
