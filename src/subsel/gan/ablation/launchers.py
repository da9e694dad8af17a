"""Where jobs are run: here, or on the machines of a Ray cluster.

A launcher is a function ``jobs -> iterator of (job, results)``. It takes a job from
``jobs`` when it has room for one; None there means that nothing can be begun now.
"""

import os
import socket
from collections.abc import Callable, Iterator

from subsel.lab.errors import RunError, UsageError, needs

_RETRIES = 9  # of a job whose worker died


def local(perform: Callable) -> Callable:
    """One job after the other, in this process."""

    def launch(jobs) -> Iterator:
        for job in jobs:
            if job is not None:
                yield job, perform(job)

    return launch


def ray(perform: Callable, cpus: float = 1, gpus: float = 0) -> Callable:
    """As many jobs at a time as the cluster has room for.

    Joins the cluster of ``RAY_ADDRESS``, or the one that ``ray start`` began on this
    machine. A job whose worker or machine dies is begun again elsewhere; the cluster's
    machines need subsel, and the data where they are needed.

    Args:
        perform: a job's results; what it holds travels to the workers.
        cpus, gpus: that a job takes.

    Raises:
        UsageError: Ray is not installed, there is no cluster, or none of its machines
            has room for a job.
        RunError: the workers of a job die again and again.
    """
    if cpus < 0 or gpus < 0 or not cpus + gpus:
        raise UsageError(f"--cpus {cpus:g} --gpus {gpus:g}: expected a share of one")
    needs("ray", "cluster")
    import ray

    def launch(jobs) -> Iterator:
        try:
            _reachable(os.environ.get("RAY_ADDRESS", ""))
            ray.init(address="auto", log_to_driver=False, logging_level="error")
        except (ConnectionError, TimeoutError, socket.gaierror):
            raise UsageError(
                "--launcher ray: there is no cluster; begin one with ray start --head, "
                "or name one in RAY_ADDRESS"
            ) from None
        try:
            room = _room(ray.cluster_resources(), cpus, gpus)
            options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": _RETRIES}
            yield from _in_flight(ray, ray.remote(**options)(perform), jobs, room)
        except ray.exceptions.WorkerCrashedError:
            raise RunError(
                f"a worker died {_RETRIES + 1} times over the same job: is there "
                "memory enough? Trials that are done are kept; the same command goes on"
            ) from None
        finally:
            ray.shutdown()

    return launch


def _reachable(address):
    """Raises ConnectionError at once, where Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()


def _in_flight(ray, remote, jobs, room):
    running = {}
    while True:
        job = next(jobs, "done") if len(running) < room else None
        if job == "done":
            return
        if job is not None:
            running[remote.remote(job)] = job
            continue
        ready, _ = ray.wait(list(running), timeout=1) if running else ((), ())
        for done in ready:
            yield running.pop(done), ray.get(done)


def _room(resources, cpus, gpus) -> int:
    shares = [(resources.get("CPU", 0), cpus), (resources.get("GPU", 0), gpus)]
    room = int(min(there / each for there, each in shares if each))
    if room < 1:
        raise UsageError(
            f"--launcher ray: the cluster has {resources.get('CPU', 0):g} CPUs and "
            f"{resources.get('GPU', 0):g} GPUs, and a job takes {cpus:g} and {gpus:g}: "
            "choose --cpus and --gpus that fit"
        )
    return room
