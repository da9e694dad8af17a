"""The pictures of a report, as panels: scores, curves, tuning, profiles, samples."""

import functools
import math

import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter

from subsel.gan import data
from subsel.gan.ablation.drawing import INK, Picture, slug
from subsel.gan.ablation.groups import families, order, role
from subsel.gan.ablation.study import TARGET
from subsel.gan.ablation.tasks import TASKS

COLOURS = ("#2f7ff0", "#ef4444", "#f59e0b", "#10b981", "#a855f7", "#06b6d4", "#ec4899")
_FITS = 38  # letters in two columns of a legend
_ROLES = {"rule": COLOURS[0], "control": COLOURS[2], "optimizer": COLOURS[3]}


def pictures(found: dict) -> dict[str, Picture]:
    """Those of a report, by the name of the file."""
    every = {"scores": _scores(found), "curves": _curves(found)}
    if found["overall"]:
        every["profile"] = _profile(found)
    every["tuning"] = _tuning(found)
    every |= {f"samples-{slug(task)}": _samples(found, task) for task in found["tasks"]}
    return {name: picture for name, picture in every.items() if picture.panels}


def _by_family(found, draw, caption):
    """A row for each family, with a panel for each task."""
    panels = [
        (f"{task}: {title}", functools.partial(draw, found, task, names))
        for title, names in _families(found)
        for task in found["tasks"]
        if any(task in found["cells"].get(name, {}) for name in names[1:] or names)
    ]
    return Picture(panels, len(found["tasks"]), (3.1, 2.7), caption)


def _families(found):
    """What is drawn together, Adam first: of no family more than there are colours."""
    for title, members in families(found).items():
        count = -(-len(members) // len(COLOURS)) or 1
        size = -(-len(members) // count)
        for k in range(count):
            part = f"{title}, {k + 1} of {count}" if count > 1 else title
            yield part, (TARGET, *members[k * size : (k + 1) * size])


def _look(names):
    """How each is drawn: Adam in the colour of the text."""
    rest = {"lw": 1.3}
    looks = [{"color": colour} | rest for colour in COLOURS]
    return zip(names, [{"color": INK, "lw": 2}, *looks], strict=False)


def _legend(axes):
    """Below the panel, and no wider, or all panels would make way for it."""
    names = axes.get_legend_handles_labels()[1]
    half = -(-len(names) // 2)  # the first column
    wide = sum(max(map(len, part), default=0) for part in (names[:half], names[half:]))
    place = {"loc": "upper left", "bbox_to_anchor": (-0.13, -0.24), "borderpad": 0}
    axes.legend(ncols=1 + (wide <= _FITS), columnspacing=1, handlelength=1.2, **place)


def _array(values):
    return np.array([math.nan if x is None else x for x in values], float)


def _line(axes, x, own, look, name, over=math.nan):
    """A line with its band; ``over`` is where a band ends that has no end."""
    line, low, high = map(_array, own)
    high = np.where(np.isnan(high) & ~np.isnan(low), over, high)
    axes.fill_between(x, low, high, color=look["color"], alpha=0.15, lw=0)
    axes.plot(x, line, label=name, **look)


def _curves(found):
    return _by_family(
        found,
        _curve,
        "Learning curves, of Adam and a rule with its controls in each panel: "
        "the primary metric of the last iterate (smaller is better), "
        "median and quartiles over seeds, against gradients of each player. Dotted: "
        "what as many real samples score; dashed: the target. A line ends where half "
        "of the runs have diverged.",
    )


def _curve(found, task, names, axes):
    of = found["tasks"][task]
    top = 2 * of["untrained"]
    for name, look in _look(names):
        if cell := found["cells"].get(name, {}).get(task):
            own = [cell["curve"][key] for key in ("median", "low", "high")]
            _line(axes, cell["curve"]["gradients"], own, look, name, over=2 * top)
    axes.axhline(of["curve_floor"], color=INK, lw=0.8, ls=":")
    if of["target"] is not None:  # None: Adam's median diverged
        axes.axhline(of["target"], color=INK, lw=0.8, ls="--")
    if of["curve_floor"] > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set(
        ylim=(0.8 * of["curve_floor"], top), xlabel="gradients", ylabel=of["primary"]
    )
    _legend(axes)


def _tuning(found):
    return _by_family(
        found,
        _expected,
        "What tuning is worth: the expected score of the best of k trials drawn from "
        "those of the study (Dodge 2019), on tuning seeds. 1 is what real samples "
        "score, 0 an untrained generator.",
    )


def _expected(found, task, names, axes):
    for name, look in _look(names):
        if cell := found["cells"].get(name, {}).get(task):
            best = _array(cell["expected_best"])
            axes.plot(np.arange(1, len(best) + 1), best, label=name, **look)
    axes.set(xlabel="trials", ylabel="expected best score", ylim=(0, None))
    axes.grid(alpha=0.2)
    _legend(axes)


def _profile(found):
    panels = [
        (title, functools.partial(_run_scores, found, names))
        for title, names in _families(found)
        if any(name in found["overall"] for name in names[1:] or names)
    ]
    caption = (
        "Profiles over all tasks: the share of runs whose score is above each level, "
        "with 95 % bands of the stratified bootstrap (Agarwal 2021). Higher is better."
    )
    return Picture(panels, 3, (3.1, 2.7), caption)


def _run_scores(found, names, axes):
    for name, look in _look(names):
        if whole := found["overall"].get(name):
            own = [whole["profile"][key] for key in ("line", "low", "high")]
            _line(axes, found["levels"], own, look, name)
    axes.set(xlabel="score", ylabel="share of runs above", ylim=(0, 1.02))
    axes.grid(alpha=0.2)
    _legend(axes)


def _scores(found):
    def of(task):
        cells = {n: found["cells"].get(n, {}).get(task) for n in order(found)}
        return {n: cell["score"] for n, cell in cells.items() if cell}

    every = {task: of(task) for task in found["tasks"]}
    whole = {n: found["overall"][n] for n in order(found) if n in found["overall"]}
    every["all tasks"] = {name: one["score"] for name, one in whole.items()}
    panels = [
        (title, functools.partial(_dots, found, scores))
        for title, scores in every.items()
        if scores
    ]
    caption = (
        "Scores: the mean of the middle half of the runs, with its 95 % interval; "
        "the vertical band is Adam's. Blue: rules; amber: controls; green: other "
        "optimizers. 1 is what real samples score."
    )
    height = 0.7 + 0.17 * max(map(len, every.values()), default=0)
    return Picture(panels, 3, (3.6, height), caption)


def _dots(found, scores, axes):
    if TARGET in scores:
        axes.axvspan(*scores[TARGET][1:], color=INK, alpha=0.25, lw=0)
    for row, (name, (value, low, high)) in enumerate(scores.items()):
        own = _ROLES[role(found["contestants"][name])] if name != TARGET else INK
        axes.plot((low, high), (row, row), color=own, lw=1.6, alpha=0.7)
        axes.plot(value, row, "o", color=own, ms=4)
    axes.set_yticks(range(len(scores)), list(scores))
    axes.set(ylim=(len(scores) - 0.4, -0.6), xlabel="score")
    axes.tick_params(axis="y", length=0)
    axes.grid(alpha=0.2)


def _samples(found, task):
    shape = tuple(found["tasks"][task]["shape"])
    cells = {name: found["cells"].get(name, {}).get(task) for name in order(found)}
    shown = {name: cell["samples"] for name, cell in cells.items() if cell}
    known = len(shape) == 1 and task in TASKS
    centres = data.load(TASKS[task].config.dataset).rows if known else np.zeros((0, 2))
    draw, height = (_points, 1.15) if len(shape) == 1 else (_images, 1.25)
    panels = [
        (name, functools.partial(draw, [np.reshape(x, (-1, *shape)) for x in seeds]))
        for name, seeds in shown.items()
        if seeds
    ]
    if len(shape) == 1:
        panels = [(n, functools.partial(f, centres)) for n, f in panels]
    caption = (
        f"Samples of {task} from the last iterate of the best point, one square for "
        "each of the first reporting seeds"
    ) + ("; the centres of the modes are circled." if len(centres) else ".")
    return Picture(panels, 3, (3.9, height), caption, pixels=True)


def _points(seeds, centres, axes):
    every = np.concatenate([centres, *seeds])
    every = every[np.isfinite(every).all(1)]
    around = centres if len(centres) else every
    reach = 1.35 * max(np.abs(around).max(initial=0), 1e-3)
    for i, points in enumerate(seeds):
        inside = points[(np.abs(points) < reach).all(1)] + [2.1 * reach * i, 0]
        moved = centres + [2.1 * reach * i, 0]
        axes.scatter(*moved.T, s=16, facecolors="none", edgecolors=INK, lw=0.6)
        axes.scatter(*inside.T, s=2.5, alpha=0.6, color=COLOURS[0], lw=0)
    right = (2.1 * len(seeds) - 1.1) * reach
    axes.set(xlim=(-reach, right), ylim=(-reach, reach), aspect="equal")
    axes.set_axis_off()


def _images(seeds, axes):
    """A square of images for each seed."""
    sheets = []
    for images in seeds:
        side = max(math.isqrt(len(images)), 1)
        tiles = images[: side * side].reshape(side, side, *images.shape[1:])
        apart = [(0, 0), (0, 0), (0, 1), (0, 1), (0, 0)]
        tiles = np.pad(tiles, apart, constant_values=np.nan)
        sheet = np.concatenate(np.concatenate(tiles, axis=1), axis=1)
        space = np.full((len(sheet), max(len(sheet) // 10, 1), sheet.shape[2]), np.nan)
        sheets += [sheet, space]
    sheet = np.clip((np.concatenate(sheets[:-1], axis=1) + 1) / 2, 0, 1)
    seen = np.isfinite(sheet).all(2, keepdims=True)
    colours = np.broadcast_to(np.nan_to_num(sheet), (*sheet.shape[:2], 3))
    axes.imshow(np.concatenate([colours, seen], axis=2))
    axes.set_axis_off()
