"""Files that are whole or not there."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from subsel.lab.errors import UsageError

LOCK = ".lock"
_PART = ".part"


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A path to write to; becomes ``path`` when the block ends, and goes if it fails.

    The suffix is kept, for writers that choose a format by it.
    """
    part = path.with_name(f".{path.stem}.{os.getpid()}{_PART}{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def named(out: Path, suffix: str) -> Path:
    """``out``, if it ends in ``suffix``; before work is done that it is to hold.

    Raises:
        UsageError: it does not.
    """
    if out.suffix != suffix:
        raise UsageError(f"--out {out}: expected a name that ends in {suffix}")
    return out


@contextlib.contextmanager
def alone(folder: Path, cure: str) -> Iterator[None]:
    """While the block runs, no other process gets into a block with this folder.

    The lock is that of an open file, ``.lock``: a process that is killed has none. What
    such a one left of a file that :func:`atomic` was to write is removed.

    Raises:
        UsageError: another process has it, or the folder cannot be written; ``cure``
            says what to do.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(FileLock(folder / LOCK, blocking=False))
        except Timeout:
            problem = "is in use by another process"
        except OSError as error:
            problem = f"cannot be written: {error.strerror}"
        else:
            problem = None
        if problem:
            raise UsageError(f"{folder} {problem}; {cure}")
        for part in folder.rglob(f".*.[0-9]*{_PART}*"):
            part.unlink(missing_ok=True)
        yield
