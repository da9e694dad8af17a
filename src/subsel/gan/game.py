"""What a configuration means: the data, the networks, the optimizers, the rules."""

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from subsel.gan import augment, checkpoint, config, data, models, penalties, step
from subsel.gan.config import Config
from subsel.gan.losses import LOSSES
from subsel.gan.objective import Pair
from subsel.gan.optimizers import GAMES, OPTIMIZERS, SCHEDULES, SNAPSHOTS, Numbers
from subsel.gan.snapshots import Snapshots
from subsel.lab.errors import UsageError

# A model's own normalisation and slope of the leaky ReLU, where a run names none.
_OWN = {
    "mlp": Pair(d=("none", 0.2), g=("none", 0.2)),
    "dcgan": Pair(d=("batch", 0.2), g=("batch", 0.0)),  # Radford 2016
    "resnet": Pair(d=("none", 0.0), g=("batch", 0.0)),  # Miyato 2018
}
_BATCHES = 8, 500  # of noise, that the statistics of averaged weights are taken from


class Game(NamedTuple):
    """Functions, and the data that they are applied to."""

    dataset: data.Dataset
    nets: Pair
    tx: Pair
    rules: step.Rules
    generator: Callable  # State -> G's Variables that samples are drawn with, compiled
    # (G's Variables, z [N, L] of deviation 1, label [N]) -> samples [N, ...], compiled
    draw: Callable


def build(cfg: Config, dataset: data.Dataset | None = None) -> Game:
    """The data set, networks, optimizers and rules of a checked configuration.

    ``dataset`` takes the place of the one that ``cfg`` names.

    Raises:
        UsageError: the data cannot be had, or do not go with the networks.
    """
    dataset = dataset or data.load(cfg.dataset, cfg.data_dir)
    shape, classes = dataset.shape, dataset.classes if cfg.conditional else 0
    points = len(shape) == 1
    if cfg.augment and len(shape) < 3:
        raise UsageError(
            f"--augment {' '.join(cfg.augment)} is for images, and {cfg.dataset} has "
            "none: leave it out"
        )
    if points and cfg.model != "mlp":
        raise UsageError(
            f"--model {cfg.model} is for images and signals, and {cfg.dataset} has "
            "points of the plane: use --model mlp"
        )
    output = cfg.output
    if output == "auto":
        output = "identity" if points else "tanh"
    shown = (*shape[:-1], cfg.pack * shape[-1])
    axis = step.ALL.axis
    sizes = cfg.latent, shape, classes, output
    try:
        d = models.discriminator(architecture(cfg, "d"), shown, classes, axis)
        g = models.generator(architecture(cfg, "g"), *sizes, axis)
        alone = models.generator(architecture(cfg, "g"), *sizes)
    except ValueError as error:
        raise UsageError(f"--model {cfg.model}, {cfg.dataset}: {error}") from None

    @jax.jit
    def draw(generator, z, label):
        return alone.apply(generator, cfg.temperature * z, label)[0]

    return Game(
        dataset,
        nets=Pair(d, g),
        tx=players(cfg),
        rules=rules(cfg, dataset),
        generator=_generator(cfg, dataset, alone),
        draw=draw,
    )


def _generator(cfg, dataset, g):
    """The averages with statistics of their own, or the last iterate."""

    @jax.jit
    def standing(averages, key):
        z_key, label_key = jax.random.split(jax.random.fold_in(key, step.STANDING))
        z = jax.random.normal(z_key, (*_BATCHES, cfg.latent))
        label = None
        if cfg.conditional:
            label = data.draw(dataset, label_key, math.prod(_BATCHES))[1]
            label = label.reshape(_BATCHES)
        return models.standing(g, averages, z, label)

    def generator(state: step.State) -> models.Variables:
        if state.ema and state.ema.stats:
            return standing(state.ema, state.key)
        return state.ema or models.Variables(state.params.g, state.stats.g)

    return generator


def architecture(cfg: Config, player: str) -> models.Architecture:
    """The network of one player, in full."""
    norm, slope = getattr(_OWN[cfg.model], player)
    if player == "d" and (cfg.penalties or cfg.spectral):  # see checks
        norm = "none"
    chosen = cfg.of(player, "norm")
    own = cfg.of(player, "slope")
    return models.Architecture(
        model=cfg.model,
        hidden=cfg.of(player, "hidden"),
        width=cfg.of(player, "width"),
        norm=norm if chosen == "auto" else chosen,
        spectral=cfg.spectral and player == "d",
        slope=slope if own is None else own,
        at_zero=cfg.relu_at_zero,
        precision=cfg.precision,
    )


def players(cfg: Config) -> Pair:
    """The optimizers; of numbers, learning rates and decays may be traced."""
    tx = Pair(*[_optimizer(cfg, player) for player in Pair._fields])
    if cfg.clip_weights:
        tx = tx._replace(d=optax.chain(tx.d, penalties.clip_weights(cfg.clip_weights)))
    return tx


def rules(cfg: Config, dataset: data.Dataset) -> step.Rules:
    """What is played; the numbers of the penalty and of lookahead may be traced."""
    trial = optax.partition(players(cfg)._asdict(), Pair("d", "g"))
    return step.Rules(
        loss=LOSSES[cfg.loss],
        batch_size=cfg.batch_size,
        latent=cfg.latent,
        noise=dataset.noise,
        stack=dataset.stack,
        conditional=cfg.conditional,
        penalty=_penalty(cfg) if cfg.penalties else None,
        penalty_every=cfg.penalty_every,
        augment=augment.augment(cfg.augment),
        pack=cfg.pack,
        microbatches=cfg.microbatches,
        d_steps=cfg.d_steps,
        selection=GAMES[cfg.game](trial, cfg.seed),
        snapshots=_snapshots(cfg) if cfg.snapshots else None,
        lookahead_every=cfg.lookahead_every,
        lookahead_share=cfg.lookahead_share,
        ema=cfg.ema,
    )


def _penalty(cfg: Config) -> Callable:
    terms = [penalties.PENALTIES[name] for name in cfg.penalties]

    def penalty(d, real, fake, keys):
        own = jax.vmap(lambda key: jax.random.split(key, len(terms)))(keys)
        return cfg.penalty_weight * sum(
            term(d, real, fake, own[:, i]) for i, term in enumerate(terms)
        )

    return penalty


def _snapshots(cfg: Config) -> Snapshots:
    select = SNAPSHOTS[cfg.snapshot_select](cfg.seed)
    return Snapshots(cfg.snapshots, cfg.snapshot_every, select)


def _optimizer(cfg: Config, player) -> optax.GradientTransformation:
    rate = SCHEDULES[cfg.schedule](
        cfg.of(player, "learning_rate"),
        cfg.steps * (cfg.d_steps if player == "d" else 1),
    )
    seed = jnp.uint32(cfg.seed) * 2 + Pair._fields.index(player)  # modulo 2**32
    given = Numbers(
        *(rate, cfg.b1, cfg.b2, cfg.eps, cfg.radius, cfg.candidates), seed=seed
    )
    return OPTIMIZERS[cfg.of(player, "optimizer")](given)


def fresh(cfg: Config, game: Game) -> step.State:
    """The state before the first step, on all local devices."""
    start = functools.partial(step.init, game.nets, game.tx, game.rules)
    return jax.jit(start, out_shardings=step.sharding())(jax.random.key(cfg.seed))


def drawn_with(cfg: Config, state: step.State) -> str:
    """Whose weights samples of a state are drawn with, and from which noise."""
    weights = f"ema {cfg.ema}" if state.ema else "last iterate"
    if cfg.temperature == 1:
        return weights
    return f"{weights}, temperature {cfg.temperature}"


def restored(
    run_dir: str | Path, at: int | None = None, **others
) -> tuple[Config, Game, step.State]:
    """A run as its newest checkpoint, or that of step ``at``, left it.

    ``others``, as ``temperature`` and ``data_dir``, take the place of the run's own.

    Raises:
        UsageError: not the folder of a run, no such checkpoint, a damaged one, or an
            option that cannot be so.
    """
    cfg = config.load(run_dir, **others)
    playing = build(cfg)
    return cfg, playing, checkpoint.restore(run_dir, fresh(cfg, playing), at)
