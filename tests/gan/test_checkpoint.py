"""Checkpoints under real faults: kills, full disks, flipped bits, other devices."""

import functools
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from subsel.gan import checkpoint
from subsel.gan.step import Pair, State
from subsel.lab.errors import RunError, UsageError


def make(step, width=64):
    """A state that differs in every leaf from that of another step, all full."""
    draw = np.random.default_rng(step).normal
    net = {"Dense_0": {"kernel": draw(size=(width, width)), "bias": draw(size=width)}}
    params = jax.tree.map(jnp.float32, Pair(net, net))
    opt = Pair(*map(optax.adam(1e-3).init, params))
    opt = jax.tree.map(lambda x: x + jnp.asarray(draw(size=x.shape), x.dtype), opt)
    *stats, selection, earlier, slow, ema = map(jnp.float32, draw(size=(6, 3)))
    state = State(
        step=jnp.int32(step),
        params=params,
        stats=Pair({"mean": stats[0]}, {"mean": stats[1]}),
        opt=opt,
        selection=(selection,),
        snapshots={"params": earlier},
        slow=Pair(slow, slow + 1),
        ema={"params": ema},
        key=jax.random.key(step),
    )
    mesh = Mesh(np.array(jax.local_devices()), ("batch",))
    return jax.device_put(state, NamedSharding(mesh, PartitionSpec()))


def raw(state):
    """Host copies of all leaves, PRNG keys as bits."""
    state = state._replace(key=jax.random.key_data(state.key))
    return [np.array(x) for x in jax.tree.leaves(state)]


def same(a, b):
    return all(
        x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
        for x, y in zip(raw(a), raw(b), strict=True)
    )


def write(run_dir, *steps, **options):
    manager = checkpoint.open(run_dir)
    for step in steps:
        checkpoint.save(manager, make(step, **options))
    checkpoint.close(manager)


def child(*command, devices=1):
    """Starts `command`, a function of this file and its arguments, in a new Python."""
    return subprocess.Popen(
        [sys.executable, __file__, *map(str, command)],
        env=os.environ | {"JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_round_trip(tmp_path):
    assert checkpoint.latest(tmp_path) is None
    write(tmp_path, 1, 2, 3, 3)
    assert checkpoint.latest(tmp_path) == 3
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"2", "3"}

    like = make(0)
    for step in (2, 3):
        restored = checkpoint.restore(tmp_path, like, step)
        assert jax.tree.structure(restored) == jax.tree.structure(like)
        assert same(restored, make(step))
        for x, y in zip(*map(jax.tree.leaves, (restored, like)), strict=True):
            assert (x.dtype, x.sharding) == (y.dtype, y.sharding)
    abstract = checkpoint.restore(tmp_path, jax.eval_shape(lambda: like))
    assert same(abstract, make(3))
    draws = [jax.random.normal(s.key, (3,)) for s in (abstract, make(3))]
    np.testing.assert_array_equal(*draws)


def test_donation_after_save(tmp_path):
    @functools.partial(jax.jit, donate_argnums=0)
    def chunk(state):
        smash = functools.partial(jax.tree.map, lambda x: x * -3 + 7)
        params, opt = smash(state.params), smash(state.opt)
        return state._replace(step=state.step + 1, params=params, opt=opt)

    def address(state):
        return state.params.d["Dense_0"]["kernel"].unsafe_buffer_pointer()

    state = chunk(make(0, width=400))
    manager = checkpoint.open(tmp_path)
    for step in range(1, 9):
        want, place = raw(state), address(state)
        checkpoint.save(manager, state)
        for _ in range(5):
            state = chunk(state)
        assert address(state) == place  # reused, so no hidden copy was made
        state = state._replace(step=jnp.int32(step + 1))
        manager.wait_until_finished()
        got = raw(checkpoint.restore(tmp_path, state, step))
        assert all(x.tobytes() == y.tobytes() for x, y in zip(got, want, strict=True))
    checkpoint.close(manager)


def test_other_number_of_devices(tmp_path):
    write(tmp_path / "one", 1)
    process = child("copy", tmp_path / "one", tmp_path / "four", devices=4)
    assert process.communicate(timeout=60) == ("4\n", "")
    assert same(checkpoint.restore(tmp_path / "four", make(0)), make(1))


def copy(source, target):
    events = []
    sys.addaudithook(lambda event, args: events.append(event))
    state = checkpoint.restore(source, make(0))
    assert "pickle.find_class" not in events
    assert same(state, make(1))
    manager = checkpoint.open(target)
    checkpoint.save(manager, state)
    checkpoint.close(manager)
    print(len(state.step.devices()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: make(0, width=8), r"bias is float32\[64\] there, float32\[8\] here"),
        (
            lambda s: s._replace(step=jnp.float32(0)),
            r"step is int32\[\] .* float32\[\]",
        ),
        (lambda s: s._replace(opt=s.opt.d), r"opt.0.count is absent .* int32\[\] here"),
    ],
)
def test_another_model(tmp_path, change, message):
    write(tmp_path, 1)
    with pytest.raises(UsageError, match=f"another model.*{message}.*; no older one"):
        checkpoint.restore(tmp_path, change(make(0)))


def test_the_newest_good_checkpoint_of_this_model_is_offered(tmp_path):
    """Of 3, another model's; 2, damaged; and 1."""
    write(tmp_path, 1, 2)
    (tmp_path / "checkpoints" / "1").rename(tmp_path / "1")
    write(tmp_path, 3, width=8)
    (tmp_path / "1").rename(tmp_path / "checkpoints" / "1")
    newest, older = (tmp_path / "checkpoints" / name for name in "32")
    with pytest.raises(
        UsageError, match=r"another.*\[8\].*; remove it to go on from 2"
    ):
        checkpoint.restore(tmp_path, make(0))
    flip(older / "crc32.json", (older / "crc32.json").read_bytes())
    with pytest.raises(UsageError, match="another model.*; remove it to go on from 1"):
        checkpoint.restore(tmp_path, make(0))
    shutil.rmtree(newest)
    with pytest.raises(UsageError, match="2 is damaged; remove it to go on from 1"):
        checkpoint.restore(tmp_path, make(0))
    shutil.rmtree(older)
    assert same(checkpoint.restore(tmp_path, make(0)), make(1))
    write(tmp_path, 2)  # and the run goes on
    assert same(checkpoint.restore(tmp_path, make(0)), make(2))


def test_a_clock_that_is_set_loses_no_checkpoint(tmp_path, monkeypatch):
    """Which one is the newest is a matter of steps."""
    now, jumps = time.time, iter([0, 1e6, -1e6, -2e6, 0] * 100_000)
    monkeypatch.setattr(time, "time", lambda: now() + next(jumps))
    for step in (1, 2, 3):
        write(tmp_path, step)
    assert checkpoint.latest(tmp_path) == 3
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"2", "3"}
    assert same(checkpoint.restore(tmp_path, make(0)), make(3))


def test_no_such_checkpoint(tmp_path):
    with pytest.raises(UsageError, match="no checkpoint in"):
        checkpoint.restore(tmp_path, make(0))
    write(tmp_path, 1, 2)
    with pytest.raises(UsageError, match=r"of step 7 in .*: \[1, 2\]"):
        checkpoint.restore(tmp_path, make(0), 7)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot keep checkpoints in"):
        checkpoint.open(tmp_path / "file")


def flip(path, data):
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :])


def truncate(path, data):
    path.write_bytes(data[: len(data) // 2])


def remove(path, data):
    path.unlink()


def empty(path, data):
    path.write_bytes(b"{}")  # also a list of checksums that lists nothing


@pytest.mark.parametrize("harm", [flip, truncate, remove, empty])
def test_damage(tmp_path, harm, capfd):
    write(tmp_path, 1, 2)
    newest = tmp_path / "checkpoints" / "2"
    files = [path for path in (newest / "default").rglob("*") if path.is_file()]
    for path in [newest / "crc32.json", *files]:
        data = path.read_bytes()
        harm(path, data)
        with pytest.raises(UsageError, match="2 is damaged; remove it to go on from 1"):
            checkpoint.restore(tmp_path, make(0))
        path.write_bytes(data)
    assert same(checkpoint.restore(tmp_path, make(0)), make(2))

    shutil.rmtree(tmp_path / "checkpoints" / "1")
    harm(path, data)
    with pytest.raises(UsageError, match="2 is damaged; no older one"):
        checkpoint.restore(tmp_path, make(0))
    assert capfd.readouterr() == ("", "")


def test_kill(tmp_path):
    folder, unfinished = tmp_path / "checkpoints", 0
    for delay in (0, 0.01, 0.02, 0.04, 0.08):
        process = child("save_forever", tmp_path)
        assert process.stdout.readline() == "ready\n"
        while not any(folder.glob("*tmp*")):  # until it writes
            time.sleep(0.001)
        time.sleep(delay)
        process.kill()
        out, err = process.communicate(timeout=60)
        assert err == ""
        latest = checkpoint.latest(tmp_path)
        # A save returns when the one before it is complete.
        assert latest >= max(map(int, out.split()), default=0) - 1
        restored = checkpoint.restore(tmp_path, make(0, width=300))
        assert same(restored, make(latest, width=300))
        unfinished += any(folder.glob("*tmp*"))
    assert unfinished, "no kill fell into a save"

    manager = checkpoint.open(tmp_path)
    assert not any(folder.glob("*tmp*"))
    checkpoint.save(manager, make(1000))
    checkpoint.close(manager)
    assert {path.name for path in folder.iterdir()} == {str(latest), "1000"}


def save_forever(run_dir):
    first = (checkpoint.latest(run_dir) or 0) + 1
    states = [make(first + i, width=300) for i in range(20)]
    manager = checkpoint.open(run_dir)
    checkpoint.save(manager, states[0])
    manager.wait_until_finished()
    print("ready", flush=True)
    for state in states[1:]:
        checkpoint.save(manager, state)
        print(state.step, flush=True)


def test_full_disk(small_disk, capfd):
    manager = checkpoint.open(small_disk)
    checkpoint.save(manager, make(1))
    with pytest.raises(RunError, match=r"step 2 in .*good checkpoint: 1; .*disk full"):
        checkpoint.save(manager, make(2))
    checkpoint.close(manager)
    assert same(checkpoint.restore(small_disk, make(0)), make(1))
    assert capfd.readouterr() == ("", "")


def test_read_only(tmp_path, read_only, capfd):
    """From the start, while a run saves, and for who only reads."""
    folder = tmp_path / "run"
    folder.mkdir()
    manager = checkpoint.open(folder)
    checkpoint.save(manager, make(1))
    manager.wait_until_finished()
    read_only(folder)
    with pytest.raises(
        RunError, match=r"step 2 in .*good checkpoint: 1; .*[Rr]ead-only"
    ):
        checkpoint.save(manager, make(2))
        checkpoint.close(manager)
    assert same(checkpoint.restore(folder, make(0)), make(1))
    with pytest.raises(UsageError, match="cannot keep checkpoints in .*Read-only"):
        checkpoint.open(folder / "another")
    assert capfd.readouterr() == ("", "")


def test_write_fails_in_the_background(tmp_path):
    process = child("save_beyond_the_limit", tmp_path)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == "returned\n"
    assert same(checkpoint.restore(tmp_path, make(0)), make(1))
    write(tmp_path, 2)
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"1", "2"}


def save_beyond_the_limit(run_dir):
    write(run_dir, 1)
    manager = checkpoint.open(run_dir)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, resource.RLIM_INFINITY))
    checkpoint.save(manager, make(2))
    print("returned")
    with pytest.raises(RunError, match=r"step 2 in .*; last good checkpoint: 1"):
        checkpoint.close(manager)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt(number, tmp_path, monkeypatch):
    manager = checkpoint.open(tmp_path)
    original = manager.save

    def save(*args, **kwargs):
        signal.raise_signal(number)
        return original(*args, **kwargs)

    monkeypatch.setattr(manager, "save", save)
    # A shell starts what is in its background with Ctrl-C ignored.
    before = signal.signal(number, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(manager, make(1))
    finally:
        signal.signal(number, before)
    checkpoint.save(manager, make(1))
    checkpoint.close(manager)
    assert same(checkpoint.restore(tmp_path, make(0)), make(1))


def test_exit_without_close(tmp_path):
    process = child("leave", tmp_path)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 3
    assert checkpoint.latest(tmp_path) in (1, 2)


def leave(run_dir):
    manager = checkpoint.open(run_dir)
    for step in (1, 2):
        checkpoint.save(manager, make(step))
    sys.exit(3)


if __name__ == "__main__":
    globals()[sys.argv[1]](*map(pathlib.Path, sys.argv[2:]))
