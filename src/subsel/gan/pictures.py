"""Pictures of samples and of curves, as PNG files."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np  # noqa: E402
from matplotlib import image  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
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
    outside = np.sum(~(np.abs(samples) <= reach).all(axis=1))
    beyond = f", {outside} of them beyond the frame" if outside else ""
    axes.set_title(f"{len(samples)} samples{beyond}; modes circled", fontsize=9)
    with atomic(path) as part:
        figure.savefig(part, dpi=120)


def lines(path: Path, samples: np.ndarray, columns: int = 16) -> None:
    """Signals ``[N, L, C]`` in [-1, 1], row by row: a line for each channel.

    All panels have the same range, from -1 to 1, between two grey rules.
    """
    count, length, channels = samples.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    row, column = np.divmod(np.arange(count), columns)
    across = 1.15 * column[:, None] + np.linspace(0, 1, length)
    figure = Figure(figsize=(0.8 * columns + 0.2, 0.6 * rows + 0.2))
    axes = figure.add_axes((0, 0, 1, 1))
    for level in (-1, 0, 1):
        ends = across[:, [0, -1]].T
        axes.plot(ends, np.tile(level - 2.4 * row, (2, 1)), color="0.85", lw=0.5)
    for channel in range(channels):
        heights = samples[..., channel] - 2.4 * row[:, None]
        axes.plot(across.T, heights.T, color=f"C{channel}", lw=0.7)
    axes.set(xlim=(-0.15, 1.15 * columns), ylim=(1.2 - 2.4 * rows, 1.2))
    axes.set_axis_off()
    with atomic(path) as part:
        figure.savefig(part, dpi=120)


def samples(
    path: Path,
    points: np.ndarray,
    rows: np.ndarray,
    columns: int = 16,
    labels: Sequence[str] = (),
):
    """A grid of images or signals, or a scatter plot over the centres ``rows``.

    ``labels`` are written on the left of the grid, one for each of its rows.
    """
    if points.ndim == 2:
        scatter(path, points, rows)
    elif points.ndim == 3:
        lines(path, points, columns)
    else:
        grid(path, points, columns)
    if labels:
        _label(path, labels)


def _label(path, labels):
    sheet = image.imread(path)[..., :3]
    height, dpi = len(sheet), 100
    figure = Figure(figsize=(1.2, (height + 0.5) / dpi), dpi=dpi)
    for row, label in enumerate(labels):
        middle = 1 - (row + 0.5) / len(labels)
        figure.text(0.95, middle, label, ha="right", va="center", fontsize=8)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    margin = np.asarray(canvas.buffer_rgba())[..., :3] / 255
    with atomic(path) as part:
        image.imsave(part, np.hstack([margin, sheet]))


def curves(
    path: Path, record: Sequence[Mapping], groups: Mapping[str, Sequence[str]]
) -> None:
    """Metrics over the steps, one panel for each group of them.

    Where there are many values, each is drawn faint, and a running mean over a
    hundredth of them. The axis of values is logarithmic where all are positive and the
    largest is above 100 times the smallest.

    Args:
        path: of the PNG file.
        record: rows with a ``step``, in order; a row in which a metric is absent or
            None is left out of its curve.
        groups: titles, and the names of the metrics under each. Names that no row has
            are left out, and so are groups of which one row alone has any: that is no
            curve.
    """
    found = {
        title: {name: _series(record, name) for name in names}
        for title, names in groups.items()
    }
    panels = {
        title: drawn
        for title, series in found.items()
        if (drawn := {name: s for name, s in series.items() if len(s[0])})
        and len(set().union(*(steps for steps, _ in drawn.values()))) > 1
    }
    columns = max(math.ceil(math.sqrt(len(panels))), 1)
    rows = max(-(-len(panels) // columns), 1)
    figure = Figure(figsize=(4.5 * columns, 3 * rows), layout="constrained")
    every = figure.subplots(rows, columns, sharex=True, squeeze=False).flat
    for axes in every[len(panels) :]:
        axes.set_axis_off()
    for axes, (title, series) in zip(every, panels.items(), strict=False):
        _panel(axes, title, series)
    with atomic(path) as part:
        figure.savefig(part, dpi=120)


def _series(record, name) -> tuple[np.ndarray, np.ndarray]:
    """The steps at which a metric has a value, and the values."""
    pairs = [(r["step"], r[name]) for r in record if r.get(name) is not None]
    steps, values = np.array(pairs, float).reshape(-1, 2).T
    return steps, values


def _panel(axes, title, series):
    for name, (steps, values) in series.items():
        window = len(steps) // 100
        if window > 1:
            (faint,) = axes.plot(steps, values, alpha=0.25, lw=0.5)
            smooth = np.convolve(values, np.full(window, 1 / window), "valid")
            same = {"color": faint.get_color(), "label": name}
            axes.plot(steps[window - 1 :], smooth, zorder=3, **same)
        else:
            few = {"marker": "o", "markersize": 3} if len(steps) <= 50 else {}
            axes.plot(steps, values, lw=1, label=name, **few)
    values = np.concatenate([values for _, values in series.values()])
    if values.min() > 0 and values.max() > 100 * values.min():
        axes.set_yscale("log")
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("step", fontsize=9)
    axes.tick_params(labelbottom=True, labelsize=8)  # below it may be no other panel
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.2)
