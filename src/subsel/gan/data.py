"""Data sets: uint8 images or the centres of a 2-D mixture, found by name, with labels.

`load` works on the host and says what to do where it cannot; `batch` draws inside the
compiled program.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from subsel.gan import images


class Dataset(NamedTuple):
    """What a run draws from: rows, and the noise that is added to a drawn row."""

    name: str
    rows: np.ndarray  # [N, H, W, C] uint8 images, or [M, 2] float32 centres
    labels: np.ndarray  # [N] int32: the class, or the index of the centre
    noise: float  # standard deviation of the normal noise; 0 for images


def load(name: str, data_dir: str | None = None) -> Dataset:
    """Finds a data set by its name.

    Args:
        name: digits (scikit-learn's 8x8 digits), ring or grid (mixtures of 8 and 25
            Gaussians), or an image classification set of tensorflow-datasets, as
            NAME[/CONFIG][:VERSION], of which the train split is read.
        data_dir: where tensorflow-datasets keeps its sets; None means $TFDS_DATA_DIR
            or ~/tensorflow_datasets. A set that is not there is downloaded and
            prepared if that can work. Decoded images are kept in the user's cache.

    Raises:
        UsageError: no such set, not one of images, not to be had here, or damaged.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name]()
    return Dataset(name, *images.load(name, data_dir, tuple(_BUILT_IN)), 0.0)


def batch(rows, noise: float, key, size: int, slots=slice(None)) -> jax.Array:
    """Draws a batch of ``size`` rows uniformly with replacement, as float32.

    Args:
        rows: [N, ...]; uint8 is scaled from 0..255 to [-1, 1], float stays as it is.
        noise: standard deviation of the normal noise added; a Python float.
        key: the draw is a function of it.
        size: of the whole batch; a Python int.
        slots: the places of the batch to return, [b]; all of them by default. What is
            in a place does not depend on which others are asked for.

    Returns:
        [b, ...] float32.
    """
    index_key, noise_key = jax.random.split(key)
    index = jax.random.randint(index_key, (size,), 0, rows.shape[0])[slots]
    drawn = jnp.take(rows, index, axis=0, mode="clip")  # no index is out of bounds
    if rows.dtype == jnp.uint8:
        # Exact at both ends, where XLA's reciprocal puts 255 / 127.5 - 1 above 1.
        drawn = (2 * drawn.astype(jnp.float32) - 255) / 255
    if noise > 0:
        shape = (size, *rows.shape[1:])
        drawn = drawn + noise * jax.random.normal(noise_key, shape)[slots]
    return drawn


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    rows = np.rint(images * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    return Dataset("digits", rows, labels.astype(np.int32), 0.0)


def _ring() -> Dataset:
    angle = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    centres = 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return Dataset(
        "ring", centres.astype(np.float32), np.arange(8, dtype=np.int32), 0.02
    )


def _grid() -> Dataset:
    axis = np.linspace(-4, 4, 5, dtype=np.float32)
    centres = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(25, 2)
    return Dataset("grid", centres, np.arange(25, dtype=np.int32), 0.05)


_BUILT_IN = {"digits": _digits, "ring": _ring, "grid": _grid}
