"""What the map and the history share: the colours of the buckets, a canvas in inches, widths of texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from genmap import plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_C = plot.COLOURS
BUCKETS = (_C.grey, _C.blue, _C.green, _C.vermilion, _C.purple, _C.orange)  # by number; 0 is no bucket


def canvas(height: float) -> tuple[Figure, Axes]:
    """Return a figure at notebook width whose axes are in inches, with (0, 0) at the top left.

    height: in inches.
    """
    fig, ax = plot.figure(height=height)
    fig.set_layout_engine("none")
    ax.set_position((0, 0, 1, 1))
    ax.set(xlim=(0, plot.WIDTH), ylim=(height, 0))
    ax.set_axis_off()
    return fig, ax


def text_width(text: str, size: float) -> float:
    """Return how wide a text is, in inches.

    text: one line.
    size: of the font, in points.
    """
    path = TextPath((0, 0), text, size=size, prop=FontProperties("DejaVu Sans"))
    return float(path.get_extents().width) / 72
