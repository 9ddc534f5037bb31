"""How every picture of a report is drawn: as an SVG document that is legible on light and dark paper."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attnexport.core.printable import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A placeholder: `currentColor` takes its place, which follows the reader's colour scheme.
_INK = "#010203"
_DARK = "@media screen and (prefers-color-scheme:dark){svg{color:#d5dae0}}"
_STYLE = "<style>svg{color:#24292f}" + _DARK + "</style>"
# Legible on white and on black.
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#3d7fd9", "#d97b29", "#2e9d67", "#d64550", "#8d6fd1", "#8a9099"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, RED, GREY)

_SETTINGS: dict[Any, Any] = {
    "font.size": 9.0,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "attnexport",
    "text.parse_math": False,  # a tensor's name may hold dollars
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor"), "none"),
    "image.cmap": "viridis",
}


@dataclass(frozen=True)
class Picture:
    """A picture.

    Attributes:
        svg: The SVG document, legible on light and dark paper.
        alt: What it shows, in words.
        caption: The line below it.
        points: Places in it that have a text to show under the pointer: percent from the left, from the top, the text.
    """

    svg: str
    alt: str
    caption: str
    points: tuple[tuple[float, float, str], ...] = ()

    @property
    def source(self) -> str:
        """The document as the `src` of an `img`, so that it follows the reader's colour scheme."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg.encode()).decode()}"


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's settings for a report, whatever a matplotlibrc says; the caller's settings are restored."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


def picture(draw: Callable[[Figure], None], size: tuple[float, float], alt: str, caption: str) -> Picture:
    """Draw a picture.

    Args:
        draw: Fills a figure.
        size: Its width and height in inches.
        alt: What it shows, in words.
        caption: What stands below it.
    """
    from matplotlib.figure import Figure

    with style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the reader's fonts show the text
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = printable(file.getvalue(), "\n\t")
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor").replace("'DejaVu Sans'", "system-ui")
    head = svg.index(">") + 1
    return Picture(svg[:head] + _STYLE + svg[head:], alt, caption)
