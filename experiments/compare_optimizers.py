"""Compare optimizers on GANs: equal budgets, fresh seeds, intervals.

    python experiments/compare_optimizers.py --quick
    python experiments/compare_optimizers.py
    python experiments/compare_optimizers.py --tasks ring grid --optimizers adam reflect
    python experiments/compare_optimizers.py --report-only

Every optimizer gets the same number of gradients and the same quasi-random points of
one space; the best few on tuning seeds are run again on more of them, and the best of
these on fresh ones. Trials go into a store as they are done: Ctrl-C, kill -9 and a
second process that helps lose nothing, and the same command goes on. The report is for
people: report.html.

What was found with --out results/compare_optimizers is in the README.
"""

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Annotated, Literal

import jax
import tyro

from subsel.gan.ablation import analysis, judges, launchers, report, running, study
from subsel.gan.ablation.contestants import CONTESTANTS
from subsel.gan.ablation.tasks import TASKS
from subsel.gan.ablation.trials import Protocol
from subsel.lab.errors import UsageError, exit_status, needs
from subsel.lab.store import Store
from subsel.lab.timing import machine

DEFAULT_TASKS = ("ring", "grid", "ring-collapse", "digits")
ON_GPU = ("mnist-mlp", "mnist-dcgan")
QUICK = Protocol(
    budget=240,
    trials=4,
    tuning_seeds=1,
    finalists=2,
    finalist_seeds=2,
    seeds=5,
    segments=4,
    population=5,
    curve_samples=500,
    final_samples=1000,
)
QUICK_TASKS = ("ring", "grid", "ring-collapse")
QUICK_OPTIMIZERS = ("adam", "sgd", "extragradient_adam", "history_min_norm")


def main(
    protocol: Annotated[Protocol, tyro.conf.arg(name="")] = Protocol(),  # noqa: B008
    *,
    tasks: tuple[str, ...] = (),
    optimizers: tuple[str, ...] = (),
    quick: bool = False,
    report_only: bool = False,
    data_dir: str | None = None,
    store: Path = Path("runs/compare_optimizers.db"),
    out: Path | None = None,
    launcher: Literal["local", "ray"] = "local",
    cpus: float = 1,
    gpus: float = 0,
) -> None:
    """Runs the trials that the store lacks, and writes the report.

    Args:
        protocol: what every result of a study depends on; another is another study.
        tasks: names; ring, grid, ring-collapse and digits if left out, and on a GPU
            mnist-mlp and mnist-dcgan as well.
        optimizers: names; all with their controls if left out.
        quick: a small study of 3 tasks and 4 optimizers, in 5 minutes on 2 cores. Its
            numbers mean nothing.
        report_only: write the report of what is there.
        data_dir: where tensorflow-datasets keeps its sets.
        store: SQLite file of the trials, of any number of studies.
        out: folder for the report; runs/compare_optimizers if left out, with _quick
            behind it for the quick form.
        launcher: local, or ray: on the cluster of RAY_ADDRESS or of ray start.
        cpus: that a job takes there.
        gpus: that a job takes there.
    """
    needs("rliable", "ablation")
    out = out or Path(f"runs/compare_optimizers{'_quick' * quick}")
    if quick:
        if protocol != Protocol():
            raise UsageError(
                "--quick with options of the protocol: it has its own; leave one out"
            )
        protocol = QUICK
        tasks, optimizers = tasks or QUICK_TASKS, optimizers or QUICK_OPTIMIZERS
    on_gpu = jax.default_backend() == "gpu"
    tasks = tasks or DEFAULT_TASKS + (ON_GPU if on_gpu else ())
    optimizers = optimizers or tuple(CONTESTANTS)
    study.check(protocol, tasks, optimizers)
    if report_only and not store.exists():
        raise UsageError(f"--report-only: there is no store {store}; see --store")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written: {error.strerror}") from None
    trials = Store(store, dataclasses.asdict(protocol), read_only=report_only)
    if report_only and not trials.names():
        raise UsageError(
            f"--report-only: {store} holds no trials of this protocol; give --quick or "
            "--seeds, --budget and so on, as they were run"
        )
    if not report_only:
        held_to = running.standards(protocol, tasks, trials, data_dir)
        networks = {task: judges.network_of(of) for task, of in held_to.items()}
        perform = functools.partial(
            running.perform, protocol, networks, data_dir=data_dir
        )
        trials.keep("machine", machine())
        launch = {
            "local": lambda: launchers.local(perform),
            "ray": lambda: launchers.ray(perform, cpus, gpus),
        }[launcher]()
        run(protocol, tasks, optimizers, trials, launch, networks, data_dir)
    held_to = {task: trials.kept(judges.kept_as(TASKS[task])) for task in tasks}
    found = analysis.analyse(protocol, tasks, optimizers, trials.results(), held_to)
    report.write(found, out, " ".join(["python", *sys.argv]), trials.kept("machine"))
    analysis.save(found, trials.results(), out)
    print(f"\n{out / 'report.html'}, and report.md, runs.csv, analysis.json beside it")


def run(protocol, tasks, optimizers, trials, launch, networks, data_dir) -> None:
    """All that is missing, after saying how long it takes."""
    there = trials.results()
    print(running.estimate(protocol, tasks, optimizers, there, networks, data_dir))
    try:
        running.run(protocol, tasks, optimizers, trials, launch)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"{len(trials.names())} trials are kept in {trials.path}; the same command "
            "goes on, --report-only shows what is there"
        ) from None


if __name__ == "__main__":
    sys.exit(exit_status(lambda: tyro.cli(main, description=__doc__)))
