"""Pictures of what a generator draws."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from subsel.gan import checks, config, game, models, pictures, step
from subsel.lab.errors import UsageError
from subsel.lab.files import named


def picture(
    path: Path, playing: game.Game, generator, z, columns: int = 16, rows: int = 1
) -> None:
    """Draws ``G(z)``, ``z`` being ``[N, latent]``, as a grid or a scatter plot.

    A generator that is told the class is told the same one along each of ``rows``, from
    0 on and around.
    """
    label = jnp.arange(len(z)) * rows // len(z) % playing.dataset.classes
    drawn = np.asarray(playing.draw(generator, z, label))
    pictures.samples(path, drawn, playing.dataset.rows, columns)


def sheet(path: Path, playing: game.Game, cfg: config.Config, state) -> None:
    """The picture of a run: of the same latent points at every step of it.

    One row for each class where G is told it, as many as there are samples for.
    """
    rows, columns, count = 1, 16, cfg.samples
    if cfg.conditional:
        rows = min(playing.dataset.classes, cfg.samples)
        columns = cfg.samples // rows
        count = rows * columns
    key = jax.random.fold_in(state.key, step.SAMPLES)
    z = jax.random.normal(key, (count, cfg.latent))
    picture(path, playing, playing.generator(state), z, columns, rows)


def draw(
    run_dir: Path,
    interpolate: bool,
    rows: int,
    columns: int,
    seed: int,
    at: int | None = None,
    out: Path | None = None,
    temperature: float | None = None,
    data_dir: str | None = None,
) -> Path:
    """A picture of ``rows`` times ``columns`` samples from a checkpoint; its path.

    Interpolation is along the great circle (Shoemake 1985): points between two normal
    vectors on a straight line would be shorter than any that G was trained on.
    ``temperature`` and ``data_dir`` take the place of the run's own.

    Raises:
        UsageError: not a run, no such checkpoint, a size below 1, no seed or
            temperature, or ``out`` is no PNG.
    """
    if rows < 1 or columns < 1:
        raise UsageError(f"--rows {rows} --columns {columns}: expected 1 or more")
    checks.seed(seed)
    if out:
        named(out, ".png")
    cfg, playing, state = game.restored(
        run_dir, at, temperature=temperature, data_dir=data_dir
    )
    key = jax.random.key(seed)
    if interpolate:
        z = models.great_circle(*jax.random.normal(key, (2, rows, cfg.latent)), columns)
    else:
        z = jax.random.normal(key, (rows * columns, cfg.latent))
    kind = "interpolation" if interpolate else "samples"
    out = out or run_dir / f"{kind}-{int(state.step)}-{seed}.png"
    try:
        picture(out, playing, playing.generator(state), z, columns, rows)
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}") from None
    return out
