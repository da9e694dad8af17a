"""What a configuration may be: each option alone, then the options together.

In one file because it is one list, which is read from above.
"""

import dataclasses
import math
from pathlib import Path

from subsel.gan.augment import POLICIES
from subsel.gan.losses import LOSSES
from subsel.gan.models import AT_ZERO, MODELS, NORMS, OUTPUTS, PRECISIONS
from subsel.gan.optimizers import EVALUATE, GAMES, OPTIMIZERS, SCHEDULES, SNAPSHOTS
from subsel.gan.penalties import PENALTIES
from subsel.lab.errors import UsageError, near

_COUNTS = (
    *("latent", "width", "d_width", "g_width", "steps", "batch_size", "log_every"),
    *("samples", "pack", "d_steps", "microbatches", "penalty_every", "candidates"),
    "snapshot_every",
)
_POSITIVE = (
    *("learning_rate", "d_learning_rate", "g_learning_rate"),
    *("penalty_weight", "clip_weights", "eps", "radius", "temperature"),
)
_NAMES = {
    "model": MODELS,
    "norm": ("auto", *NORMS),
    "d_norm": ("auto", *NORMS),
    "g_norm": ("auto", *NORMS),
    "relu_at_zero": AT_ZERO,
    "output": ("auto", *OUTPUTS),
    "precision": PRECISIONS,
    "loss": LOSSES,
    "penalties": PENALTIES,
    "augment": POLICIES,
    "game": GAMES,
    "snapshot_select": SNAPSHOTS,
    "optimizer": OPTIMIZERS,
    "d_optimizer": OPTIMIZERS,
    "g_optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "on_nonfinite": ("stop", "continue"),
}
_TO_ONE = {"wgan_gp", "dragan"}  # what they ask the length of D's gradient to be

_DRAWN_FROM_POINTS = {"ring", "grid"}
_ONE_GRADIENT = {"alternating", "simultaneous"}  # a player's, where it is


def _given(config, *fields):
    """Whether any is not at its default, which its class has as an attribute."""
    return any(getattr(config, f) != getattr(type(config), f) for f in fields)


# What is refused although each option is fine alone: when, what, and why.
_REFUSED = (
    (
        lambda c: (
            c.loss == "wasserstein"
            and not (c.penalties or c.clip_weights or c.spectral)
        ),
        "--loss wasserstein alone",
        "it grows without bound unless D is kept Lipschitz: add --penalties wgan_gp, "
        "--clip-weights 0.01 or --spectral",
    ),
    (
        lambda c: c.penalties and c.of("d", "norm") == "batch",
        "--penalties with batch normalisation in D",
        "a gradient penalty is of one sample, and batch normalisation makes D's output "
        "depend on the others (Gulrajani 2017): use --d-norm layer or none",
    ),
    (
        lambda c: c.spectral and c.of("d", "norm") in ("batch", "layer"),
        "--spectral with batch or layer normalisation in D",
        "what divides by the size of a layer's outputs undoes the division by the size "
        "of its weights, and has scales of its own (Miyato 2018 has none): use "
        "--d-norm none",
    ),
    (
        lambda c: c.model == "resnet" and (c.of("d", "hidden") or c.of("g", "hidden")),
        "--hidden with --model resnet",
        "it has no dense layers but the first and the last, which have their widths",
    ),
    (
        lambda c: c.clip_weights and c.spectral,
        "--clip-weights with --spectral",
        "spectral normalisation divides by the size of the weights, so clipping them "
        "bounds nothing: choose one",
    ),
    (
        lambda c: c.clip_weights and _TO_ONE & {*c.penalties},
        "--clip-weights with --penalties wgan_gp or dragan",
        "the penalty asks for a gradient of length 1, which clipped weights cannot "
        "follow: choose one",
    ),
    (
        lambda c: c.spectral and _TO_ONE & {*c.penalties},
        "--spectral with --penalties wgan_gp or dragan",
        "every layer of D is held below length 1, so that their product cannot be kept "
        "at the length 1 that the penalty asks for: choose one, or r1",
    ),
    (
        lambda c: not c.penalties and _given(c, "penalty_every", "penalty_weight"),
        "--penalty-every or --penalty-weight without --penalties",
        "there is no penalty to apply: add --penalties r1, or another",
    ),
    (
        lambda c: c.conditional and c.pack > 1,
        "--conditional with --pack",
        "samples that D judges together would be of different classes",
    ),
    (
        lambda c: c.d_steps > 1 and c.game != "alternating",
        "--d-steps with players that move at once",
        "such a game has one field, in which each player has one gradient a step: use "
        "--game alternating, or --d-learning-rate",
    ),
    (
        lambda c: any(len({*x}) < len(x) for x in (c.penalties, c.augment)),
        "a name twice in --penalties or --augment",
        "it would count twice, or do nothing: use --penalty-weight",
    ),
    (
        lambda c: c.batch_size % (c.pack * c.microbatches),
        "a --batch-size that is no multiple of --pack times --microbatches",
        "some samples would have no place",
    ),
    (
        lambda c: c.snapshots and c.game != "alternating",
        "--snapshots with players that move at once",
        "such a game has one field, in which G faces the D that it moves with: use "
        "--game alternating",
    ),
    (
        lambda c: c.snapshots and c.snapshot_every >= c.steps,
        "--snapshot-every that --steps does not exceed",
        "G would never face an earlier D: take more steps, or snapshots more often",
    ),
    (
        lambda c: not c.snapshots and _given(c, "snapshot_every", "snapshot_select"),
        "--snapshot-every or --snapshot-select without --snapshots",
        "there is none to take or to select from: add --snapshots 1",
    ),
    (
        lambda c: c.lookahead_every > c.steps,
        "--lookahead-every above --steps",
        "it would never return to the slow parameters",
    ),
    (
        lambda c: not c.lookahead_every and _given(c, "lookahead_share"),
        "--lookahead-share without --lookahead-every",
        "there is nothing to return to: add --lookahead-every 5",
    ),
    (
        lambda c: c.lookahead_every and c.clip_weights,
        "--lookahead-every with --clip-weights",
        "the slow parameters begin at the initial ones, which no update has clipped: "
        "choose one",
    ),
    (
        lambda c: c.model == "mlp" and _given(c, "width", "d_width", "g_width"),
        "--width with --model mlp",
        "it has no convolutions, whose channels that counts: use --hidden",
    ),
    (
        lambda c: c.dataset in _DRAWN_FROM_POINTS and c.output == "tanh",
        "--output tanh with the points of a mixture",
        "they lie beyond [-1, 1], where G could not reach them: use --output identity",
    ),
    (
        lambda c: (
            c.game not in _ONE_GRADIENT
            and EVALUATE & {c.of(p, "optimizer") for p in ("d", "g")}
        ),
        "an --optimizer that evaluates gradients itself, with such a --game",
        "both choose the point that the gradient is taken at: use --game alternating "
        "or simultaneous, or --optimizer adam",
    ),
)


def check(config):
    """The configuration, ``log_every`` cut to ``steps`` and ``data_dir`` absolute.

    Raises:
        UsageError: naming the first field that cannot be, what it may be, and the name
            that was probably meant; or the options that make no sense together, and
            why.
    """
    _check_each(config)
    for refused, what, why in _REFUSED:
        if refused(config):
            raise UsageError(f"{what} makes no sense: {why}")
    config = dataclasses.replace(config, log_every=min(config.log_every, config.steps))
    if config.data_dir:  # a run may be resumed from another folder
        path = str(Path(config.data_dir).expanduser().absolute())
        config = dataclasses.replace(config, data_dir=path)
    if config.steps % config.log_every:
        fewer = config.steps // config.log_every * config.log_every
        raise UsageError(
            f"--steps {config.steps} is not a multiple of --log-every "
            f"{config.log_every}: try --steps {fewer}, or --log-every "
            f"{math.gcd(config.steps, config.log_every)}"
        )
    if config.eval_every and config.eval_every % config.log_every:
        raise UsageError(
            f"--eval-every {config.eval_every} is not a multiple of --log-every "
            f"{config.log_every}: a report writes what an evaluation finds"
        )
    return config


def one_of(field: str, name: str, names) -> None:
    """Raises UsageError, with names that are near, unless ``name`` is in ``names``."""
    if name not in names:
        raise UsageError(
            f"unknown {field} {name!r}: expected one of {', '.join(names)}"
            f"{near(name, names)}"
        )


def seed(number: int) -> None:
    """Raises UsageError where no key of JAX can be made of ``number``."""
    if not 0 <= number < 2**32:
        raise UsageError(f"--seed {number}: expected 0 or more, below 2**32")


def _check_each(config):
    """Every option alone; None, where it is allowed, stands for another's value."""
    seed(config.seed)
    given = {k: v for k, v in vars(config).items() if v is not None}
    for field, names in _NAMES.items():
        value = given.get(field, ())
        for name in (value,) if isinstance(value, str) else value:
            one_of(field.removeprefix("d_").removeprefix("g_"), name, names)
    ranges = {field: (lambda x: x >= 1, "1 or more") for field in _COUNTS}
    ranges |= {field: (_positive, "a positive number") for field in _POSITIVE}
    ranges |= {
        field: (lambda x: 0 <= x < 1, "a number from 0 to below 1")
        for field in ("b1", "b2", "ema", "slope", "d_slope", "g_slope")
    }
    ranges |= {
        field: (lambda x: min(x, default=1) >= 1, "widths of 1 or more")
        for field in ("hidden", "d_hidden", "g_hidden")
    }
    ranges |= {
        field: (lambda x: x >= 0, "0 or more")
        for field in ("lookahead_every", "eval_every", "snapshots")
    }
    ranges["eval_samples"] = (lambda x: x > 5, "6 or more, of which each has 5 others")
    ranges["lookahead_share"] = (lambda x: 0 < x <= 1, "a number above 0, up to 1")
    for field, (fine, expected) in ranges.items():
        if field in given and not fine(given[field]):
            flag = field.replace("_", "-")
            raise UsageError(f"--{flag} {given[field]}: expected {expected}")


def _positive(x):
    return math.isfinite(x) and x > 0
