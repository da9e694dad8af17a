"""Names of processes that tell whether one has died."""

import contextlib
import hashlib
import os
import socket
import uuid
from pathlib import Path


def name() -> str:
    """Of this process; no other ever has it."""
    return f"{_here()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _here() -> str:
    """Where a process has its number: the host since it was started, the container."""
    where = [socket.gethostname()]
    with contextlib.suppress(OSError):  # where there is no /proc there are none
        where.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        where.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256(repr(where).encode()).hexdigest()[:12]


def is_dead(owner: str) -> bool:
    """Whether that was a process of this host and is no more; False if in doubt."""
    here, _, rest = owner.partition("-")
    pid = rest.partition("-")[0]
    if os.name != "posix" or here != _here() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # somebody else's
        pass
    return False
