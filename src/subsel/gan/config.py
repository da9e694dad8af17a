"""What a run is: one frozen dataclass, checked before anything is built."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Literal

from subsel.gan.checks import check
from subsel.lab.errors import UsageError
from subsel.lab.files import atomic

_FILE = "config.json"


@dataclasses.dataclass(frozen=True)
class Config:
    """A training run. The defaults are the article's program, where it has a number."""

    dataset: str = "digits"
    """digits, ring, grid, stacked_mnist, signals, or an image set of
    tensorflow-datasets: mnist, cifar10, …"""
    data_dir: str | None = None
    """Where tensorflow-datasets keeps its sets; its own default if left out."""

    model: str = "mlp"
    """mlp (the article's program), dcgan (its text: convolutions) or resnet."""
    hidden: tuple[int, ...] | None = None
    """Widths of the dense layers: all of mlp's, 128 128 if left out; the first of G and
    the last of D of dcgan, none if left out."""
    d_hidden: tuple[int, ...] | None = None
    """Of the discriminator, where they differ."""
    g_hidden: tuple[int, ...] | None = None
    """Of the generator, where they differ."""
    width: int = 64
    """Channels of a convolutional network at its highest resolution."""
    d_width: int | None = None
    """Of the discriminator, where they differ."""
    g_width: int | None = None
    """Of the generator, where they differ."""
    norm: str = "auto"
    """Normalisation: none, batch, layer, or auto, the model's own: none for an MLP,
    batch for dcgan (none in D under a gradient penalty) and for G of resnet."""
    d_norm: str | None = None
    """Of the discriminator, where it differs."""
    g_norm: str | None = None
    """Of the generator, where it differs."""
    spectral: bool = False
    """Spectral normalisation of D."""
    slope: float | None = None
    """Of the leaky ReLU; 0 is ReLU. The model's own if left out: 0.2 for an MLP and for
    D of dcgan, 0 elsewhere."""
    d_slope: float | None = None
    """Of the discriminator, where it differs."""
    g_slope: float | None = None
    """Of the generator, where it differs."""
    relu_at_zero: str = "auto"
    """Derivative of the (leaky) ReLU at 0: left, mid, right, or auto, which is JAX's: 0
    for ReLU, 1 for leaky ReLU."""
    output: str = "auto"
    """Last activation of G: tanh, identity, or auto (identity for points only)."""
    latent: int = 100
    """Dimension of the normal noise that G maps to samples."""
    conditional: bool = False
    """Tell both networks the class; D by projection."""
    precision: str = "float32"
    """Of the networks' arithmetic: float32 or bfloat16; parameters are float32."""

    loss: str = "non_saturating"
    """minimax (the article's, saturating), non_saturating, hinge, least_squares,
    wasserstein or relativistic (average)."""
    penalties: tuple[str, ...] = ()
    """Added to D's loss: wgan_gp, dragan, r1, r2."""
    penalty_weight: float = 10.0
    """Factor of the penalties."""
    penalty_every: int = 1
    """D's updates between penalties, each then that many times as heavy."""
    clip_weights: float | None = None
    """Keep every weight of D in [-c, c]."""
    augment: tuple[str, ...] = ()
    """Differentiable augmentation of all that D sees: color, translation, cutout."""
    pack: int = 1
    """Samples that D judges together."""

    game: str = "alternating"
    """alternating, or both players at once: simultaneous, extragradient (and its
    controls: …_mean, …_random, …_reversed), past_extragradient, reflected."""
    d_steps: int = 1
    """Updates of D for one of G, where the players alternate."""
    snapshots: int = 0
    """Earlier discriminators that G is judged by as well as by the current one, where
    the players alternate; 0: none."""
    snapshot_every: int = 100
    """Steps between two of them."""
    snapshot_select: str = "min_norm"
    """What becomes of G's gradients against each: min_norm, the shortest of their hull;
    mean (fictitious play); random, one of them, as a control."""
    microbatches: int = 1
    """Parts of the batch that gradients are accumulated over."""
    lookahead_every: int = 0
    """Steps between lookahead's returns to slow parameters of both players; 0: none.
    What is drawn and measured in between is of the fast ones."""
    lookahead_share: float = 0.5
    """How far they go from the slow parameters to the fast ones."""
    ema: float = 0.0
    """Decay a step of the average of G that samples and metrics use; 0: no average.
    The statistics of a batch-normalised one are taken anew, from 4,000 of its own."""

    optimizer: str = "subsel"
    """Of both: subsel, sgd, momentum, adam(w), rmsprop, adabelief, radam, lion, …; or
    Adam after a selection: history_min_norm, ball_mean, reflect, …"""
    d_optimizer: str | None = None
    """Of the discriminator, where it differs."""
    g_optimizer: str | None = None
    """Of the generator, where it differs."""
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
    eps: float = 1e-8
    """Added to the root of that mean."""
    candidates: int = 2
    """Gradients that history_… and ball_… select from, the newest included."""
    radius: float = 0.1
    """Of the ball that ball_… takes its gradients from, Euclidean, of one player."""
    schedule: str = "constant"
    """Of the learning rate over all steps: constant, linear or cosine (both to 0)."""

    steps: int = 10_000
    """Updates of G."""
    batch_size: int = 128
    """Real samples an update of D, and as many generated ones, over all devices."""
    seed: int = 0
    """Of parameters, data order and noise."""
    log_every: int = 1000
    """Steps between reports; each writes metrics and a checkpoint. Divides steps."""
    eval_every: int | None = None
    """Steps between evaluations, a multiple of log_every. If left out: every report of
    a mixture; of images at the end alone. 0: none."""
    eval_samples: int = 10_000
    """Generated samples a metric sees; of images, no more than the test split has."""
    samples: int = 128
    """Samples drawn and pictured."""
    temperature: float = 1.0
    """Standard deviation of the noise that is drawn from, in pictures, metrics and
    exports; training has 1. Below 1 samples are better and vary less (Kingma 2018)."""
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


def digest(config: Config) -> str:
    """Eight hexadecimal digits of what a run is, which name its results.

    Of the options that are not at their defaults, so that results outlive new options;
    where a default or what an option means changes, results must be named anew. Not of
    where the data are.
    """
    config = dataclasses.replace(config, data_dir=None)
    plain = dataclasses.asdict(Config())
    said = {k: v for k, v in dataclasses.asdict(config).items() if v != plain[k]}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:8]


def save(config: Config, run_dir: Path) -> None:
    """Writes ``config.json``."""
    with atomic(run_dir / _FILE) as path:
        path.write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n")


def load(run_dir: str | Path, **others) -> Config:
    """Reads the configuration of a run.

    ``others`` take the place of its own options, but where they are None.

    Raises:
        UsageError: the folder is not that of a run, or of another version of subsel;
            or an option cannot be so.
    """
    path = Path(run_dir) / _FILE
    try:
        saved = json.loads(path.read_text())
        names = {field.name for field in dataclasses.fields(Config)}
        if not isinstance(saved, dict) or saved.keys() != names:
            raise ValueError("it holds not all the options of this version, or others")
        listed = {k: tuple(v) for k, v in saved.items() if isinstance(v, list)}
        config = check(Config(**saved | listed))
    except (FileNotFoundError, NotADirectoryError):
        why = f"holds no {_FILE}" if Path(run_dir).is_dir() else "is no folder"
        raise UsageError(
            f"{run_dir or repr('')} is not the folder of a run: it {why}"
        ) from None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read as a configuration: {error}") from None
    given = {name: value for name, value in others.items() if value is not None}
    return check(dataclasses.replace(config, **given))


def resumed(config: Config) -> Config:
    """The configuration that a resumed run goes on with, which is the saved one.

    Raises:
        UsageError: a field differs from the saved run's; names all that do.
    """
    free = {"resume", "run_dir", "data_dir"}  # where things are is not what the run is
    saved, config = load(config.resume), check(config)
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
