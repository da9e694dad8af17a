"""What a run is: one frozen dataclass, checked before anything is built."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Literal

from subsel.gan.losses import LOSSES
from subsel.gan.models import OUTPUTS, SLOPE
from subsel.gan.optimizers import OPTIMIZERS, SCHEDULES
from subsel.lab.errors import UsageError, near
from subsel.lab.files import atomic

_FILE = "config.json"


@dataclasses.dataclass(frozen=True)
class Config:
    """A training run. The defaults are the article's program, where it has a number."""

    dataset: str = "digits"
    """digits, ring, grid, or an image set of tensorflow-datasets: mnist, cifar10, …"""
    data_dir: str | None = None
    """Where tensorflow-datasets keeps its sets; its own default if left out."""
    optimizer: str = "subsel"
    """Of both: subsel, sgd, momentum, adam(w), rmsprop, adabelief, radam, lion, …"""
    d_optimizer: str | None = None
    """Of the discriminator, where it differs."""
    g_optimizer: str | None = None
    """Of the generator, where it differs."""
    loss: str = "non_saturating"
    """minimax (the article's, saturating) or non_saturating."""
    learning_rate: float = 5e-4
    """Step size of both players."""
    d_learning_rate: float | None = None
    """Of the discriminator, where it differs."""
    g_learning_rate: float | None = None
    """Of the generator, where it differs."""
    b1: float = 0.5
    """Decay of the mean of gradients a step; the momentum of momentum."""
    b2: float = 0.999
    """Decay of the mean of squared gradients a step."""
    schedule: str = "constant"
    """Of the learning rate over all steps: constant, linear or cosine (both to 0)."""
    latent: int = 100
    """Dimension of the normal noise that G maps to samples."""
    hidden: tuple[int, ...] = (128, 128)
    """Widths of the dense layers of G and of D."""
    output: str = "auto"
    """Last activation of G: tanh, identity, or auto (tanh for images only)."""
    relu_at_zero: float = 1.0
    """Derivative of the leaky ReLU of G and D at 0, from 0.2 to 1; Flax's is 1."""
    steps: int = 10_000
    """Updates of each player."""
    batch_size: int = 128
    """Real samples a step, and as many generated ones, over all devices."""
    seed: int = 0
    """Of parameters, data order and noise."""
    log_every: int = 1000
    """Steps between reports; each writes metrics and a checkpoint. Divides steps."""
    samples: int = 128
    """Samples drawn and pictured at the end."""
    on_nonfinite: Literal["stop", "continue"] = "stop"
    """What to do when a loss or a parameter becomes NaN or infinite."""
    tensorboard: bool = False
    """Also write TensorBoard event files."""
    run_dir: str | None = None
    """Folder of the run; a new one under runs/ if left out."""
    resume: str | None = None
    """Folder of a run to go on with; its configuration is used."""

    def of(self, player: Literal["d", "g"], field: str):
        """The value of ``field`` for one player."""
        own = getattr(self, f"{player}_{field}")
        return getattr(self, field) if own is None else own


def check(config: Config) -> Config:
    """The configuration, ``log_every`` cut to ``steps`` and ``data_dir`` absolute.

    Raises:
        UsageError: naming the first field that cannot be, what it may be, and the name
            that was probably meant.
    """
    for field in ("latent", "steps", "batch_size", "log_every", "samples"):
        _require(
            config, field, getattr(config, field) >= 1, "a whole number, 1 or more"
        )
    _require(config, "seed", 0 <= config.seed < 2**32, "0 or more, below 2**32")
    widths = all(width >= 1 for width in config.hidden)
    _require(config, "hidden", widths, "widths of 1 or more")
    tied = config.relu_at_zero
    _require(config, "relu_at_zero", SLOPE <= tied <= 1, f"a number from {SLOPE} to 1")
    for field in ("learning_rate", "d_learning_rate", "g_learning_rate"):
        rate = getattr(config, field)
        fine = rate is None or (math.isfinite(rate) and rate > 0)
        _require(config, field, fine, "a positive number")
    for field in ("b1", "b2"):
        beta = getattr(config, field)
        _require(config, field, 0 <= beta < 1, "a number from 0 to below 1")
    for player in "dg":
        one_of("optimizer", config.of(player, "optimizer"), OPTIMIZERS)
    one_of("loss", config.loss, LOSSES)
    one_of("schedule", config.schedule, SCHEDULES)
    one_of("output", config.output, ("auto", *OUTPUTS))
    one_of("on_nonfinite", config.on_nonfinite, ("stop", "continue"))
    config = dataclasses.replace(config, log_every=min(config.log_every, config.steps))
    if config.data_dir:  # a run may be resumed from another folder
        path = str(Path(config.data_dir).expanduser().absolute())
        config = dataclasses.replace(config, data_dir=path)
    if config.steps % config.log_every:
        fewer = config.steps // config.log_every * config.log_every
        divisor = math.gcd(config.steps, config.log_every)
        raise UsageError(
            f"steps {config.steps} is not a multiple of log_every {config.log_every}: "
            f"try --steps {fewer}, or --log-every {divisor}"
        )
    return config


def one_of(field: str, name: str, names) -> None:
    """Raises UsageError, with names that are near, unless ``name`` is in ``names``."""
    if name not in names:
        raise UsageError(
            f"unknown {field} {name!r}: expected one of {', '.join(names)}"
            f"{near(name, names)}"
        )


def save(config: Config, run_dir: Path) -> None:
    """Writes ``config.json``."""
    with atomic(run_dir / _FILE) as path:
        path.write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n")


def load(run_dir: str | Path) -> Config:
    """Reads the configuration of a run.

    Raises:
        UsageError: the folder is not that of a run, or of another version of subsel.
    """
    path = Path(run_dir) / _FILE
    try:
        saved = json.loads(path.read_text())
        return check(Config(**saved | {"hidden": tuple(saved["hidden"])}))
    except FileNotFoundError:
        raise UsageError(
            f"{run_dir} is not the folder of a run: it holds no {_FILE}"
        ) from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{path} cannot be read as a configuration: {error}") from None


def resumed(config: Config) -> Config:
    """The configuration that a resumed run goes on with, which is the saved one.

    Raises:
        UsageError: a field differs from the saved run's; names all that do.
    """
    free = {"resume", "run_dir", "data_dir"}  # where things are is not what the run is
    saved = load(config.resume)
    named = {field.name for field in dataclasses.fields(Config)} - free
    changed = [
        f"{name} was {getattr(saved, name)!r}, now {getattr(config, name)!r}"
        for name in sorted(named)
        if getattr(saved, name) != getattr(config, name)
    ]
    if changed:
        raise UsageError(
            f"{config.resume} was started with another configuration: "
            f"{'; '.join(changed)}. Leave these options out to resume it, or start a "
            "new run with another --run-dir"
        )
    if config.run_dir not in (None, config.resume, saved.run_dir):
        raise UsageError(
            f"--run-dir {config.run_dir} with --resume {config.resume}: a run goes on "
            "in its own folder; leave --run-dir out"
        )
    return dataclasses.replace(config, run_dir=config.resume)


def _require(config, field, fine, expected):
    if not fine:
        flag = field.replace("_", "-")
        value = getattr(config, field)
        raise UsageError(f"--{flag} {value}: expected {expected}")
