"""Data sets: uint8 images, float signals or the centres of a mixture, with labels.

`load` works on the host and says what to do where it cannot; `batch` draws inside the
compiled program.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subsel.gan import images
from subsel.lab.errors import UsageError

_LENGTH = 128  # points of a signal


class Dataset(NamedTuple):
    """What a run draws from: rows, and what a drawn sample is made of.

    A sample is ``stack`` rows, drawn independently and laid on each other as channels,
    plus noise.
    """

    name: str
    rows: np.ndarray  # [N, H, W, C] uint8, [N, L, C] float32, or [M, 2] float32 centres
    labels: np.ndarray  # [N] int32: the class, or the index of the centre
    noise: float  # standard deviation of the normal noise; 0 for images
    stack: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample: (2,), (L, C * stack) or (H, W, C * stack)."""
        *space, channels = self.rows.shape[1:]
        return *space, channels * self.stack

    @property
    def classes(self) -> int:
        """How many labels a sample can have."""
        return (int(self.labels.max()) + 1) ** self.stack


def load(name: str, data_dir: str | None = None, split: str = "train") -> Dataset:
    """Finds a data set by its name.

    Args:
        name: digits (scikit-learn's 8x8 digits), ring or grid (mixtures of 8 and 25
            Gaussians), signals (five kinds of sounds, made here), stacked_mnist (three
            digits of MNIST as colour channels, 1,000 classes), or an image
            classification set of tensorflow-datasets, as NAME[/CONFIG][:VERSION].
        data_dir: where tensorflow-datasets keeps its sets; None means $TFDS_DATA_DIR
            or ~/tensorflow_datasets. A set that is not there is downloaded and
            prepared if that can work. Decoded images are kept in the user's cache.
        split: train, test, or another that a set of tensorflow-datasets has. Of the
            digits, which come as one set, every third is for testing: they are ordered
            by writer, and so the two parts share writers and classes, and what they
            differ by is what sampling alone brings about. A mixture is its own test
            set.

    Raises:
        UsageError: no such set or split, not one of images, not to be had here, or
            damaged.
    """
    if name not in _BUILT_IN:
        return Dataset(name, *images.load(name, data_dir, tuple(_BUILT_IN), split), 0.0)
    if split not in ("train", "test"):
        raise UsageError(
            f"{name} has no split called {split}, only train, test; choose one of them"
        )
    return _BUILT_IN[name](split, data_dir)


def batch(
    rows,
    labels,
    key: jax.Array,
    size: int,
    slots=slice(None),
    noise: float = 0.0,
    stack: int = 1,
) -> tuple[jax.Array, jax.Array]:
    """Draws a batch of ``size`` samples uniformly with replacement, with labels.

    Args:
        rows: [N, ...]; uint8 is scaled from 0..255 to [-1, 1], float stays as it is.
        labels: [N] int32; from 0 to 9 where ``stack`` is above 1.
        key: the draw is a function of it.
        size: of the whole batch; a Python int.
        slots: the places of the batch to return, [b]; all of them by default. What is
            in a place does not depend on which others are asked for.
        noise: standard deviation of the normal noise added; a Python float.
        stack: rows drawn for a sample, and laid on each other as channels; a Python
            int.

    Returns:
        Samples [b, ..., C * stack] float32, and labels [b] int32: the digits of the
        stacked rows' labels as one decimal number, the first channel's first.
    """
    index_key, noise_key = jax.random.split(key)
    index = jax.random.randint(index_key, (size, stack), 0, rows.shape[0])[slots]
    drawn = scaled(jnp.take(rows, index, axis=0, mode="clip"))  # none is out of bounds
    drawn = jnp.moveaxis(drawn, 1, -2)  # [b, ..., stack, C]
    drawn = drawn.reshape(*drawn.shape[:-2], -1)
    if noise > 0:
        shape = (size, *drawn.shape[1:])
        drawn = drawn + noise * jax.random.normal(noise_key, shape)[slots]
    digits = jnp.take(labels, index, axis=0, mode="clip")
    return drawn, jnp.sum(digits * 10 ** jnp.arange(stack)[None, ::-1], axis=1)


def draw(dataset: Dataset, key: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """``count`` samples of a data set and their labels, as :func:`batch` draws them."""
    rows, labels = jnp.asarray(dataset.rows), jnp.asarray(dataset.labels)
    return batch(rows, labels, key, count, noise=dataset.noise, stack=dataset.stack)


def real(dataset: Dataset, key: jax.Array, count: int) -> jax.Array:
    """``count`` real samples, for what a perfect generator would score.

    Images that are not stacked are taken without replacement, for no generator makes
    the same one twice: repeated ones look less diverse than the data are. As
    :func:`draw` draws them where there are fewer than ``count``.
    """
    rows = dataset.rows
    if dataset.noise or dataset.stack > 1 or count > len(rows):
        return draw(dataset, key, count)[0]
    index = jax.random.permutation(key, len(rows))[:count]
    return scaled(jnp.asarray(rows)[index])


def scaled(rows):
    """Rows as networks see them: uint8 from 0..255 to [-1, 1], float as it is.

    Of NumPy's arrays one of NumPy, for which nothing has to be compiled.
    """
    if rows.dtype != np.uint8:
        return rows
    xp = np if isinstance(rows, np.ndarray) else jnp
    # Exact at both ends, where XLA's reciprocal puts 255 / 127.5 - 1 above 1.
    return (2 * xp.asarray(rows, np.float32) - 255) / 255


def _digits(split, data_dir) -> Dataset:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    rows = np.rint(images * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    part = (np.arange(len(rows)) % 3 == 0) == (split == "test")
    return Dataset("digits", rows[part], labels[part].astype(np.int32), 0.0)


def _ring(split, data_dir) -> Dataset:
    angle = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    centres = 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return Dataset(
        "ring", centres.astype(np.float32), np.arange(8, dtype=np.int32), 0.02
    )


def _grid(split, data_dir) -> Dataset:
    axis = np.linspace(-4, 4, 5, dtype=np.float32)
    centres = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(25, 2)
    return Dataset("grid", centres, np.arange(25, dtype=np.int32), 0.05)


def _stacked_mnist(split, data_dir) -> Dataset:
    """As in Metz 2017: stacked on the fly, so that no two runs share their triples."""
    rows, labels = images.load("mnist", data_dir, tuple(_BUILT_IN), split)
    return Dataset("stacked_mnist", rows, labels, 0.0, stack=3)


def _signals(split, data_dir) -> Dataset:
    """4,096 sounds for training and 1,024 for testing, from seeds of their own.

    Label 0 is a sine that dies away, 1 a rising and 2 a falling chirp, 3 the beat of
    two tones, 4 a burst of a square wave. Pitch, phase, loudness and shape are drawn
    anew for each, and there is no noise: no kind has more than five dimensions.
    """
    seed, count = {"train": (0, 4096), "test": (1, 1024)}[split]
    draw = np.random.default_rng(seed).uniform
    t = np.linspace(0, 1, _LENGTH, endpoint=False)
    labels = np.arange(count, dtype=np.int32) % 5

    def between(low, high):
        return draw(low, high, (count, 1))

    pitch, phase = between(3, 8), between(0, 2 * np.pi)
    tone = 2 * np.pi * pitch * t + phase
    bend = 2 * np.pi * between(3, 6) * t**2  # up to 20 cycles a unit: 6 points each
    decay, gap = between(2, 6), between(1.5, 3)
    start, width = between(0.05, 0.45), between(0.3, 0.5)
    rising = np.sin(tone + bend)
    kinds = [
        np.exp(-decay * t) * np.sin(tone),
        rising,
        rising[:, ::-1],
        np.sin(tone) * np.cos(np.pi * gap * t),  # the mean of tones at pitch +- gap / 2
        np.sign(np.sin(tone)) * (abs(t - start - width / 2) < width / 2),
    ]
    rows = between(0.6, 1) * np.choose(labels[:, None], kinds)
    return Dataset("signals", rows.astype(np.float32)[..., None], labels, 0.0)


_BUILT_IN = {
    "digits": _digits,
    "ring": _ring,
    "grid": _grid,
    "stacked_mnist": _stacked_mnist,
    "signals": _signals,
}
