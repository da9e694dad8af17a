"""Train the recipes over seeds, and measure what they reach.

    python experiments/recipes.py ring grid --seeds 10 --out results/recipes.json
    python experiments/recipes.py digits
    python experiments/recipes.py --quick

Every seed is a run of train_gan.py in a folder of its own, under --runs; one that was
interrupted goes on. Measured at the last step, never at the best one: with the average
of G, with its last iterate, at a recipe's temperature and at 1, and of mixtures with
2,500 samples, as published tables do, beside 10,000. A changed recipe is another one,
and is run again.
"""

import contextlib
import dataclasses
import io
import json
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import tyro
from matplotlib import image
from matplotlib.figure import Figure

from subsel.gan import checks, config, game
from subsel.gan.config import Config
from subsel.gan.evaluate import evaluation
from subsel.gan.recipes import RECIPES
from subsel.gan.train import train
from subsel.lab import cells
from subsel.lab.errors import UsageError, exit_status
from subsel.lab.files import atomic

SHOWN = ("modes_honest", "modes", "high_quality", "reverse_kl", "frechet")
SHOWN += ("density", "coverage", "precision", "recall", "class_kl")


def main(
    recipes: tyro.conf.Positional[tuple[str, ...]] = (),
    *,
    seeds: int = 5,
    quick: bool = False,
    data_dir: str | None = None,
    runs: Path = Path("runs/recipes"),
    out: Path | None = None,
) -> None:
    """Runs what is missing in the file, prints a table and draws a picture.

    Args:
        recipes: names; all of them if left out, of the quick form ring alone.
        seeds: 1, 2, … of each.
        quick: 200 steps of one seed, evaluated with 2,500 samples.
        data_dir: where tensorflow-datasets keeps its sets.
        runs: folder for the folders of the runs.
        out: JSON file to write, or to go on with; the picture has its name, as PNG.
            If left out, runs/recipes.json or runs/recipes_quick.json.
    """
    for name in recipes:
        checks.one_of("recipe", name, RECIPES)
    if seeds < 1:
        raise UsageError(f"--seeds {seeds}: expected 1 or more")
    changes = {"data_dir": data_dir}
    if quick:
        recipes, seeds = recipes or ("ring",), 1
        changes |= {"steps": 200, "log_every": 100, "eval_samples": 2500}
    recipes = recipes or tuple(RECIPES)
    plan = {}
    for name in recipes:
        recipe = dataclasses.replace(RECIPES[name](), **changes)
        for seed in range(1, seeds + 1):
            cell = f"{name}/{config.digest(recipe)}/seed{seed}"
            folder = runs / cell.replace("/", "-")
            cfg = dataclasses.replace(recipe, seed=seed)
            plan[cell] = partial(measure, cfg, folder)
    out = cells.place("recipes", quick, out)
    report = cells.run(out, {"quick": quick}, plan)
    report["cells"] = {cell: report["cells"][cell] for cell in plan}
    print(table(report))
    folders = {name: runs / first(plan, name).replace("/", "-") for name in recipes}
    picture(out.with_suffix(".png"), folders)
    print(f"\nsaved as {out}")


def first(plan: dict, name: str) -> str:
    """The cell of a recipe's first seed."""
    return next(cell for cell in plan if cell.split("/")[0] == name)


def measure(cfg: Config, folder: Path) -> dict:
    """Trains one seed, or goes on, and evaluates its last checkpoint."""
    begun = (folder / "config.json").exists()
    where = {"resume": str(folder)} if begun else {"run_dir": str(folder)}
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):  # a line a report, of every run
        train(dataclasses.replace(cfg, **where))
    minutes = (time.perf_counter() - start) / 60
    cfg, playing, state = game.restored(folder, data_dir=cfg.data_dir)
    judge = evaluation(cfg, playing)
    found = {
        "minutes": round(minutes, 2) if not begun else None,
        "final": judge.run(state),
        "real": judge.floor(),
    }
    if cfg.ema:
        found["last_iterate"] = judge.run(state._replace(ema=()))
    if cfg.temperature != 1:
        warm = game.restored(folder, temperature=1.0, data_dir=cfg.data_dir)
        found["temperature_1"] = evaluation(*warm[:2]).run(state)
    if playing.dataset.noise:
        fewer = dataclasses.replace(cfg, eval_samples=2500)
        found["of_2500"] = evaluation(fewer, playing).run(state)
    return json.loads(json.dumps(found), parse_constant=lambda name: None)


def table(report: dict) -> str:
    """A line for each cell; of each recipe, the medians, and those of real samples."""
    lines, of = [], {}
    for cell, found in report["cells"].items():
        of.setdefault(cell.split("/")[0], []).append(found)
    for name, rows in of.items():
        shown = [metric for metric in SHOWN if metric in rows[0]["final"]]
        protocols = dict.fromkeys(row["final"]["protocol"] for row in rows)
        lines += ["", f"{name}, {'; '.join(protocols)}"]
        if len(protocols) > 1:  # a feature network has other weights on each machine
            lines.append("Seeds that were judged in different ways are not comparable.")
        lines += [f"{'':10}" + "".join(f"{metric:>14}" for metric in shown)]
        for seed, row in enumerate(rows, start=1):
            lines.append(_line(f"seed {seed}", [row["final"][m] for m in shown]))
        for label, of_what in {"median": "final", "real": "real"}.items():
            every = np.array([[r[of_what][m] for m in shown] for r in rows], float)
            lines.append(_line(label, np.median(every, axis=0)))
    return "\n".join(lines)


def _line(name, values):
    numbers = np.array(values, float)  # null, which is NaN, where it was not finite
    shown = ["-" if np.isnan(value) else f"{value:.4g}" for value in numbers]
    return f"{name:10}" + "".join(f"{value:>14}" for value in shown)


def picture(path: Path, folders: dict[str, Path]) -> None:
    """The samples of each recipe's first seed, of those whose runs are here."""
    there = {n: f for n, f in folders.items() if (f / "samples.png").exists()}
    if missing := folders.keys() - there.keys():
        kept = ", ".join(sorted(missing))
        print(f"\nnot trained here, and so without a picture: {kept}")
    if not (folders := there):
        return
    columns = min(len(folders), 3)
    rows = -(-len(folders) // columns)
    figure = Figure(figsize=(4.5 * columns, 4.5 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.axis("off")
    for axes, (name, folder) in zip(panels, folders.items(), strict=False):
        axes.imshow(image.imread(folder / "samples.png"))
        axes.set_title(name, fontsize=10)
    with atomic(path) as part:
        figure.savefig(part, dpi=90)
    print(f"\nsamples of the first seeds: {path}")


if __name__ == "__main__":
    sys.exit(exit_status(lambda: tyro.cli(main, description=__doc__)))
