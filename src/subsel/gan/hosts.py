"""One run over several processes, on one host or on many, that JAX connects."""

import contextlib
import ctypes
import json
import os
import signal
from collections.abc import Callable

import jax
import numpy as np

from subsel.lab.errors import RunError, UsageError

LOST = 30  # seconds without a sign of life after which a process counts as dead
_SIZE = 2**14  # bytes that a process tells the others at once
_KINDS = {kind.__name__: kind for kind in (UsageError, KeyboardInterrupt)}


def join(where: str) -> None:
    """Connects this process with the others of a run, before anything else asks JAX.

    Args:
        where: ``auto`` under Slurm, MPI, Kubernetes or on TPUs, which JAX asks for the
            rest; else ``HOST:PORT,COUNT,INDEX``: an address of process 0, the number
            of processes, and which of them this one is, from 0 on.

    Raises:
        UsageError: neither, nothing found, or no connection.
    """
    try:
        given = {}
        if where != "auto":
            address, count, index = where.split(",")
            given = {"num_processes": int(count), "process_id": int(index)}
            given |= {"coordinator_address": address}
            given |= {"cluster_detection_method": "deactivate"}
        jax.distributed.initialize(
            **given, heartbeat_timeout_seconds=LOST, shutdown_timeout_seconds=LOST
        )
        # Gloo waits 30 s for all to come to the first collective; now they are here.
        from_leader(None)
    except (ValueError, RuntimeError, IndexError) as error:  # the last: no port
        raise UsageError(
            f"--distributed {where}: {error}. Expected auto under Slurm, MPI or "
            "Kubernetes, or HOST:PORT,COUNT,INDEX with the address of process 0"
        ) from None


def leads() -> bool:
    """Whether this is the process that writes and prints."""
    return jax.process_index() == 0


def together(work: Callable):
    """Runs ``work`` on every process and returns what it returned here.

    An error or Ctrl-C on any process is one on all of them, where it is a `UsageError`,
    a `KeyboardInterrupt` or else a `RunError`: none waits for another that has left.
    """
    if jax.process_count() == 1:
        return work()
    result, problem = None, None
    try:
        result = work()
    except (Exception, KeyboardInterrupt) as error:
        problem = error
    told = problem and (type(problem).__name__, str(problem)[: _SIZE // 16])
    for index, one in enumerate(_exchange(told)):
        if one and index == jax.process_index():
            raise problem
        if one:
            raise _KINDS.get(one[0], RunError)(f"process {index}: {one[1]}")
    return result


def from_leader(value: str | int | None):
    """The ``value`` of the process that leads, on all of them."""
    return value if jax.process_count() == 1 else _exchange(value)[0]


@contextlib.contextmanager
def watched(cure: str):
    """Ends this process with a clear error, status 1, when another one is lost.

    A collective then fails, or waits until JAX aborts the process, about ``LOST``
    seconds later. ``cure`` says what to do. Python's own exit would wait for the lost.
    """
    if jax.process_count() == 1:
        yield
        return

    def end(why):
        me = f"process {jax.process_index()} of {jax.process_count()}"
        text = f"\nerror: {me} cannot go on: {why}. With all processes, {cure}\n"
        os.write(2, text.encode())
        os._exit(1)

    # JAX aborts from a thread of its own; a handler of the signal module would be
    # called in the main thread, afterwards: never.
    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def aborted(number):
        end("another one was lost, see above")

    libc = ctypes.CDLL(None)
    libc.signal.restype, libc.signal.argtypes = ctypes.c_void_p, None
    before = libc.signal(signal.SIGABRT, aborted)
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        end(f"{str(error).splitlines()[0]}; most likely another one was lost")
    finally:
        libc.signal(signal.SIGABRT, ctypes.c_void_p(before))


def _exchange(told) -> list:
    """What every process told, as JSON can, in their order."""
    text = json.dumps([jax.process_index(), told]).encode().ljust(_SIZE)
    row = np.frombuffer(text, np.uint8)
    rows = _gather(np.tile(row, (jax.local_device_count(), 1)))
    everyone = dict(json.loads(bytes(row)) for row in np.asarray(rows))
    return [everyone[index] for index in sorted(everyone)]


# Over all devices, as training itself: each new group of them has to be formed.
_gather = jax.pmap(
    lambda x: jax.lax.all_gather(x, "all"), axis_name="all", out_axes=None
)
