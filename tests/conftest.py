"""Makes JAX strict, before anything imports it; disks at fault; scripts as used."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
# What tests run, they run for a moment: most of their time is compilation. Nor is that
# shared out among threads, since other tests have work for them. What they start
# inherits both.
jax.config.update("jax_disable_most_optimizations", True)
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
FLAGS = "--xla_cpu_parallel_codegen_split_count=1"
if jax.__version_info__ < (0, 11):
    # The older of XLA's two code generators is the faster one. Later versions do not
    # know the flag, and end at once when they are given it.
    FLAGS += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}"


def _mount(*options):
    """Permission bits do not bind root, who alone may mount: so a fault is a mount."""
    command = ["mount", *map(str, options)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no program to mount with")
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for 300 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", "size=300k", "tmpfs", folder)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def read_only():
    """A function after which a folder, as it is, cannot be written."""
    folders = []

    def lock(folder):
        _mount("--bind", folder, folder)
        folders.append(folder)
        _mount("-o", "remount,bind,ro", folder)

    yield lock
    for folder in folders:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def script_status(monkeypatch):
    """Runs a script with options as its user does, here, where what it has imported
    need not be imported again; its exit status."""
    from subsel.lab import cache

    folder = Path(__file__).parents[1] / "experiments"
    monkeypatch.setattr(cache, "keep_programs", lambda: None)  # for all that follows
    monkeypatch.syspath_prepend(folder)

    def run(script, *options):
        monkeypatch.setattr(sys, "argv", [script, *map(str, options)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(folder / script), run_name="__main__")
        return ended.value.code

    return run
