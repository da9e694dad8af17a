"""``summary.md`` and ``curves.png``: what became of a run, to be looked at."""

import dataclasses
import math
from pathlib import Path

from subsel.gan import pictures
from subsel.gan.config import Config
from subsel.lab.files import atomic

_HIGHER_IS_BETTER = {
    *("modes", "modes_honest", "high_quality", "classes", "class_entropy"),
    *("classifier_score", "precision", "recall", "density", "coverage"),
}
_NEITHER = {"kernel_distance_error"}
_CURVES = {
    "loss": ("d_loss", "g_loss"),
    "D of real and generated samples": ("d_real", "d_fake"),
    "length of the gradient": ("d_grad_norm", "g_grad_norm"),
    "modes or classes": ("modes", "modes_honest", "classes", "classes_seen"),
    "share": ("high_quality", "precision", "recall", "density", "coverage"),
    "distance": ("frechet", "kernel_distance", "mmd", "sliced_wasserstein"),
    "KL to uniform": ("reverse_kl", "class_kl"),
}


def write(run_dir: Path, cfg: Config, rows: list[dict], floor: dict) -> None:
    """Draws the curves of a record and writes the table of its metrics.

    ``floor`` is what real samples score under the same protocol.
    """
    pictures.curves(run_dir / "curves.png", rows, _CURVES)
    with atomic(run_dir / "summary.md") as part:
        part.write_text("\n".join(_lines(run_dir, cfg, rows, floor)) + "\n")


def best(rows: list[dict], name: str) -> tuple[float | None, int | str]:
    """The best value of a metric over a run, and its step; None and "-" without one."""
    seen = [(row[name], row["step"]) for row in rows if _number(row.get(name))]
    if not seen or name in _NEITHER:
        return None, "-"
    if name in _HIGHER_IS_BETTER:
        return max(seen, key=lambda one: (one[0], -one[1]))
    return min(seen, key=lambda one: abs(one[0]))  # unbiased distances may be negative


def _lines(run_dir, cfg, rows, floor):
    changed = [
        f"{field.name} {getattr(cfg, field.name)}"
        for field in dataclasses.fields(Config)
        if getattr(cfg, field.name) != field.default
        and field.name not in ("run_dir", "resume", "data_dir", "dataset")
    ]
    yield f"# {cfg.dataset}, seed {cfg.seed}: {cfg.steps} steps"
    yield ""
    yield "Changed from the defaults: " + (", ".join(changed) or "nothing") + "."
    evaluated = [row for row in rows if "protocol" in row]
    if evaluated:
        yield f"Protocol: {evaluated[-1]['protocol']}."
        yield ""
        yield "| metric | final | best of the run | at step | real samples |"
        yield "|---|---|---|---|---|"
        for name, real in floor.items():
            value, step = best(evaluated, name)
            final = _text(evaluated[-1][name])
            if final == _text(real) == "-":
                continue  # of too few samples for this metric
            yield f"| {name} | {final} | {_text(value)} | {step} | {_text(real)} |"
        yield ""
        yield "The final value is the result; the best one was chosen by looking."
    yield ""
    yield "![curves](curves.png)"
    for picture in sorted((run_dir / "samples").glob("*.png")):
        if not picture.stem.isdecimal():
            continue  # somebody else's
        yield f"\nAfter step {int(picture.stem)}:\n"
        yield f"![samples](samples/{picture.name})"


def _number(value):
    return value is not None and math.isfinite(value)


def _text(value):
    return f"{value:.4g}" if _number(value) else "-"
