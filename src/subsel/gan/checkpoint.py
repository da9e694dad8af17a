"""Checkpoints of a run: RUN_DIR/checkpoints/STEP, written by orbax, sealed with CRCs.

A checkpoint is a flat dict of named arrays, such as `params.d.params.Dense_0.kernel`:
readable without this package, and comparable leaf by leaf. It knows nothing of devices;
what four wrote, one restores. Restoring runs no code that a checkpoint brings along.
Of several processes, one saves and each restores, with no regard to the others.

In one file because every guard in it is of one save or one restore.
"""

import json
import logging
import shutil
import signal
import threading
import zlib
from contextlib import contextmanager, suppress
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from subsel.lab.errors import RunError, UsageError

KEEP = 2  # the newest, and a good one before it

# Orbax logs a traceback for every error that is raised below as one clear sentence.
_ORBAX = str(Path(ocp.__file__).parent)
logging.getLogger("absl").addFilter(lambda log: not log.pathname.startswith(_ORBAX))


def open(run_dir) -> ocp.CheckpointManager:
    """A manager that writes to RUN_DIR in the background; `close` it in a `finally`.

    Removes what an interrupted save left behind. Raises `UsageError` when the folder
    cannot be made.
    """
    folder = _folder(run_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot keep checkpoints in {folder}: {error}") from error
    _remove_unfinished(folder)
    options = ocp.CheckpointManagerOptions(
        create=False,
        multiprocessing_options=_alone(),
        preservation_policy=ocp.checkpoint_managers.LatestN(KEEP),
        async_options=ocp.options.AsyncOptions(
            # When all arrays are on disk, before the rename that completes the step.
            post_finalization_callback=lambda: [*map(_seal, _unfinished(folder))],
            # Else an exit without `close` can wait 20 minutes for a folder.
            create_directories_asynchronously=False,
            # Three years, because orbax takes a clock that is set for time gone by.
            timeout_secs=10**8,
        ),
    )
    return ocp.CheckpointManager(folder, options=options)


def save(manager: ocp.CheckpointManager, state) -> None:
    """Saves `state` as `state.step`; afterwards its buffers may be donated.

    The files are written in the background, and get the step's name when complete. A
    step that is there already is left as it is. Raises `RunError` when this write, or
    the one before it, fails.
    """
    _wait(manager)
    step = int(state.step)
    if step in manager.all_steps():
        return
    # On a CPU these are views. Orbax copies them before it returns; while one is alive,
    # XLA does not reuse a donated buffer but copies.
    arrays = {name: np.asarray(_bits(x)) for name, x in _named(state).items()}
    with _run_error(manager, step):
        # Asked first, because on a full disk tensorstore's threads print tracebacks.
        need = 2**16 + sum(2**10 + x.nbytes for x in arrays.values())
        free = shutil.disk_usage(manager.directory).free
        if free < need:
            raise OSError(f"disk full: no space for {need} bytes, {free} free")
        with _uninterrupted():
            # Forced, because orbax silently skips a step below its newest otherwise.
            manager.save(step, args=ocp.args.StandardSave(arrays), force=True)


def close(manager: ocp.CheckpointManager) -> None:
    """Waits for the write in the background. Raises `RunError` when it failed."""
    try:
        _wait(manager)
    finally:
        with suppress(Exception):  # the same one again, perhaps
            manager.close()
        _remove_unfinished(Path(manager.directory))


def latest(run_dir) -> int | None:
    """The newest complete step in RUN_DIR, or None."""
    return max(_steps(_folder(run_dir)), default=None)


def restore(run_dir, like, step: int | None = None):
    """The checkpoint of `step` (the newest by default) in the form of `like`.

    Args:
      like: a state of arrays or `jax.ShapeDtypeStruct`s that gives structure, shapes,
        dtypes, and shardings (the default device where it has none).

    Raises:
      UsageError: there is no such checkpoint, it is of another model, or any bit of it
        is damaged; names an older one that is neither, where there is one.
    """
    folder = _folder(run_dir)
    steps = _steps(folder)
    step = max(steps, default=None) if step is None else step
    if step not in steps:
        asked = "" if step is None else f" of step {step}"
        raise UsageError(f"no checkpoint{asked} in {folder}; steps there: {steps}")
    path = folder / str(step)
    want = {name: jax.eval_shape(_bits, x) for name, x in _named(like).items()}
    try:
        with _reader(path, want) as reader:
            arrays = reader.restore(path / "default", want)
    except UsageError as error:
        raise UsageError(f"{error}; {_cure(folder, steps, step, want)}") from None
    except Exception as error:  # orbax and tensorstore raise all kinds over bad files
        cure = _cure(folder, steps, step, want)
        raise UsageError(f"{path} is damaged; {cure}: {_reason(error)}") from error
    leaves = [_place(arrays[name], x) for name, x in _named(like).items()]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


@contextmanager
def _reader(path: Path, want: dict):
    """Of a checkpoint that is whole and of this model; raises where it is not."""
    _check(path)
    with ocp.StandardCheckpointer(multiprocessing_options=_alone()) as reader:
        _compare(path, reader.metadata(path / "default").item_metadata, want)
        yield reader


def _cure(folder: Path, steps: list[int], step: int, want: dict) -> str:
    for older in reversed([s for s in steps if s < step]):
        with suppress(Exception), _reader(folder / str(older), want):
            return f"remove it to go on from {older}"
    return "no older one is whole and of this model"


def _alone() -> ocp.options.MultiprocessingOptions:
    """Else orbax waits for all processes, and has each write a part."""
    me = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
    )


def _folder(run_dir) -> Path:
    return Path(run_dir).absolute() / "checkpoints"


def _steps(folder: Path) -> list[int]:
    return sorted(int(p.name) for p in folder.glob("[0-9]*") if p.name.isdecimal())


def _unfinished(folder: Path) -> list[Path]:
    return list(folder.glob("*.orbax-checkpoint-tmp*"))


def _remove_unfinished(folder: Path) -> None:
    for path in _unfinished(folder):
        shutil.rmtree(path, ignore_errors=True)


def _sums(path: Path) -> dict[str, int]:
    files = [p for p in (path / "default").rglob("*") if p.is_file()]
    return {str(p.relative_to(path)): zlib.crc32(p.read_bytes()) for p in files}


def _seal(path: Path) -> None:
    (path / "crc32.json").write_text(json.dumps(_sums(path), indent=1))


def _check(path: Path) -> None:
    """Raises when any bit changed: orbax does not notice it in an array, and over what
    it does notice, tensorstore's threads print tracebacks."""
    found, sealed = _sums(path), json.loads((path / "crc32.json").read_text())
    names = sorted({*found, *sealed})
    if changed := [name for name in names if found.get(name) != sealed.get(name)]:
        raise ValueError(f"checksum of {changed[0]}")


def _compare(path: Path, found, want: dict) -> None:
    def kind(tree, name):
        if name not in tree:
            return "absent"
        return f"{np.dtype(tree[name].dtype)}{list(tree[name].shape)}"

    for name in sorted({*found, *want}):
        there, here = kind(found, name), kind(want, name)
        if there != here:
            raise UsageError(
                f"{path} is of another model: {name} is {there} there, {here} here"
            )


def _named(tree) -> dict:
    leaves, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(p, simple=True, separator="."): x for p, x in leaves}


def _is_key(x) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _bits(x):
    """What is stored of a leaf: itself, or the bits of a typed PRNG key."""
    return jax.random.key_data(x) if _is_key(x) else x


def _place(array, like):
    if _is_key(like):
        impl = jax.random.key_impl(jnp.empty((), like.dtype))
        array = jax.random.wrap_key_data(array, impl=impl)
    return jax.device_put(array, getattr(like, "sharding", None))


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: " + str(error).split(" [tensorstore")[0]


@contextmanager
def _run_error(manager: ocp.CheckpointManager, step: int | None):
    try:
        yield
    except Exception as error:
        folder = Path(manager.directory)
        _remove_unfinished(folder)
        good = max(_steps(folder), default=None)
        raise RunError(
            f"cannot save step {step} in {folder}; last good checkpoint: {good};"
            f" {_reason(error)}"
        ) from error


@contextmanager
def _uninterrupted():
    """Holds Ctrl-C and SIGTERM back: orbax, cut short as it starts a write, goes on
    with half of it in the background, in the way of the next save, and prints
    tracebacks."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted, and may set handlers
        return
    held = []
    handlers = {
        number: signal.signal(number, lambda number, frame: held.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: not Python's
    if held:
        signal.raise_signal(held[0])


def _wait(manager: ocp.CheckpointManager) -> None:
    with _run_error(manager, manager.latest_step()):
        manager.wait_until_finished()
