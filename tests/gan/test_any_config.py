"""Configurations that nobody thought of: each trains, or is refused with the reason.

    EXAMPLES=500 pytest tests/gan/test_any_config.py

plays 500 of them, other ones each time.
"""

import dataclasses
import math
import os
import tempfile
from pathlib import Path

import jax
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from subsel.gan import augment, record, train
from subsel.gan.config import Config
from subsel.gan.losses import LOSSES
from subsel.gan.models import AT_ZERO, MODELS, NORMS, OUTPUTS, PRECISIONS
from subsel.gan.optimizers import GAMES, OPTIMIZERS, SCHEDULES, SNAPSHOTS
from subsel.gan.penalties import PENALTIES
from subsel.lab.errors import RunError, UsageError

EXAMPLES = settings(
    max_examples=int(os.environ.get("EXAMPLES", 6)),
    derandomize="EXAMPLES" not in os.environ,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)

COUNT = st.integers(-1, 4)
FACTOR = st.sampled_from([-1.0, 0.0, 1e-3, 0.5, 1.0, 3.0, 1e30, math.nan, math.inf])
WIDTHS = st.lists(st.integers(0, 6), max_size=2).map(tuple)


def names(*of):
    """Mostly those there are, and one there is not."""
    known = [name for table in of for name in table]
    return st.sampled_from([*known, known[0] + "x"])


def some(table):
    return st.lists(names(table), max_size=2).map(tuple)


# Small where it can be: width, dense layers and noise of a few units each.
FIELDS = {
    "dataset": names(["digits", "ring", "grid", "signals"]),
    "model": names(MODELS),
    "hidden": WIDTHS,
    "d_hidden": st.none() | WIDTHS,
    "g_hidden": st.none() | WIDTHS,
    "width": COUNT,
    "d_width": st.none() | COUNT,
    "g_width": st.none() | COUNT,
    "norm": names(["auto"], NORMS),
    "d_norm": st.none() | names(NORMS),
    "g_norm": st.none() | names(NORMS),
    "spectral": st.booleans(),
    "slope": st.none() | FACTOR,
    "d_slope": st.none() | FACTOR,
    "g_slope": st.none() | FACTOR,
    "relu_at_zero": names(AT_ZERO),
    "output": names(["auto"], OUTPUTS),
    "latent": COUNT,
    "conditional": st.booleans(),
    "precision": names(PRECISIONS),
    "loss": names(LOSSES),
    "penalties": some(PENALTIES),
    "penalty_weight": FACTOR,
    "penalty_every": COUNT,
    "clip_weights": st.none() | FACTOR,
    "augment": some(augment.POLICIES),
    "pack": COUNT,
    "game": names(GAMES),
    "d_steps": COUNT,
    "snapshots": COUNT,
    "snapshot_every": COUNT,
    "snapshot_select": names(SNAPSHOTS),
    "microbatches": COUNT,
    "lookahead_every": COUNT,
    "lookahead_share": FACTOR,
    "ema": FACTOR,
    "optimizer": names(OPTIMIZERS),
    "d_optimizer": st.none() | names(OPTIMIZERS),
    "g_optimizer": st.none() | names(OPTIMIZERS),
    "learning_rate": FACTOR,
    "d_learning_rate": st.none() | FACTOR,
    "g_learning_rate": st.none() | FACTOR,
    "b1": FACTOR,
    "b2": FACTOR,
    "eps": FACTOR,
    "candidates": COUNT,
    "radius": FACTOR,
    "schedule": names(SCHEDULES),
    "steps": st.just(3),
    "batch_size": st.sampled_from([0, 1, 2, 4, 8, 2000]),
    "seed": st.sampled_from([-1, 0, 7, 2**32 - 1, 2**32]),
    "log_every": COUNT,
    "eval_every": st.just(0),
    "eval_samples": COUNT,
    "samples": COUNT,
    "temperature": FACTOR,
    "on_nonfinite": st.sampled_from(["stop", "continue", "go on"]),
    "tensorboard": st.booleans(),
}
# What every example has unless it is drawn: tiny, and no evaluation.
TINY = {"latent": 3, "steps": 3, "eval_every": 0, "batch_size": 4, "samples": 4}
ELSEWHERE = {"data_dir", "run_dir", "resume"}  # where things are; test_train has them


def test_no_option_is_left_out():
    assert FIELDS.keys() | ELSEWHERE == {f.name for f in dataclasses.fields(Config)}


@EXAMPLES
@given(
    st.sets(st.sampled_from(sorted(FIELDS)), max_size=6).flatmap(
        lambda chosen: st.fixed_dictionaries({name: FIELDS[name] for name in chosen})
    )
)
def test_any_configuration_trains_or_is_refused(options):
    is_mlp = options.get("model", "mlp") == "mlp"
    size = {"hidden": (4,)} if is_mlp else {"width": 2}
    cfg = Config(**TINY | size | options)
    if cfg.snapshots > 0 and "snapshot_every" not in options:  # else after three steps
        cfg = dataclasses.replace(cfg, snapshot_every=1)
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        try:
            train.train(dataclasses.replace(cfg, run_dir=str(run_dir)))
        except UsageError as error:
            assert not run_dir.exists() and len(str(error)) > 20
        except RunError as error:
            assert "Last good checkpoint" in str(error)
        else:
            assert len(record.read(run_dir)) == 3
    jax.clear_caches()  # hundreds of programs that nobody runs again
