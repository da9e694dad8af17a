"""What a report is made of: blocks that say something, rendered for each format."""

from typing import NamedTuple

from subsel.gan.ablation.drawing import Picture


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
