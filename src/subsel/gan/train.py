"""The training job: builds everything once, runs it, reports, saves, draws.

In one file because no other module may talk to the terminal and to the clock.
"""

import contextlib
import signal
import sys
import threading
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from subsel.gan import checkpoint, config, game, hosts, record, sample, step, summary
from subsel.gan.config import Config
from subsel.gan.evaluate import Evaluation, evaluation
from subsel.gan.game import Game
from subsel.gan.step import State
from subsel.lab import files
from subsel.lab.errors import RunError, UsageError


def train(cfg: Config) -> Path:
    """Trains, or resumes, and returns the folder of the run.

    Raises:
        UsageError: the configuration, the data or the folder is not usable.
        RunError: training cannot go on; says what was saved.
        KeyboardInterrupt: Ctrl-C or SIGTERM, after a checkpoint.
    """
    with contextlib.ExitStack() as alone:
        with hosts.watched("start again"):
            cfg, playing, judge, run_dir = hosts.together(lambda: _prepared(cfg, alone))
            run_dir = Path(hosts.from_leader(str(run_dir)))
        try:
            with hosts.watched(f"go on with --resume {run_dir}"):
                _play(cfg, playing, judge, run_dir)
        except OSError as error:
            raise RunError(
                f"{run_dir} cannot be written: {error}. Nothing that was saved is "
                f"lost; mend it and go on with --resume {run_dir}"
            ) from error
    return run_dir


def _play(cfg: Config, playing: Game, judge: Evaluation | None, run_dir: Path) -> None:
    at = hosts.from_leader(cfg.resume and checkpoint.latest(run_dir))
    state = hosts.together(lambda: _start(cfg, playing, run_dir, at))
    state = _loop(cfg, playing, judge, run_dir, state)
    hosts.together(
        lambda: hosts.leads() and _finish(cfg, playing, judge, run_dir, state)
    )


def _prepared(
    cfg: Config, alone: contextlib.ExitStack
) -> tuple[Config, Game, Evaluation | None, Path | None]:
    """What is checked and made before the first step; the leader does half of it.

    ``alone`` gets the lock of the folder, which the leader writes.
    """
    cfg = config.resumed(cfg) if cfg.resume else config.check(cfg)
    share = jax.device_count() * cfg.pack * cfg.microbatches
    if cfg.batch_size % share:
        raise UsageError(
            f"--batch-size {cfg.batch_size} is not divisible by {share}, the number of "
            "devices times --pack times --microbatches: "
            + (
                "a run goes on with its own batch; use a number of devices that "
                "divides it"
                if cfg.resume
                else f"try {max(cfg.batch_size // share, 1) * share}"
            )
        )
    playing = game.build(cfg)
    if len(playing.dataset.rows) < cfg.batch_size and not playing.dataset.noise:
        raise UsageError(
            f"--batch-size {cfg.batch_size} is larger than the data set: "
            f"{cfg.dataset} has {len(playing.dataset.rows)} images"
        )
    if not hosts.leads():
        return cfg, playing, None, None
    judge = evaluation(cfg, playing)
    if not cfg.resume:
        return cfg, playing, judge, _folder(cfg, alone)
    run_dir = Path(cfg.run_dir)
    alone.enter_context(files.alone(run_dir, "wait, or mend it, and resume again"))
    return cfg, playing, judge, run_dir


def _folder(cfg: Config, alone: contextlib.ExitStack) -> Path:
    """A new, empty folder for the run, with its configuration."""
    if cfg.run_dir:
        candidates = [Path(cfg.run_dir)]
    else:
        stem = f"{cfg.dataset}-{cfg.optimizer}-seed{cfg.seed}".replace("/", "-")
        candidates = (Path("runs") / f"{stem}-{i:03d}" for i in range(1, 1000))
    for run_dir in candidates:
        try:
            run_dir.mkdir(parents=True, exist_ok=bool(cfg.run_dir))
            _empty(run_dir)
            alone.enter_context(files.alone(run_dir, "choose another with --run-dir"))
            _empty(run_dir)  # of what another process wrote in between
            config.save(cfg, run_dir)
            return run_dir
        except FileExistsError:
            if cfg.run_dir:
                raise UsageError(
                    f"--run-dir {run_dir} is a file: choose a folder"
                ) from None
            continue
        except OSError as error:
            raise UsageError(
                f"the run folder {run_dir} cannot be written: {error.strerror}; choose "
                "another with --run-dir"
            ) from None
    raise UsageError("runs/ is full of runs of this name: choose one with --run-dir")


def _empty(run_dir: Path) -> None:
    if any(path.name != files.LOCK for path in run_dir.iterdir()):
        raise UsageError(
            f"--run-dir {run_dir} is not empty: go on with --resume {run_dir}, or "
            "choose another folder"
        )


def _start(cfg: Config, playing: Game, run_dir: Path, at: int | None) -> State:
    state = game.fresh(cfg, playing)
    # A run that was killed before its first checkpoint starts over, exactly.
    if at is not None:
        state = checkpoint.restore(run_dir, state, at)
    if hosts.leads() and cfg.resume:
        record.truncate(run_dir, int(state.step))
        if int(state.step) == cfg.steps:
            print("all steps are done already; drawing the pictures again")
    return state


def _loop(
    cfg: Config,
    playing: Game,
    judge: Evaluation | None,
    run_dir: Path,
    state: State,
) -> State:
    body = step.make_step(playing.nets, playing.tx, playing.rules, step.ALL)
    run = step.make_run(body, cfg.log_every)
    pool = playing.dataset.rows, playing.dataset.labels
    pool = jax.device_put(pool, step.sharding())
    slots = step.slots(cfg.batch_size, cfg.microbatches)
    done = int(state.step)
    with contextlib.ExitStack() as stack:
        interrupted = stack.enter_context(_interrupt_between_reports(run_dir))
        report = hosts.together(
            lambda: stack.enter_context(_reports(cfg, playing, judge, run_dir, done))
        )

        def between():
            report(state, metrics, finite)
            if interrupted():
                raise KeyboardInterrupt(
                    f"stopped after step {done} of {cfg.steps}; go on with --resume "
                    f"{run_dir}"
                )

        while done < cfg.steps:
            state, metrics, finite = run(state, pool, slots)
            metrics, finite = jax.device_get((metrics, finite))
            done += cfg.log_every
            hosts.together(between)
    return state


@contextlib.contextmanager
def _reports(
    cfg: Config, playing: Game, judge: Evaluation | None, run_dir: Path, done: int
):
    """Yields what the leader does after each report: measure, record, save, show."""
    if not hosts.leads():
        yield lambda state, metrics, finite: None
        return
    with contextlib.ExitStack() as stack:
        saver = checkpoint.open(run_dir)
        stack.callback(checkpoint.close, saver)
        board = stack.enter_context(_tensorboard(cfg, run_dir, done))
        bar = tqdm(desc="compiling", total=cfg.steps, initial=done, unit="step")
        stack.enter_context(bar)

        def report(state, metrics, finite):
            done = int(state.step)
            first = done - cfg.log_every + 1
            problem = _nonfinite(first, metrics, finite)
            stop = problem and cfg.on_nonfinite == "stop"
            found = {}
            if judge.due(done) and not stop:
                bar.set_description("evaluating")
                found = judge.run(state)
            elif not stop:
                found = judge.glance(state)
            if not stop:
                _picture(run_dir, done, playing, cfg, state)
            record.append(run_dir, first, metrics, found)
            if stop:
                raise RunError(f"{problem}. {_last_checkpoint(run_dir, first - 1)}")
            checkpoint.save(saver, state)
            shown = _shown(metrics, found)
            bar.set_description("training", refresh=False)
            bar.set_postfix(shown, refresh=False)
            bar.update(cfg.log_every)
            bar.write(
                f"step {done}: " + ", ".join(f"{k} {v}" for k, v in shown.items())
            )
            if problem:
                bar.write(f"{problem}; going on")
            sys.stdout.flush()  # a file or a pipe would get it much later
            board(done, metrics, found)

        yield report


def _shown(metrics, found) -> dict[str, str]:
    """What the progress line has room for; how many modes or classes G still makes."""
    names = ("d_loss", "g_loss", "d_grad_norm", "g_grad_norm")
    shown = {name: f"{metrics[name][-1]:.4f}" for name in names}
    of_found = ("modes_honest", "modes", "classes", "classes_seen")
    of_found += ("high_quality", "frechet")
    return shown | {name: f"{found[name]:.4g}" for name in of_found if name in found}


def _picture(run_dir: Path, done: int, playing: Game, cfg: Config, state: State):
    folder = run_dir / "samples"
    folder.mkdir(exist_ok=True)
    width = len(str(cfg.steps))
    sample.sheet(folder / f"{done:0{width}d}.png", playing, cfg, state)


def _nonfinite(first_step: int, metrics, finite) -> str | None:
    """What became NaN or infinite in this report, and when; None if nothing did."""
    found = []
    for name in ("d_loss", "g_loss"):
        bad = np.flatnonzero(~np.isfinite(metrics[name]))
        if bad.size:
            found.append(
                f"{name} is {metrics[name][bad[0]]} at step {first_step + bad[0]}"
            )
    leaves, _ = jax.tree.flatten_with_path(finite)
    names = [_name(path) for path, fine in leaves if not fine]
    if names:
        last = first_step + len(metrics["d_loss"]) - 1
        found.append(f"not finite at step {last}: {', '.join(names)}")
    return "; ".join(found) or None


def _name(path) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _last_checkpoint(run_dir: Path, done: int) -> str:
    saved = f"at step {done} in {run_dir}" if done else "none yet"
    return (
        f"Last good checkpoint: {saved}. Start a new run with a smaller "
        "--learning-rate, or with --on-nonfinite continue"
    )


@contextlib.contextmanager
def _interrupt_between_reports(run_dir: Path):
    """Yields whether Ctrl-C was pressed, or the process was asked to end, as a cluster
    does before it takes a machine back; a second time interrupts at once.

    The state is donated to the program while that runs, so the only states that can be
    saved are those between reports.
    """
    asked = []

    def handler(number, frame):
        if asked:
            raise KeyboardInterrupt(
                "stopped at once; what the last report saved is kept, and goes on with "
                f"--resume {run_dir}"
            )
        asked.append(number)
        sys.stderr.write("\nstopping after this report; a second time stops at once\n")

    signals = signal.SIGINT, signal.SIGTERM
    if threading.current_thread() is not threading.main_thread():
        signals = ()  # somebody else's business
    previous = {number: signal.signal(number, handler) for number in signals}
    try:
        yield lambda: bool(asked)
    finally:
        for number, before in previous.items():
            signal.signal(number, before or signal.SIG_DFL)  # None: not Python's


@contextlib.contextmanager
def _tensorboard(cfg: Config, run_dir: Path, done: int):
    """Yields a function of the last step and the metrics of a report."""
    if not cfg.tensorboard:
        yield lambda last, metrics, found: None
        return
    from tensorboardX import SummaryWriter  # an option need not cost the others time

    # Events after the checkpoint belong to steps that are about to be done again.
    with SummaryWriter(str(run_dir / "tensorboard"), purge_step=done + 1) as writer:

        def write(last, metrics, found):
            for name, values in metrics.items():
                for step_, value in enumerate(values, start=last - len(values) + 1):
                    writer.add_scalar(name, value, step_)
            for name, value in found.items():
                if name != "protocol":
                    writer.add_scalar(name, value, last)
            writer.flush()

        yield write


def _finish(
    cfg: Config, playing: Game, judge: Evaluation, run_dir: Path, state: State
) -> None:
    sample.sheet(run_dir / "samples.png", playing, cfg, state)
    rows = record.read(run_dir)
    summary.write(run_dir, cfg, rows, judge.floor())
    print(f"\n{cfg.steps} steps done. In {run_dir}:")
    print(f"  samples.png     {cfg.samples} samples of the generator")
    print("  curves.png      losses, gradients and metrics over the steps")
    print("  summary.md      the final and the best value of every metric")
    print("  metrics.jsonl   one line a step")
    print("  config.json, checkpoints/   to resume or to sample from")
    for player in ("d", "g"):
        if f"{player}_fired" in rows[-1]:
            each = cfg.d_steps if player == "d" else 1
            fired = each * sum(row[f"{player}_fired"] for row in rows)
            print(
                f"Zero rule acted in {fired:.0f} of {each * cfg.steps} updates of "
                f"{player}."
            )
    walk = " --interpolate" if playing.dataset.rows.ndim > 2 else ""
    print(f"\nNext: python experiments/sample.py {run_dir}{walk}")
    print("      python experiments/train_gan.py --help")
