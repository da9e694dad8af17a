"""A report as one page of HTML that needs no other file: light, dark, sortable."""

import html
from collections.abc import Iterable

from subsel.gan.ablation import drawing
from subsel.gan.ablation.blocks import Block, Figure, Heading, Items, Paragraph, Table
from subsel.gan.ablation.drawing import slug
from subsel.gan.ablation.study import TARGET


def render(blocks: Iterable[Block]) -> str:
    """The page, whose first blocks are its title and its headline."""
    sections = [block.text for block in blocks if block[1:] == (2,)]
    links = (f'<a href="#{slug(text)}">{_safe(text)}</a>' for text in sections)
    title, lead, *rest = (_of(block) for block in blocks)
    parts = [_HEAD, "<header>", title, lead, f"<nav>{' '.join(links)}</nav></header>"]
    return "\n".join([*parts, "<main>", *rest, "</main>", _FOOT])


def _of(block) -> str:
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
                    picture.panels, drawing.inline(picture), strict=True
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
