"""The report of a study: one page of HTML, and the same as Markdown with pictures.

What is said is a list of blocks; each of them is rendered once for either.
"""

import html
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from subsel.gan.ablation import figures
from subsel.gan.ablation.analysis import LEVEL
from subsel.gan.ablation.figures import Picture, order, role, slug
from subsel.gan.ablation.study import TARGET
from subsel.lab.files import atomic

_ABSENT = "–"
_MARKS = {1: " ▲", -1: " ▼", 0: ""}


class Heading(NamedTuple):
    """Of a section, which a link can go to."""

    text: str
    level: int = 2


class Paragraph(NamedTuple):
    """Text; the headline is larger."""

    text: str
    headline: bool = False


class Items(NamedTuple):
    """Short texts."""

    texts: list[str]


class Table(NamedTuple):
    """Rows of texts, which can be sorted, and others at the foot, which stay there."""

    columns: list[str]
    rows: list[list[str]]
    foot: list[list[str]] = []


class Figure(NamedTuple):
    """A picture, the name of its file, and the command that made it."""

    name: str
    picture: Picture
    command: str


Block = Heading | Paragraph | Items | Table | Figure


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
        figures.png(folder / f"{name}.png", picture)
    blocks = [
        *_headline(found),
        *_overall(found),
        *(block for task in found["tasks"] for block in _task(found, task)),
        Heading("Figures"),
        *(Figure(name, picture, command) for name, picture in pictures.items()),
        *_protocol(found, machine),
    ]
    for suffix, render in (("html", _page), ("md", _markdown)):
        with atomic(folder / f"report.{suffix}") as part:
            part.write_text(render(blocks), encoding="utf-8")


# ---------------------------------------------------------------- numbers as text


def _number(x: float | None, otherwise: str = _ABSENT) -> str:
    """Three significant digits."""
    if x is None or not math.isfinite(x):
        return otherwise
    if float(x).is_integer() and abs(x) < 1000:
        return str(int(x))
    if 1000 <= abs(x) < 1e6:
        return f"{float(f'{x:.3g}'):.0f}"
    return f"{x:#.3g}".rstrip(".")


def _estimate(of) -> str:
    """A number with its interval."""
    return f"{_number(of[0])} [{_number(of[1])}, {_number(of[2])}]" if of else _ABSENT


def _interval_side(of) -> int:
    """1 where the whole interval is above 1/2, -1 where it is below, else 0."""
    return int(of[1] > 0.5) - int(of[2] < 0.5) if of else 0


def _median(times) -> float:
    """Of times, of which a miss is infinite: the later of two in the middle."""
    return sorted(math.inf if x is None else x for x in times)[len(times) // 2]


def _shown(name: str, one: dict) -> str:
    """A name and its sign; a control comes after what it controls."""
    signs = {"rule": "● ", "control": "↳ ", "optimizer": ""}
    return signs[role(one)] + name


def _what(one: dict) -> str:
    """Of a contestant: what it is, and a control of what."""
    return f"control of {one['control_of']}" if one["control_of"] else role(one)


# ---------------------------------------------------------------- what is said


def _headline(found) -> Iterator[Block]:
    rules = [name for name in order(found) if found["contestants"][name]["rule"]]
    compared = {name: _sides(found, name) for name in rules}
    compared = {name: sides for name, sides in compared.items() if sides}
    yield Heading("Subgradient selection against tuned Adam", 1)
    whole = {
        name: _interval_side(of["improvement"])
        for name, of in found["overall"].items()
        if name in compared
    }
    beaten = {name: _beaten(found, name, compared[name]) for name in compared}
    yield Paragraph(headline(compared, whole, beaten), headline=True)
    yield Paragraph(
        "Better and worse (▲ and ▼) mean that the 95 % interval of the probability of "
        "improvement, that a run of the rule beats one of tuned Adam, lies wholly "
        "above or below 1/2, and that p of Mann and Whitney's test is below "
        f"{LEVEL}, adjusted by Holm for all comparisons of the study. Over all tasks "
        "the interval alone decides."
    )
    rows = []
    for name, sides in compared.items():
        cells = [found["cells"][name].get(task) for task in found["tasks"]]
        each = [_against(cell) if cell else _ABSENT for cell in cells]
        whole = found["overall"].get(name)
        each.append(_overall_improvement(whole))
        counts = [str(list(sides.values()).count(side)) for side in (1, -1)]
        rows.append([name, *counts, *each])
    if rows:
        yield Table(["rule", "better", "worse", *found["tasks"], "all tasks"], rows)
    asked = found["asked"]["tasks"]
    missing = {
        name: [task for task in asked if task not in found["cells"].get(name, {})]
        for name in found["asked"]["contestants"]
    }
    missing = [f"{name} on {', '.join(ts)}" for name, ts in missing.items() if ts]
    if missing:
        yield Paragraph(f"Not measured (yet): {'; '.join(missing)}.")


def headline(
    compared: dict[str, dict[str, int]],
    whole: dict[str, int],
    beaten: dict[str, tuple[list[str], int]],
) -> str:
    """A few plain sentences, a line each.

    Args:
        compared: of each rule and task, 1 where it is better than tuned Adam, -1 where
            it is worse, and 0 where neither is certain.
        whole: the same over all tasks.
        beaten: of each rule its controls, and on how many of the tasks where it is
            better than Adam it is better than each of these, too.
    """
    if not compared:
        return "No rule has been compared with tuned Adam yet."
    better, worse = [], []
    for name, sides in compared.items():
        values = list(sides.values())
        ups, downs = values.count(1), values.count(-1)
        if ups:
            tasks = f"{len(values)} task{'s' * (len(values) != 1)}"
            said = f"{name} is better than tuned Adam on {ups} of {tasks}"
            names, also = beaten[name]
            if names:
                these = f"all its controls ({', '.join(names)})"
                also = f" Of these it is better than {these} on {also or 'none'}."
            else:
                also = ""
            better.append(f"{said} and worse on {downs or 'none'}.{also}")
        elif downs:
            worse.append(f"{name} ({downs} of {len(values)})")
    said = better or ["No rule is better than tuned Adam on any task."]
    if worse:
        said.append(f"Better on none and worse on some: {', '.join(worse)}.")
    for side, word in ((1, "better"), (-1, "worse")):
        if names := [name for name in whole if whole[name] == side]:
            said.append(f"Over all tasks together {word}: {', '.join(names)}.")
    return "\n".join(said)


def _sides(found, name):
    """Of each task that it is compared with tuned Adam on."""
    cells = found["cells"].get(name, {})
    return {
        task: cell["against"][TARGET]["side"]
        for task, cell in cells.items()
        if TARGET in cell["against"]
    }


def _beaten(found, name, sides):
    """Its controls, and the number of tasks where it beats Adam and all of them."""
    names = [c for c in found["contestants"][name]["controls"] if c in found["cells"]]
    won = [task for task, side in sides.items() if side > 0]
    pairs = [found["cells"][name][task]["against"] for task in won]
    also = sum(all(of.get(c, {}).get("side", 0) > 0 for c in names) for of in pairs)
    return names, also


def _improvement(pair) -> str:
    """The probability of improvement, its interval, and where that surely lies."""
    if not pair:
        return _ABSENT
    return _estimate(pair["improvement"]) + _MARKS[pair["side"]]


def _against(cell):
    pair = cell["against"].get(TARGET)
    return f"{_improvement(pair)} p {_number(pair['p_holm'])}" if pair else _ABSENT


def _overall_improvement(of) -> str:
    of = of and of["improvement"]
    return _estimate(of) + _MARKS[_interval_side(of)]


def _overall(found) -> Iterator[Block]:
    yield Heading("All tasks")
    if not found["overall"]:
        yield Paragraph("No contestant has been measured on all tasks yet.")
        return
    yield Paragraph(
        "Score: 0 is an untrained generator, 1 what real samples score; the mean of "
        "the middle half of the runs of all tasks. B is AlgoPerf's benchmark score: "
        "how near to the fastest in reaching the targets, at most 1. In brackets are "
        "95 % intervals. ● is a rule, ↳ a control of the one above. Only contestants "
        "measured on every task are here."
    )
    columns = ["contestant", "gradients a step", "score", "P(better than Adam)"]
    columns += ["benchmark score B", "what"]
    rows = []
    for name in (name for name in order(found) if name in found["overall"]):
        one, of = found["contestants"][name], found["overall"][name]
        row = [_shown(name, one), _number(one["gradients"]), _estimate(of["score"])]
        row += [_overall_improvement(of), _estimate(of["benchmark"])]
        rows.append([*row, _what(one)])
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
        f"{_number(of['untrained'])} of an untrained generator, {_number(of['floor'])} "
        f"of real samples; the target is {_number(of['target'], 'out of reach')}."
    )
    columns = ["contestant", of["primary"], "score", "P(better than Adam)"]
    columns += [
        "p (Holm)",
        "P(better than its controls)",
        "reached the target",
        "gradients to it",
        "diverged",
    ]
    columns += ["by default", "averaged G", *final, *(c + " ∠" for c in cosines)]
    columns += [
        "seconds a run",
        "compiling once",
        "at an edge",
        "best point",
        "what",
    ]
    rows = [
        [_shown(name, one), *_numbers(cells[name], final, cosines), _what(one)]
        for name, one in ((name, found["contestants"][name]) for name in cells)
    ]
    real = ["real samples", _number(of["floor"]), "1"]
    start = ["untrained G", _number(of["untrained"]), "0"]
    real += [_ABSENT] * 8 + [_number(of["real"].get(key)) for key in final]
    foot = [row + [_ABSENT] * (len(columns) - len(row)) for row in (real, start)]
    yield Table(columns, rows, foot)


def _numbers(cell, final, cosines) -> list[str]:
    """The columns of a contestant on a task."""
    hit, runs = cell["success"]
    low, high = map(_number, cell["success_interval"])
    by_default = _number(cell["default_median"], "diverged")
    point = (f"{key} {_number(value)}" for key, value in cell["point"].items())
    return [
        _number(cell["median"], "diverged"),
        _estimate(cell["score"]),
        _improvement(cell["against"].get(TARGET)),
        _number(cell["against"].get(TARGET, {}).get("p_holm")),
        "; ".join(
            f"{_improvement(pair)} {other}, p {_number(pair['p_holm'])}"
            for other, pair in cell["against"].items()
            if other != TARGET
        )
        or _ABSENT,
        f"{hit}/{runs} [{low}, {high}]",
        _number(_median(cell["times"]), "miss"),
        str(cell["diverged"]),
        by_default if cell["default_values"] else _ABSENT,
        _number(cell["averaged"], "diverged"),
        *(_number(cell["final"].get(key)) for key in final),
        *(_number(cell["cosine"].get(key)) for key in cosines),
        _number(cell["seconds"]),
        _number(cell["compiling"]),
        f"⚑ {', '.join(cell['edges'])}" if cell["edges"] else _ABSENT,
        ", ".join(point),
    ]


def _union(*every):
    return list(dict.fromkeys(key for keys in every for key in keys))


def _share(found) -> str:
    """Of the budget, at which the targets are taken."""
    return next((f"{t['target_at']:.0%}" for t in found["tasks"].values()), _ABSENT)


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
            "within the same trials. The smallest median of "
            f"{p['tuning_seeds']} tuning seeds decides. ⚑ marks a best point near an "
            "end of its axis: a wider space might have held a better one.",
            f"{p['seeds']} reporting seeds, which tuning never saw, for the best point "
            "and for the defaults.",
            "The last iterate counts, never the best of a run; the mean of G over "
            "steps is reported beside it, for all.",
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
        [name, _what(one), _number(one["gradients"]), one["about"]]
        + [", ".join(one["knobs"]) or _ABSENT]
        for name, one in ((name, about[name]) for name in order(found))
    ]
    yield Table(
        ["contestant", "what", "gradients a step", "about", "own numbers"], rows
    )
    yield Heading("Machine", 3)
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items())
    devices = ", ".join(machine["devices"])
    text = f"{machine['cpu']}, {machine['threads']} threads; devices: {devices}; "
    yield Paragraph(f"{text}Python {machine['python']}, {versions}.")


# ---------------------------------------------------------------- Markdown


def _markdown(blocks) -> str:
    return "\n\n".join(_markdown_of(block) for block in blocks) + "\n"


def _markdown_of(block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {_plain(text)}"
        case Paragraph(text, headline):
            return f"**{_plain(text)}**" if headline else _plain(text)
        case Items(texts):
            return "\n".join(f"- {_plain(text)}" for text in texts)
        case Table(columns, rows, foot):
            lines = [columns, ["---"] * len(columns), *rows, *foot]
            return "\n".join(f"| {' | '.join(map(_plain, row))} |" for row in lines)
        case Figure(name, picture, command):
            made = f"{_plain(picture.caption)} Made by `{command.replace('`', '')}`"
            return f"{made}\n\n![{name}]({name}.png)"


def _plain(text: str) -> str:
    """Text that Markdown takes for nothing else."""
    for sign in "\\|*`<#$~":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


# ---------------------------------------------------------------- HTML


def _page(blocks) -> str:
    sections = [block.text for block in blocks if block[1:] == (2,)]
    links = (f'<a href="#{slug(text)}">{_safe(text)}</a>' for text in sections)
    title, lead, *rest = (_html_of(block) for block in blocks)
    parts = [_HEAD, "<header>", title, lead, f"<nav>{' '.join(links)}</nav></header>"]
    return "\n".join([*parts, "<main>", *rest, "</main>", _FOOT])


def _html_of(block) -> str:
    match block:
        case Heading(text, level):
            return f'<h{level} id="{slug(text)}">{_safe(text)}</h{level}>'
        case Paragraph(text, headline):
            return f"<p{' class=headline' if headline else ''}>{_safe(text)}</p>"
        case Items(texts):
            return f"<ul>{''.join(f'<li>{_safe(text)}</li>' for text in texts)}</ul>"
        case Table(columns, rows, foot):
            heads = (f"<th><button>{_safe(column)}</button></th>" for column in columns)
            parts = [f"<thead><tr>{''.join(heads)}</tr></thead>"]
            for part, lines in (("tbody", rows), ("tfoot", foot)):
                parts.append(f"<{part}>{''.join(map(_row, lines))}</{part}>")
            table = f"<table>{''.join(parts)}</table>"
            return f'<div class="wide" tabindex="0">{table}</div>'
        case Figure(name, picture, command):
            panels = (
                f'<div role="img" aria-label="{_safe(title)}">{drawn}</div>'
                for (title, _), drawn in zip(
                    picture.panels, figures.inline(picture), strict=True
                )
            )
            made = f"{_safe(picture.caption)} Made by <code>{_safe(command)}</code>"
            columns = f'style="--columns: {max(picture.columns, 3)}"'
            return (
                f'<figure id="{name}"><figcaption>{made}</figcaption>'
                f'<div class="panels" {columns}>{"".join(panels)}</div></figure>'
            )


def _row(texts):
    kind = " class=rule" if texts[-1] == "rule" else ""
    kind = " class=target" if texts[0] == TARGET else kind
    marks = {"▲": " class=better", "▼": " class=worse", "⚑": " class=flag"}
    cells = (
        f"<td{next((marks[sign] for sign in marks if sign in text), '')}>"
        f"{_safe(text)}</td>"
        for text in texts[1:]
    )
    return f'<tr{kind}><th scope="row">{_safe(texts[0])}</th>{"".join(cells)}</tr>'


_safe = html.escape

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Subgradient selection against tuned Adam</title>
<style>
:root {
  color-scheme: light dark;
  --paper: #fff; --text: #1c2128; --soft: #59636e; --rule: #d8dee4;
  --band: #f4f6f8; --link: #0969da; --good: #127a35; --bad: #c62828; --warn: #8f5a00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #101418; --text: #dde3ea; --soft: #98a4b0; --rule: #323a44;
    --band: #1a2027; --link: #6cb0ff; --good: #5cd086; --bad: #ff8a80; --warn: #f2b95a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--text);
  font: 16px/1.55 system-ui, sans-serif; overflow-wrap: anywhere;
}
header, main { max-width: 84rem; margin: auto; padding: 0 clamp(1rem, 3vw, 2.5rem); }
main { padding-bottom: 4rem; }
h1 { font-size: clamp(1.5rem, 4vw, 2.2rem); line-height: 1.2; margin: 2rem 0 1rem; }
h2 { margin: 3rem 0 0.75rem; padding-top: 1rem; border-top: 1px solid var(--rule); }
p, ul, figcaption { max-width: 48rem; }
li { margin: 0.3rem 0; }
.headline {
  max-width: 60rem; font-size: 1.15rem; padding: 0.8rem 1.1rem; border-radius: 0.3rem;
  border-left: 4px solid var(--link); background: var(--band); white-space: pre-line;
}
nav { display: flex; flex-wrap: wrap; gap: 0.4rem 1.2rem; }
a { color: var(--link); }
.wide { overflow-x: auto; border: 1px solid var(--rule); border-radius: 0.4rem; }
table {
  border-collapse: collapse; width: 100%; font-size: 0.85rem; white-space: nowrap;
  font-variant-numeric: tabular-nums; overflow-wrap: normal;
}
th, td { padding: 0.35rem 0.7rem; text-align: left; }
:where(tr > :first-child) { position: sticky; left: 0; background: var(--paper); }
thead th { padding: 0; border-bottom: 2px solid var(--rule); }
tbody tr:nth-child(even) > *, tfoot tr > * { background: var(--band); }
tbody tr:hover > * { background: var(--rule); }
tfoot tr > * { font-style: italic; font-weight: normal; }
tfoot tr:first-child > * { border-top: 2px solid var(--rule); }
tbody th { font-weight: 500; }
.target th { font-weight: 800; }
.rule th::first-letter { color: var(--link); }
.better { color: var(--good); font-weight: 600; }
.worse { color: var(--bad); }
.flag { color: var(--warn); font-weight: 600; }
button {
  all: unset; display: block; padding: 0.45rem 0.7rem; cursor: pointer;
  font-weight: 600;
}
button::after { content: " ↕"; color: var(--soft); font-weight: normal; }
[aria-sort=ascending] button::after { content: " ↑"; color: var(--link); }
[aria-sort=descending] button::after { content: " ↓"; color: var(--link); }
button:hover { color: var(--link); }
:focus-visible { outline: 2px solid var(--link); outline-offset: -2px; }
figure { margin: 0 0 3.5rem; }
figcaption { margin-bottom: 1rem; }
code { font-size: 0.85em; color: var(--soft); }
.panels {
  display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill,
    minmax(min(100%, max(15.5rem, 100% / var(--columns) - 1rem)), 1fr));
}
.panels svg, .panels img { display: block; width: 100%; height: auto; }
.panels text { font-family: inherit !important; }
</style>
</head>
<body>"""

_FOOT = """<script>
// A click on a head sorts: numbers by value, a miss after them, text after that, and
// what is absent last.
const key = (row, i) => {
  const text = row.cells[i].textContent.replace(/^[⚑●↳] /, "");
  if (text === "miss" || text === "diverged") return [0, Infinity];
  const number = parseFloat(text);
  return text === "–" ? [2, 0] : isNaN(number) ? [1, text] : [0, number];
};
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, i) => head.firstChild.addEventListener("click", () => {
    const sign = head.ariaSort === "ascending" ? -1 : 1;
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    body.append(...[...body.rows].sort((a, b) => {
      const [[kind, x], [other, y]] = [key(a, i), key(b, i)];
      return kind - other || sign * (x < y ? -1 : x > y ? 1 : 0);
    }));
  }));
}
</script>
</body>
</html>
"""
