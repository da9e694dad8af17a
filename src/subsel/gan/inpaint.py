r"""Missing data, filled in by the generator: a search for the latent point (Yeh 2017).

Of an image y, the part M is seen. Among the images that G can make, the one is found
that agrees with it, that D takes for real, and whose latent point is not far out:

.. math::
    \min_z \; \sum_{i \in M} |G(z)_i - y_i|^p
        + \lambda \log(1 - \sigma(D(G(z)))) + \frac{\mu}{2} |z|^2,

p = 1 or 2, sigma the logistic function. It is not convex, so it starts at several z,
and what agrees best with the visible part is kept. A generator that is told the class
is told another one at each start: the class is searched for as well. The visible part
is then pasted over the image found.

In one file because the masks, the search and what it is compared with make one method.

References:
    Yeh, Chen, Lim, Schwing, Hasegawa-Johnson and Do, Semantic image inpainting with
    deep generative models, 2017
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from subsel.gan import checkpoint, checks, config, data, game, pictures
from subsel.gan.models import Variables
from subsel.gan.objective import Pair
from subsel.gan.optimizers import OPTIMIZERS, Numbers
from subsel.lab.errors import UsageError
from subsel.lab.files import named

MASKS = ("left", "right", "top", "bottom", "centre", "random")
LOSSES = {"l1": jnp.abs, "l2": jnp.square}
_RANDOM = 0.8  # of the pixels are missing, as in the paper
_SHOWN = 16  # images in the picture


class Search(NamedTuple):
    """How latent points are searched for."""

    steps: int = 300
    restarts: int = 8  # as many as there are classes to be told, if these are more
    optimizer: str = "adam"  # a name in subsel.gan.optimizers.OPTIMIZERS
    learning_rate: float = 0.05
    loss: str = "l2"  # of visible pixels, l1 or l2
    realism: float = 0.1  # lambda: weight of what D says; 0: D is not asked
    prior: float = 1.0  # mu: weight of the squared length of z


class Found(NamedTuple):
    """What a search ended with; N images, R restarts."""

    drawn: jax.Array  # [N, ...], G(z) of the best restart
    loss: jax.Array  # [N, R], of the visible pixels
    z: jax.Array  # [N, latent], of the best restart


def visible(kind: str, shape: tuple[int, ...], count: int = 1, seed: int = 0):
    """Which values are seen: ``[count, *shape]`` of booleans, alike in all channels.

    Args:
        kind: the part that is missing. A half, left or right, top or bottom; the
            centre, half as long as each side; or random, 80 % of the places, others in
            each image.
        shape: of a sample, (H, W, C) or (L, C).
        count: of images.
        seed: of random.

    Raises:
        UsageError: an unknown kind, or top and bottom of a signal.
    """
    checks.one_of("mask", kind, MASKS)
    space = shape[:-1]
    if kind in ("top", "bottom") and len(space) < 2:
        raise UsageError(f"--mask {kind}: a signal has none; use left or right")
    seen = np.ones((count, *space), bool)
    if kind == "random":
        seen = np.random.default_rng(seed).random(seen.shape) >= _RANDOM
    elif kind == "centre":
        middle = [slice(n // 4, n - n // 4) for n in space]
        seen[:, *middle] = False
    else:
        axis = 1 if kind in ("top", "bottom") else len(space)
        half = space[axis - 1] // 2
        first = kind in ("left", "top")
        part = slice(None, half) if first else slice(half, None)
        seen[(slice(None),) * axis + (part,)] = False
    return np.broadcast_to(seen[..., None], (count, *shape))


def finder(nets: Pair, latent: int, classes: int, search: Search) -> Callable:
    """The search, ``(variables, images, seen, key) -> Found``, as one program.

    Args:
        nets: the networks, ``Pair`` of ``models.Net``.
        latent: dimension of z.
        classes: that G and D are told; 0 for networks that are told none.
        search: how it is done.

    Returns:
        A compiled function of a ``Pair`` of the networks' ``Variables``, images
        ``[N, ...]`` in [-1, 1], booleans of the same shape, and a key.
    """
    tx = optax.with_extra_args_support(
        OPTIMIZERS[search.optimizer](Numbers(search.learning_rate, b1=0.9))
    )

    def from_start(variables, image, seen, start, label):
        def made(z):
            return nets.g.apply(variables.g, z[None], label[None])[0]

        def misfit(x):
            return jnp.sum(LOSSES[search.loss](x[0] - image), where=seen)

        def objective(z):
            x = made(z)
            value = misfit(x) + 0.5 * search.prior * jnp.sum(z**2)
            if search.realism:
                logit = nets.d.apply(variables.d, x, label[None])[0][0]
                value -= search.realism * jax.nn.softplus(logit)  # log(1 - sigmoid)
            return value

        gradient = jax.grad(objective)

        def move(carry, _):
            z, state = carry
            updates, state = tx.update(gradient(z), state, z, grad_fn=gradient)
            return (optax.apply_updates(z, updates), state), None

        (z, _), _ = jax.lax.scan(move, (start, tx.init(start)), length=search.steps)
        drawn = made(z)
        return drawn[0], misfit(drawn), z

    of_image = jax.vmap(from_start, in_axes=(None, None, None, 0, 0))
    of_images = jax.vmap(of_image, in_axes=(None, 0, 0, 0, None))

    @jax.jit
    def find(variables, images, seen, key):
        restarts = max(search.restarts, classes)
        starts = jax.random.normal(key, (len(images), restarts, latent))
        label = jnp.arange(restarts) % max(classes, 1)
        drawn, loss, z = of_images(variables, images, seen, starts, label)
        best = jnp.argmin(jnp.where(jnp.isnan(loss), jnp.inf, loss), axis=1)
        images = jnp.arange(len(images))
        return Found(drawn[images, best], loss, z[images, best])

    return find


def nearest(images, seen, train, block: int = 500) -> np.ndarray:
    """The rows of ``train`` that are nearest in the visible part: ``[N, ...]``.

    Args:
        images, seen: ``[N, ...]``, values in [-1, 1] and booleans.
        train: ``[M, ...]``, uint8 or float.
        block: rows compared at once.
    """
    y = np.where(seen, images, 0).reshape(len(images), -1)
    mask = seen.reshape(y.shape).astype(np.float32)
    parts = []
    for i in range(0, len(train), block):
        x = np.asarray(data.scaled(train[i : i + block])).reshape(-1, y.shape[1])
        # |y - x|^2 where seen; |y|^2 does not depend on x
        parts.append(mask @ (x**2).T - 2 * y @ x.T)
    best = np.argmin(np.concatenate(parts, axis=1), axis=1)
    return np.asarray(data.scaled(train[best]))


def rmse(filled, images, seen) -> float:
    """Root mean square error where nothing was seen, with pixels from 0 to 1."""
    return float(np.sqrt(np.mean(((filled - images)[~seen] / 2) ** 2)))


def inpaint(
    run_dir: Path,
    mask: str = "right",
    images: int = 16,
    search: Search = Search(),  # noqa: B008
    seed: int = 1,
    at: int | None = None,
    out: Path | None = None,
    data_dir: str | None = None,
) -> tuple[dict[str, float], Path]:
    """Fills in test images of a run's data set with its generator, and draws them.

    The picture has, from above, the images, their visible parts, these filled in by
    G, and by the nearest of the training images. ``data_dir`` takes the place of the
    run's own.

    Returns:
        :func:`rmse` of three fillings, ``generator``, ``nearest`` and ``mean`` (the
        mean of the training images, place by place), and the path of the picture.

    Raises:
        UsageError: not a run on single images or signals, an argument that cannot be,
            or a D of packed samples, which cannot judge one alone.
    """
    cfg = config.load(run_dir, data_dir=data_dir)
    _check(cfg, search, seed)
    if out:
        named(out, ".png")
    playing = game.build(cfg)
    dataset = playing.dataset
    if dataset.noise or dataset.stack > 1:
        raise UsageError(
            f"{run_dir} was trained on {cfg.dataset}: only single images and signals "
            "can be filled in"
        )
    state = checkpoint.restore(run_dir, game.fresh(cfg, playing), at)
    truth = _unseen(cfg, images, seed)
    seen = visible(mask, dataset.shape, len(truth), seed)
    variables = Pair(Variables(state.params.d, state.stats.d), playing.generator(state))
    classes = dataset.classes if cfg.conditional else 0
    find = finder(playing.nets, cfg.latent, classes, search)
    found = find(variables, truth, seen, jax.random.key(seed))
    fillings = {
        "generator": np.asarray(found.drawn),
        "nearest": nearest(truth, seen, dataset.rows),
        "mean": _mean(dataset.rows)[None],
    }
    pasted = {name: np.where(seen, truth, x) for name, x in fillings.items()}
    out = out or run_dir / f"inpaint-{mask}-{int(state.step)}-{seed}.png"
    rows = {
        "image": truth,
        "its visible part": np.where(seen, truth, 0),
        "filled in by G": pasted["generator"],
        "by the nearest": pasted["nearest"],
    }
    shown = min(len(truth), _SHOWN)
    try:
        sheet = np.concatenate([row[:shown] for row in rows.values()])
        pictures.samples(out, sheet, dataset.rows, shown, tuple(rows))
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}") from None
    return {name: rmse(x, truth, seen) for name, x in pasted.items()}, out


def _check(cfg, search, seed):
    checks.one_of("optimizer", search.optimizer, OPTIMIZERS)
    checks.one_of("loss", search.loss, LOSSES)
    for name in ("steps", "restarts"):
        if getattr(search, name) < 1:
            raise UsageError(f"--{name} {getattr(search, name)}: expected 1 or more")
    for name in ("learning_rate", "realism", "prior"):
        if not 0 <= getattr(search, name) < np.inf:
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} {getattr(search, name)}: expected 0 or more")
    checks.seed(seed)
    if cfg.pack > 1 and search.realism:
        raise UsageError(
            f"D of this run judges {cfg.pack} samples together: use --realism 0"
        )


def _unseen(cfg, count, seed):
    """``count`` images of the test split, scaled, without repetition."""
    test = data.load(cfg.dataset, cfg.data_dir, "test").rows
    if not 1 <= count <= len(test):
        raise UsageError(f"--images {count}: expected 1 to {len(test)}, the test split")
    order = np.random.default_rng(seed).permutation(len(test))[:count]
    return np.asarray(data.scaled(test[order]))


def _mean(rows):
    mean = rows.mean(axis=0, dtype=np.float64)
    scaled = 2 * mean / 255 - 1 if rows.dtype == np.uint8 else mean
    return scaled.astype(np.float32)
