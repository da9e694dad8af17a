"""A study as work: how long it takes, what is run next, and how."""

import time
from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from subsel.gan.ablation import judges, trials
from subsel.gan.ablation.contestants import CONTESTANTS, identity
from subsel.gan.ablation.space import defaults, points
from subsel.gan.ablation.study import TARGET, Job, best, jobs, total
from subsel.gan.ablation.tasks import TASKS
from subsel.gan.ablation.trials import Protocol
from subsel.lab.errors import UsageError
from subsel.lab.store import Store


def standards(
    protocol: Protocol, tasks, store: Store, data_dir: str | None = None
) -> dict[str, dict]:
    """What runs of each task are held to, which the first to run one decides.

    A feature network has other weights on every machine, and what was measured in the
    features of two cannot be compared: so the store has it, and all use that.

    Raises:
        UsageError: the store has runs that were judged by a network which it has not,
            or there is no test split to compare images with.
    """
    counts = protocol.curve_samples, protocol.final_samples
    found = {}
    for task in tasks:
        name = judges.kept_as(TASKS[task])
        found[task] = store.kept(name)
        if found[task] is not None:
            continue
        of = judges.standard(TASKS[task], data_dir, counts)
        if of["network"] and any(n.startswith(f"{task}/") for n in store.names()):
            raise UsageError(
                f"{store.path} has runs of {task} and not the network that judged "
                "them, as versions before this one left it: name another with --store"
            )
        found[task] = store.keep(name, of)
    return found


def estimate(
    protocol: Protocol,
    tasks,
    contestants,
    results: dict,
    networks: dict,
    data_dir: str | None = None,
) -> str:
    """How long the missing trials take here, in words.

    From the trials of a task that there are, which share the time that their programs
    took to compile, or else from a turn of Adam, which takes some seconds a task.
    """
    each = total(protocol, ["one"], contestants)
    lines, seconds = [], 0.0
    for task in tasks:
        names = [n for n in results if n.startswith(f"{task}/")]
        own = {identity(task, contestant) for contestant in contestants}
        missing = each - sum(name.split("/")[2] in own for name in names)
        if not missing:
            continue
        compiling = 0.0
        if names:
            one = float(np.median([results[name]["seconds"] for name in names]))
        else:
            adam = CONTESTANTS[TARGET]
            one, compiling = trials.seconds(
                TASKS[task], adam, protocol, data_dir, networks[task]
            )
        seconds += missing * one + len(contestants) * compiling
        line = f"{task}: {missing} trials of {one:.3g} s"
        if compiling:
            line += (
                f" and {len(contestants)} programs, {compiling:.2g} s to compile each"
            )
        lines.append(line)
    if not lines:
        return "all trials are there"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"about {hours} h {minutes:02d} min alone; {', '.join(lines)}"


def run(
    protocol: Protocol,
    tasks,
    contestants,
    store: Store,
    launch: Callable,
    patience: float = 1.0,
) -> None:
    """Runs what the store lacks; returns when nothing does.

    Args:
        protocol: of the study, and of the store.
        tasks, contestants: names.
        store: where results are, and go.
        launch: ``iterator of jobs -> iterator of (job, results by trial)``: takes jobs
            while it has room for them, in whatever order it finishes them. A job is
            None while others run all that is left.
        patience: seconds between looks at what others do.
    """
    pairs = [(task, contestant) for task in tasks for contestant in contestants]

    def open_jobs():
        """Those that nobody has claimed; the reports of all before any defaults."""
        while True:
            results, left = store.results(), False
            known = [job for pair in pairs for job in jobs(protocol, *pair, results)]
            known.sort(key=lambda job: job.phase == "default")
            for job in known:
                if all(name in results for name in job.trials):
                    continue
                left = True
                if store.claim(job.name, job.trials):
                    yield job
                    break
            else:
                unknown = any(best(protocol, *pair, results) is None for pair in pairs)
                if not left and not unknown:
                    return
                yield None
                time.sleep(patience)

    def there():
        wanted = {(*pair, identity(*pair)) for pair in pairs}
        return sum(tuple(name.split("/")[:3]) in wanted for name in store.names())

    whole = total(protocol, tasks, contestants)
    with store.alive(), tqdm(total=whole, initial=there(), unit="trial") as bar:
        for job, results in launch(open_jobs()):
            store.finish(job.name, results)
            bar.set_postfix_str("/".join(job[:3]), refresh=False)
            bar.update(there() - bar.n)


def perform(
    protocol: Protocol, networks: dict, job: Job, data_dir: str | None = None
) -> dict:
    """Runs a job here: ``{name of a trial: result}``."""
    task, contestant = TASKS[job.task], CONTESTANTS[job.contestant]
    space = points(contestant.knobs, protocol.trials)
    chosen = [
        (defaults(contestant.knobs) if point < 0 else space[point], seed)
        for point, seed in job.members
    ]
    reported = job.phase in ("report", "default")
    own = protocol, data_dir, networks[job.task]
    rows = trials.run(task, contestant, chosen, *own, reported=reported)
    return {
        name: {"point": point} | row
        for name, (point, _), row in zip(job.trials, chosen, rows, strict=True)
    }
