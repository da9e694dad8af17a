"""How a picture of a report is drawn: as a PNG file, or panel by panel in a page.

All that is not data is drawn in a grey that is legible on white and on black; in a page
it becomes the colour of the text around.
"""

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.figure import Figure
from PIL import Image

from subsel.lab.files import atomic

INK = "#808080"
_LARGEST = 250_000  # bytes of a PNG file
_STYLE = {
    "font.size": 8,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "subsel",
    "text.parse_math": False,  # a name is no formula
} | {f"{part}.color": INK for part in ("text", "xtick", "ytick", "grid")}
_STYLE |= {"axes.edgecolor": INK, "axes.labelcolor": INK, "axes.titlesize": 8}
_SPACES = 'xmlns:xlink="http://www.w3.org/1999/xlink"'
_NOTHING = dict.fromkeys(("Creator", "Date", "Format", "Type"))  # no metadata


class Picture(NamedTuple):
    """Panels of one size in inches, and what is said of them."""

    panels: list[tuple[str, Callable]]  # title, and what draws on axes
    columns: int
    size: tuple[float, float]
    caption: str
    pixels: bool = False  # too many marks for a drawing of lines


def slug(name: str) -> str:
    """A name that can be that of a file."""
    return re.sub(r"[^\w.-]+", "-", name)


def png(path: Path, picture: Picture) -> None:
    """All panels, in as many pixels and colours as 250 kB hold."""
    figure = _figure(picture.panels, picture.columns, picture.size)
    for dpi, colours in ((160, 48), (130, 32), (100, 16), (80, 16), (80, 8), (60, 8)):
        content = _pixels(figure, dpi, colours)
        if len(content) <= _LARGEST:
            break
    with atomic(path) as part:
        part.write_bytes(content)


def inline(picture: Picture) -> list[str]:
    """Each panel as an element of HTML."""
    return [_element(panel, picture) for panel in picture.panels]


def _element(panel, picture):
    figure = _figure([panel], 1, picture.size)
    if picture.pixels:
        code = base64.b64encode(_pixels(figure, 180)).decode()
        return f'<img alt="" src="data:image/png;base64,{code}">'
    out = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(out, format="svg", transparent=True, metadata=_NOTHING)
    drawing = out.getvalue()
    drawing = drawing[drawing.index("<svg") :].replace(INK, "currentColor")
    box = re.search(r'viewBox="[^"]*"', drawing).group()
    drawing = re.sub(r"<svg[^>]*>", f"<svg {_SPACES} {box}>", drawing, count=1)
    return re.sub(r' id="[a-z0-9]+_\w+"', "", drawing)  # the same in all panels


def _pixels(figure, dpi, colours=48):
    """A PNG of few colours, which are enough for lines and for grey images."""
    out = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(out, dpi=dpi, transparent=True)
    small = io.BytesIO()
    with Image.open(out) as drawn:
        few = drawn.quantize(colours, method=Image.Quantize.FASTOCTREE)
        few.save(small, "png", optimize=True)
    return small.getvalue()


def _figure(panels, columns, size):
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    with matplotlib.rc_context(_STYLE):
        inches = (size[0] * columns, size[1] * rows)
        figure = Figure(figsize=inches, layout="constrained")
        every = figure.subplots(rows, columns, squeeze=False).flat
        for axes in every[len(panels) :]:
            axes.set_axis_off()
        for axes, (title, draw) in zip(every, panels, strict=False):
            axes.set_title(title, loc="left", fontweight="bold")
            draw(axes)
    return figure
