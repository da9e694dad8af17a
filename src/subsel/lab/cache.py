"""The user's cache folder: what is made once, and can be made again."""

import contextlib
import os
from pathlib import Path

import jax

from subsel.lab.files import atomic

_MOST = 2**30  # bytes of programs; those that were not used for longest go first


def folder() -> Path:
    """``$XDG_CACHE_HOME/subsel``, by default ``~/.cache/subsel``; it need not exist."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home, "subsel")


def get(name: str) -> bytes | None:
    """What was put under a name; None where there is nothing, or it cannot be read."""
    with contextlib.suppress(OSError):
        return (folder() / name).read_bytes()
    return None


def put(name: str, data: bytes) -> None:
    """Keeps it if it can: without a cache, it is made again the next time."""
    path = folder() / name
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as part:
            part.write_bytes(data)


def keep_programs() -> None:
    """Has JAX keep what it compiles, so that the same program starts at once next time.

    What the user has set for JAX stays as it is (``JAX_COMPILATION_CACHE_DIR``, or
    ``JAX_ENABLE_COMPILATION_CACHE=0`` for none). Not for what reports seconds of
    compiling. Without a folder that can be written, programs are compiled every time.
    """
    if jax.config.jax_compilation_cache_dir is not None:
        return
    path = folder() / "programs"
    with contextlib.suppress(OSError):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)  # programs are run
        if os.access(path, os.W_OK):
            jax.config.update("jax_compilation_cache_dir", str(path))
            jax.config.update("jax_compilation_cache_max_size", _MOST)
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
