"""A report as Markdown."""

from collections.abc import Iterable

from subsel.gan.ablation.blocks import Block, Figure, Heading, Items, Paragraph, Table


def render(blocks: Iterable[Block]) -> str:
    """The file; pictures are files beside it, by the names of their figures."""
    return "\n\n".join(_of(block) for block in blocks) + "\n"


def _of(block) -> str:
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
