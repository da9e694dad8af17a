"""Pictures of samples and of curves, as PNG files."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np  # noqa: E402
from matplotlib import image  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from subsel.lab.files import atomic  # noqa: E402

_TILE = 48  # pixels, at least, of the side of an image in a grid


def grid(path: Path, samples: np.ndarray, columns: int = 16) -> None:
    """Images ``[N, H, W, 1 or 3]`` in [-1, 1], row by row."""
    count, height, width, channels = samples.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    tiles = np.full((rows * columns, height + 1, width + 1, channels), 1.0)
    tiles[:count, :height, :width] = np.clip((samples + 1) / 2, 0, 1)
    tiles = tiles.reshape(rows, columns, height + 1, width + 1, channels)
    sheet = tiles.transpose(0, 2, 1, 3, 4).reshape(-1, columns * (width + 1), channels)
    zoom = -(-_TILE // max(height, width))
    sheet = sheet.repeat(zoom, axis=0).repeat(zoom, axis=1)
    with atomic(path) as part:
        image.imsave(part, sheet.repeat(3 // channels, axis=2))


def scatter(path: Path, samples: np.ndarray, centres: np.ndarray) -> None:
    """Points ``[N, 2]`` over the centres ``[M, 2]`` of the mixture."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.scatter(*centres.T, s=160, facecolors="none", edgecolors="tab:red", lw=0.8)
    axes.scatter(*samples.T, s=6, alpha=0.5, color="tab:blue", lw=0)
    reach = 1.25 * np.abs(centres).max()
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.set_title(f"{len(samples)} samples; modes circled", fontsize=9)
    with atomic(path) as part:
        figure.savefig(part, dpi=120)


def samples(path: Path, points: np.ndarray, rows: np.ndarray, columns: int = 16):
    """A grid of images, or a scatter plot over the mixture's centres ``rows``."""
    if points.ndim == 2:
        scatter(path, points, rows)
    else:
        grid(path, points, columns)


def losses(path: Path, record: list[dict], names=("d_loss", "g_loss")) -> None:
    """The losses over the steps: each step faint, and a running mean."""
    steps = np.array([row["step"] for row in record])
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    window = max(len(steps) // 100, 1)
    for name, colour in zip(names, ("tab:blue", "tab:orange"), strict=True):
        values = np.array([row[name] for row in record], float)  # null becomes NaN
        axes.plot(steps, values, color=colour, alpha=0.2, lw=0.5)
        smooth = np.convolve(values, np.full(window, 1 / window), "valid")
        axes.plot(steps[window - 1 :], smooth, color=colour, label=name)
    axes.set(xlabel="step", ylabel=f"loss (line: mean of {window} steps)")
    axes.legend(frameon=False)
    axes.grid(alpha=0.2)
    with atomic(path) as part:
        figure.savefig(part, dpi=120)
