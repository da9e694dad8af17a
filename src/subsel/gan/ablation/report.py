"""The report of a study: one page of HTML, and the same as Markdown with pictures.

What is said, as a list of blocks, each of which is rendered once for either.
"""

from collections.abc import Iterator
from pathlib import Path

from subsel.gan.ablation import drawing, figures, headline, markdown, page
from subsel.gan.ablation.blocks import Block, Figure, Heading, Items, Paragraph, Table
from subsel.gan.ablation.groups import order
from subsel.gan.ablation.study import TARGET
from subsel.gan.ablation.wording import (
    ABSENT,
    estimate,
    improvement,
    median,
    number,
    shown,
    what,
    with_p,
)
from subsel.lab.files import atomic


def write(found: dict, folder: Path, command: str, machine: dict) -> None:
    """Writes ``report.html``, which needs no other file, ``report.md`` and pictures.

    Args:
        found: what :func:`subsel.gan.ablation.analysis.analyse` returns.
        folder: of the files; made where it is not there.
        command: what made them.
        machine: what :func:`subsel.lab.timing.machine` returns.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = figures.pictures(found)
    for name, picture in pictures.items():
        drawing.png(folder / f"{name}.png", picture)
    blocks = [
        *headline.blocks(found),
        *_overall(found),
        *(block for task in found["tasks"] for block in _task(found, task)),
        Heading("Figures"),
        *(Figure(name, picture, command) for name, picture in pictures.items()),
        *_protocol(found, machine),
    ]
    for suffix, render in (("html", page.render), ("md", markdown.render)):
        with atomic(folder / f"report.{suffix}") as part:
            part.write_text(render(blocks), encoding="utf-8")


def _overall(found) -> Iterator[Block]:
    yield Heading("All tasks")
    if not found["overall"]:
        yield Paragraph("No contestant has been measured on all tasks yet.")
        return
    yield Paragraph(
        "Score: 0 is an untrained generator, 1 what real samples score; the mean of "
        "the middle half of the runs of all tasks. B is AlgoPerf's benchmark score: "
        "how near to the fastest contestant in reaching the targets, at most 1. In "
        "brackets are 95 % intervals. ● is a rule, ↳ a control of the one above. Only "
        "contestants measured on every task are here."
    )
    columns = ["contestant", "gradients a step", "score", "P(better than Adam)"]
    columns += ["benchmark score B", "what"]
    rows = []
    for name in (name for name in order(found) if name in found["overall"]):
        one, of = found["contestants"][name], found["overall"][name]
        row = [shown(name, one), number(one["gradients"]), estimate(of["score"])]
        row += [with_p(of["against"]), estimate(of["benchmark"])]
        rows.append([*row, what(one)])
    yield Table(columns, rows)


def _task(found, task) -> Iterator[Block]:
    of = found["tasks"][task]
    cells = {name: found["cells"].get(name, {}).get(task) for name in order(found)}
    cells = {name: cell for name, cell in cells.items() if cell}
    final = _union(of["real"], *(cell["final"] for cell in cells.values()))
    final.remove(of["primary"])
    cosines = _union(*(cell["cosine"] for cell in cells.values()))
    yield Heading(task)
    yield Paragraph(
        f"{of['about']}. The primary metric is {of['primary']}, smaller is better: "
        f"{number(of['untrained'])} of an untrained generator, {number(of['floor'])} "
        f"of real samples; the target is {number(of['target'], 'out of reach')}. "
        f"Measured on {of['judge']}."
    )
    columns = ["contestant", of["primary"], "score", "P(better than Adam)"]
    columns += [
        "p (Holm)",
        "P(better than its controls)",
        "reached the target",
        "gradients to it",
        "diverged",
    ]
    columns += ["by default", "averaged G", "P, averaged G"]
    columns += [*final, *(c + " ∠" for c in cosines)]
    columns += [
        "seconds a run",
        "compiling once",
        "at an edge",
        "finalists' medians",
        "best point",
        "what",
    ]
    rows = [
        [shown(name, one), *_numbers(cells[name], final, cosines), what(one)]
        for name, one in ((name, found["contestants"][name]) for name in cells)
    ]
    real = ["real samples", number(of["floor"]), "1"]
    start = ["untrained G", number(of["untrained"]), "0"]
    real += [ABSENT] * 9 + [number(of["real"].get(key)) for key in final]
    foot = [row + [ABSENT] * (len(columns) - len(row)) for row in (real, start)]
    yield Table(columns, rows, foot)


def _numbers(cell, final, cosines) -> list[str]:
    """The columns of a contestant on a task."""
    hit, runs = cell["success"]
    low, high = map(number, cell["success_interval"])
    by_default = number(cell["default_median"], "diverged")
    point = (f"{key} {number(value)}" for key, value in cell["point"].items())
    return [
        number(cell["median"], "diverged"),
        estimate(cell["score"]),
        improvement(cell["against"].get(TARGET)),
        number(cell["against"].get(TARGET, {}).get("p_holm")),
        "; ".join(
            f"{improvement(pair)} {other}, p {number(pair['p_holm'])}"
            for other, pair in cell["against"].items()
            if other != TARGET
        )
        or ABSENT,
        f"{hit}/{runs} [{low}, {high}]",
        number(median(cell["times"]), "miss"),
        str(cell["diverged"]),
        by_default if cell["default_values"] else ABSENT,
        number(cell["averaged"], "diverged"),
        with_p(cell["averaged_against"].get(TARGET)),
        *(number(cell["final"].get(key)) for key in final),
        *(number(cell["cosine"].get(key)) for key in cosines),
        number(cell["seconds"]),
        number(cell["compiling"]),
        f"⚑ {', '.join(cell['edges'])}" if cell["edges"] else ABSENT,
        ", ".join(number(x, "diverged") for x in cell["finalists"]),
        ", ".join(point),
    ]


def _union(*every):
    return list(dict.fromkeys(key for keys in every for key in keys))


def _share(found) -> str:
    """Of the budget, at which the targets are taken."""
    return next((f"{t['target_at']:.0%}" for t in found["tasks"].values()), ABSENT)


def _choice(found) -> str:
    """How the best point is found, and how often the second round was needed."""
    p = found["protocol"]
    few, seeds = p["finalists"], p["tuning_seeds"]
    if few == 1:
        return f"The smallest median of {seeds} tuning seeds decides."
    pairs = found["cells"].values()
    overturned = [cell["overturned"] for of in pairs for cell in of.values()]
    return (
        f"The {few} with the smallest medians of {seeds} tuning seeds are the "
        f"finalists; the smallest median of {p['finalist_seeds']} further seeds, of "
        "these alone, decides, and chose another point than the first round for "
        f"{sum(overturned)} of {len(overturned)} pairs of contestant and task."
    )


def _protocol(found, machine) -> Iterator[Block]:
    p = found["protocol"]
    yield Heading("Protocol")
    yield Items(
        [
            f"Equal budget: {p['budget']} gradients of each player, on batches of the "
            "task's size. A rule that takes k gradients a step makes a k-th of the "
            "steps; so does Adam with k times the batch.",
            f"Equal tuning: the same {p['trials']} quasi-random points (Halton, "
            "scrambled once) for all; a number that only one contestant has is tuned "
            f"within the same trials. {_choice(found)} ⚑ marks a best point near an "
            "end of its axis: a wider space might have held a better one.",
            f"{p['seeds']} reporting seeds, which tuning never saw, for the best point "
            "and for the defaults.",
            "The last iterate counts, never the best of a run, and chooses the points; "
            "the mean of G over steps is reported beside it, for all, and compared "
            "with Adam's (P, averaged G; p adjusted for all of these).",
            "Target: the median that tuned Adam, on seeds of its own, has reached at "
            f"{_share(found)} of the budget. A run that never reaches it is a miss, "
            "and takes infinitely long.",
            "A score is (untrained - x) / (untrained - real) of the primary metric x, "
            "at least 0. A run that diverged scores 0; where runs are compared it is "
            "worse than any that did not. It is left out of nothing but the medians of "
            "the other metrics, which it has none of.",
            "Intervals are of the stratified bootstrap over seeds (Agarwal 2021), of "
            "success exact (Clopper and Pearson 1934); all of 95 %.",
            "∠ is the mean cosine between what was selected and the plain gradient.",
            f"Metrics: {p['final_samples']} samples at the end, {p['curve_samples']} "
            f"at each of the {p['segments']} points of a curve; of images no more than "
            "the test split has. A population of "
            f"{p['population']} runs is one program; seconds are a run's share of it, "
            "without compiling, on a machine that may have had other work.",
        ]
    )
    yield Heading("Contestants", 3)
    about = found["contestants"]
    rows = [
        [name, what(one), number(one["gradients"]), one["about"]]
        + [", ".join(one["knobs"]) or ABSENT]
        for name, one in ((name, about[name]) for name in order(found))
    ]
    yield Table(
        ["contestant", "what", "gradients a step", "about", "own numbers"], rows
    )
    yield Heading("Machine", 3)
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items())
    devices = ", ".join(machine["devices"])
    text = "Where the study was begun; others may have helped. "
    text += f"{machine['cpu']}, {machine['threads']} threads; devices: {devices}; "
    yield Paragraph(f"{text}Python {machine['python']}, {versions}.")
