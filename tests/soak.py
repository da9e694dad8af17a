"""Kill runs and studies again and again, at any moment; nothing may be lost.

    python tests/soak.py --kills 200

Training is killed (SIGKILL) between a second and its end, mostly while it evaluates or
writes a checkpoint, which it does at every tenth step, and resumed until it ends; so is
a study in its store, by one process or by two that share it. At the end the checkpoint,
every metric and picture, and every trial have to equal those that nobody disturbed,
bit for bit. Not collected by pytest: 200 kills take about an hour of one busy core.
"""

import argparse
import dataclasses
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from subsel.gan import checkpoint, config, game
from subsel.gan.ablation.trials import Protocol
from subsel.lab.store import Store

ROOT = Path(__file__).parents[1]
STEPS = 600
KEPT = (".jsonl", ".md", ".png")  # of a run, beside the checkpoints
TRAINING = f"--dataset ring --hidden 16 --batch-size 16 --steps {STEPS} --log-every 10"
TRAINING += " --eval-samples 500 --samples 16"
PROTOCOL = Protocol(
    budget=40,
    trials=4,
    tuning_seeds=1,
    finalists=2,
    finalist_seeds=2,
    seeds=4,
    segments=2,
    population=2,
    curve_samples=50,
    final_samples=100,
)
STUDY = "--tasks ring --optimizers adam sgd " + " ".join(
    f"--{name.replace('_', '-')} {value}"
    for name, value in dataclasses.asdict(PROTOCOL).items()
)


def start(script, options, cache):
    env = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)}
    env |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    env |= {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    return subprocess.Popen(
        [sys.executable, ROOT / "experiments" / script, *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
    )


def whole(script, options, cache) -> float:
    """Seconds of a process that nobody disturbs."""
    begun = time.perf_counter()
    process = start(script, options, cache)
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{script} {options} failed undisturbed:\n{out}")
    return time.perf_counter() - begun


def disturbed(script, options, cache, moment, count=1) -> tuple[int, bool]:
    """Starts ``count`` processes and kills one after ``moment`` seconds.

    Returns the kills, and whether all is done. The others are left to end, and what
    they say of an error is an error.
    """
    processes = [start(script, options, cache) for _ in range(count)]
    try:
        processes[0].wait(moment)
        killed = 0
    except subprocess.TimeoutExpired:
        processes[0].send_signal(signal.SIGKILL)
        killed = 1
    for i, process in enumerate(processes):
        out, _ = process.communicate()
        if process.returncode not in ((0, -signal.SIGKILL) if i == 0 else (0,)):
            raise SystemExit(f"{script} failed after a kill:\n{out}")
    return killed, not killed or count > 1


def state_of(run_dir):
    cfg = config.load(run_dir)
    like = game.fresh(cfg, game.build(cfg))
    return checkpoint._named(checkpoint.restore(run_dir, like))


def same_run(one: Path, other: Path) -> None:
    """Exits unless two folders of runs hold the same."""
    files = [
        sorted(p.relative_to(d) for p in d.rglob("*") if p.suffix in KEPT)
        for d in (one, other)
    ]
    if files[0] != files[1]:
        raise SystemExit(f"{one} has other files: {set(files[0]) ^ set(files[1])}")
    for name in files[0]:
        if (one / name).read_bytes() != (other / name).read_bytes():
            raise SystemExit(f"{one / name} differs from the undisturbed one")
    a, b = state_of(one), state_of(other)
    for name in a.keys() | b.keys():
        x, y = (np.asarray(checkpoint._bits(tree[name])) for tree in (a, b))
        if not np.array_equal(x, y):
            raise SystemExit(f"{one}: {name} differs from the undisturbed one")


def same_trials(one: Path, other: Path) -> None:
    """Exits unless two stores hold the same, but for the seconds that it took."""
    found = [Store(p, dataclasses.asdict(PROTOCOL)).results() for p in (one, other)]
    for results in found:
        for row in results.values():
            for name in ("seconds", "compiling"):
                del row[name]
    a, b = (json.dumps(results, sort_keys=True) for results in found)
    if a != b:
        raise SystemExit(f"the trials of {one} differ from the undisturbed ones")


def options_of_run(run: Path):
    if (run / "config.json").exists():
        return ["--resume", run]
    return [*TRAINING.split(), "--run-dir", run]


def options_of_study(db: Path):
    return [*STUDY.split(), "--store", db, "--out", db.with_suffix("")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    kills = dict.fromkeys(("training", "a study", "a shared study"), 0)
    order = itertools.cycle(("training", "training", "a study", "a shared study"))
    with (
        tempfile.TemporaryDirectory() as folder,
        tqdm(total=given.kills, unit="kill") as bar,
    ):
        folder = Path(folder)
        cache, run, db = folder / "programs", folder / "run", folder / "first.db"
        for first in (folder / "compiling", run):  # the second one tells how long
            of_run = whole("train_gan.py", options_of_run(first), cache)
        for first in (folder / "compiling.db", db):
            of_study = whole("compare_optimizers.py", options_of_study(first), cache)
        for turn, what in enumerate(order):
            if sum(kills.values()) >= given.kills:
                break
            training = what == "training"
            other = folder / (f"run{turn}" if training else f"{turn}.db")
            ended, longest = False, of_run if training else of_study
            while not ended:
                killed, ended = disturbed(
                    "train_gan.py" if training else "compare_optimizers.py",
                    options_of_run(other) if training else options_of_study(other),
                    cache,
                    rng.uniform(1, longest),
                    count=1 + (what == "a shared study"),
                )
                longest *= 1.1  # a machine that got busy would never be past a start
                kills[what] += killed
                bar.update(killed)
                bar.set_postfix(kills, refresh=False)
            if training:
                same_run(other, run)
            else:
                same_trials(other, db)
    print(f"{sum(kills.values())} kills, nothing lost: {kills}")


if __name__ == "__main__":
    main()
