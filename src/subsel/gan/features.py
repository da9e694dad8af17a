"""Named feature networks: small classifiers that the project trains itself.

A distance between images means something only with the network whose features it is
taken in. Here each has a name, and is made again where it is not in the cache.

In one file because the name stands for all of it: what changes here makes another.
"""

import contextlib
import functools
import hashlib
import io
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from subsel.gan import data
from subsel.gan.metrics.classifier import Classifier, rescaled
from subsel.lab import cache
from subsel.lab.errors import RunError

FLOORS = {"mnist": 0.99, "fashion_mnist": 0.91, "digits": 0.97}  # of test accuracy
# Nothing of how a network is made but these, the program below and the data.
RECIPE = {
    "revision": 2,  # to be raised when the program below changes what it makes
    "seed": 0,
    "batch": 128,
    "epochs": 10,
    "steps": 2500,  # at least; a small set is gone through more often
    "peak": 4e-3,  # learning rate
    "decay": 1e-2,  # of the weights
    "shift": 1,  # a batch is moved by up to so many places along each side
    "large": {"channels": 16, "features": 64},
    "small": {"channels": 32, "features": 32},  # for sides of at most 8
}
_SCALED_ON = 10_000  # of the rows that it was trained on


class Features(NamedTuple):
    """A trained classifier, as the function that metrics of images need."""

    # The data set, hashes of how it was made and of its weights: "mnist-3f2a91c0-d41d".
    name: str
    accuracy: float  # on the test split
    # [N, H, W, C] in [-1, 1] -> features [N, d], logits [N, classes]. The features are
    # scaled to a mean square of 1 on the data, or distances would have no known unit.
    apply: Callable
    weights: bytes  # an npz file: with these and its name it is the same elsewhere


class Made(NamedTuple):
    """One that was trained before, here or elsewhere: of its :class:`Features`."""

    name: str
    weights: bytes


class _Run(NamedTuple):
    params: dict
    opt: optax.OptState
    key: jax.Array


def network(
    name: str,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    made: Made | None = None,
) -> Features:
    """The feature network of a labelled set, from the cache or trained now.

    Its name has a hash of the data, the recipe, the version of JAX and the kind of
    device: with another, training ends in other weights. So it does on another
    processor, where ``accuracy`` is the same within noise and distances are not, by 9 %
    on Fashion-MNIST (``feature_network.py``). So the name ends with a hash of the
    weights, and a study takes its network along.

    Args:
        name: of the data set; with a floor in ``FLOORS`` or without.
        train: rows ``[N, H, W, C]`` uint8, or signals ``[N, L, C]`` float32; and
            labels ``[N]`` int32.
        test: the same, of the test split.
        made: this one, and none from the cache.

    Raises:
        RunError: its accuracy on the test split is below the floor of the data set, or
            ``made`` cannot be used.
    """
    stem = f"{name.replace('/', '-')}-{digest(train, test)}"
    classes = 1 + int(max(train[1].max(), test[1].max()))
    size = "small" if max(train[0].shape[1:-1]) <= 8 else "large"
    module = Classifier(classes, **RECIPE[size])
    file = f"features-{stem}.npz"
    like = jax.eval_shape(functools.partial(_init, module), train[0][:1])
    weights = cache.get(file) if made is None else made.weights
    params = _unpacked(weights, like)
    fresh = params is None and made is None
    if fresh:
        params = _train(name, module, *train)
        weights = _packed(params)
    mark = _hash(*map(np.asarray, jax.tree.leaves(params)))[:4]
    named = f"{stem}-{mark}" if made is None else made.name
    if params is None or not named.endswith(mark):
        raise RunError(f"the feature network {named} is damaged, or not one of {name}")
    apply = jax.jit(functools.partial(module.apply, params))
    logits = compute(apply, test[0])[1]
    accuracy = float(np.mean(np.argmax(logits, axis=1) == test[1]))
    floor = FLOORS.get(name.partition(":")[0], 0.0)
    if accuracy < floor:
        raise RunError(
            f"the feature network {named} is right on {accuracy:.2%} of the test split "
            f"and must be on {floor:.0%}: check that {name} is whole, has its own "
            "labels, and is cut into the usual train and test splits"
        )
    if fresh:
        cache.put(file, weights)
    return Features(named, accuracy, apply, weights)


def digest(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]
) -> str:
    """Eight hexadecimal digits of all that a network is made of."""
    how = (sorted(RECIPE.items()), jax.__version__, jax.default_backend())
    return _hash(*train, *test, start=repr(how))[:8]


def _hash(*arrays, start=""):
    made = hashlib.sha256(start.encode())
    for array in arrays:
        made.update(repr((array.shape, array.dtype.str)).encode())
        made.update(np.ascontiguousarray(array))
    return made.hexdigest()


def compute(
    apply: Callable,
    images: np.ndarray | jax.Array | Callable,
    count: int | None = None,
    batch: int = 500,
) -> tuple[np.ndarray, np.ndarray]:
    """Features and logits of many images, a batch at a time.

    Args:
        apply: of a :class:`Features`; compiled once, for all calls with this ``batch``.
        images: ``[N, …]``, uint8 or float32 in [-1, 1]; or a function that returns
            those of the i-th batch, ``[batch, …]``.
        count: how many there are; only for a function, which cannot tell.
        batch: images at a time; the last batch is filled up, and cut again.

    Returns:
        ``[N, d]`` and ``[N, classes]``.
    """
    if not callable(images):
        rows, count = np.asarray(images), len(images)
        pad = [(0, -count % batch)] + [(0, 0)] * (rows.ndim - 1)

        def images(i):
            part = rows[i * batch : (i + 1) * batch]
            return part if len(part) == batch else np.pad(part, pad)

    parts = [apply(data.scaled(images(i))) for i in range(-(-count // batch))]
    features, logits = zip(*jax.device_get(parts), strict=True)
    return np.concatenate(features)[:count], np.concatenate(logits)[:count]


def _init(module, row):
    return module.init(jax.random.key(RECIPE["seed"]), data.scaled(row))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _start(module, total, row):
    params = _init(module, row)
    key = jax.random.fold_in(jax.random.key(RECIPE["seed"]), 1)
    return _Run(params, _optimizer(total).init(params), key)


def _train(name, module, rows, labels):
    steps = len(rows) // _batch(rows)
    epochs = max(RECIPE["epochs"], -(-RECIPE["steps"] // steps))
    run = _start(module, epochs * steps, rows[:1])
    rows, labels = jnp.asarray(rows), jnp.asarray(labels)
    bar = tqdm(range(epochs), desc=f"training a classifier of {name}", unit="epoch")
    for epoch in bar:
        run, loss = _epoch(module, epochs * steps, run, epoch, rows, labels)
        bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
    apply = jax.jit(functools.partial(module.apply, run.params))
    features, _ = compute(apply, rows[:_SCALED_ON])
    return rescaled(run.params, jnp.sqrt(jnp.mean(features**2)))


def _batch(rows):
    return min(RECIPE["batch"], len(rows))


def _optimizer(steps):
    rate = optax.cosine_onecycle_schedule(steps, RECIPE["peak"], pct_start=0.2)
    return optax.adamw(rate, weight_decay=RECIPE["decay"])


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def _epoch(module, total, run, epoch, rows, labels):
    """All rows once, in batches; what does not fill one is left out until the next."""
    order_key, shift_key = jax.random.split(jax.random.fold_in(run.key, epoch))
    steps = len(rows) // _batch(rows)
    order = jax.random.permutation(order_key, len(rows))[: steps * _batch(rows)]
    tx = _optimizer(total)

    def loss_fn(params, x, y):
        _, logits = module.apply(params, x)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, y))

    def step(run, drawn):
        index, key = drawn
        x = data.scaled(_shifted(key, rows[index]))
        loss, grads = jax.value_and_grad(loss_fn)(run.params, x, labels[index])
        updates, opt = tx.update(grads, run.opt, run.params)
        return run._replace(
            params=optax.apply_updates(run.params, updates), opt=opt
        ), loss

    drawn = order.reshape(steps, -1), jax.random.split(shift_key, steps)
    run, losses = jax.lax.scan(step, run, drawn)
    return run, jnp.mean(losses)


def _shifted(key, x):
    """The whole batch moved by one random shift, which is as good and much cheaper."""
    reach, sides = RECIPE["shift"], x.ndim - 2
    x_padded = jnp.pad(x, [(0, 0), *[(reach, reach)] * sides, (0, 0)])
    at = jax.random.randint(key, (sides,), 0, 2 * reach + 1)
    return jax.lax.dynamic_slice(x_padded, (0, *at, 0), x.shape)


def _packed(params):
    file = io.BytesIO()
    np.savez(file, *jax.tree.leaves(params))
    return file.getvalue()


def _unpacked(weights, like):
    """The parameters, or None if there are none that can be used."""
    leaves, tree = jax.tree.flatten(like)
    with contextlib.suppress(Exception):  # whatever is wrong with them
        with np.load(io.BytesIO(weights), allow_pickle=False) as kept:
            arrays = [kept[f"arr_{i}"] for i in range(len(leaves))]
        pairs = list(zip(arrays, leaves, strict=True))
        if all((a.shape, a.dtype) == (b.shape, b.dtype) for a, b in pairs):
            return jax.tree.unflatten(tree, [jnp.asarray(a) for a in arrays])
    return None
