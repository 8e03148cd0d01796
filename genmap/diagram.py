"""The diagram of a machine: what goes in and out of it, in which shapes, drawn from a few lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, pairwise
from typing import TYPE_CHECKING

from genmap import plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEIGHT = 1.0  # inches of a row
BOX = (0.84, 0.62)  # of a column's width and of a row's height
MOST = 7  # columns, beyond which no text is legible at notebook width
FONT, SMALL = 10.0, 8.0  # points, of a name and of what stands below it


@dataclass(frozen=True)
class Box:
    """A box: a name, a line below it; `works` of what computes, where others are what is computed."""

    name: str
    below: str
    works: bool


def machine(*rows: str, title: str | None = None) -> Axes:
    """Draw boxes and arrows; return the Axes.

    Such as `machine("x | (B, 64) -> [encoder | 2 layers] -> z | (B, 8)", "ε | (B, 8) -> z")`.

    rows: each a chain of boxes with " -> " between them. What computes stands in brackets; behind " | " comes
        a small line, such as a shape. The first row goes from left to right. A later one must name a box that
        is there already, by its name alone; its new boxes stand below, left or right of it.
    title: above the diagram, or None.

    Raises ValueError for a row without a box, a later row that meets no box that is there, a box without a
    name, or too many columns.
    """
    places, arrows = _laid_out(rows)
    columns, lines = (1 + max(place[axis] for place in places.values()) for axis in (0, 1))
    ax: Axes = plot.figure(height=lines * HEIGHT + (0.4 if title else 0.1))[1]
    ax.set(xlim=(0, columns), ylim=(lines, 0), title=title or "")
    ax.set_axis_off()
    for box, place in places.items():
        _draw_box(ax, box, *place)
    for start, end in arrows:
        _draw_arrow(ax, places[start], places[end])
    return ax


def _laid_out(rows: tuple[str, ...]) -> tuple[dict[Box, tuple[int, int]], list[tuple[Box, Box]]]:
    """The column and line of each box, and the arrows between boxes."""
    if not rows:
        raise ValueError("machine: give at least one row of boxes")
    places: dict[Box, tuple[int, int]] = {}
    arrows: list[tuple[Box, Box]] = []
    for line, row in enumerate(rows):
        chain = [_box(text, row, places) for text in row.split(" -> ")]
        old = [index for index, box in enumerate(chain) if box in places]
        if line and not old:
            raise ValueError(f"machine: {row!r} meets none of the boxes above it; name one of them")
        at = old[0] if old else 0
        start = places[chain[at]][0] - at if old else 0
        new = {box: start + index for index, box in enumerate(chain) if box not in places}
        level = next(
            n for n in count(min(line, 1)) if not {(at, n) for at in new.values()} & {*places.values()}
        )
        places |= {box: (column, level) for box, column in new.items()}
        arrows += [pair for pair in pairwise(chain) if pair not in arrows]
    least = min(column for column, _ in places.values())
    places = {box: (column - least, line) for box, (column, line) in places.items()}
    if (most := 1 + max(column for column, _ in places.values())) > MOST:
        raise ValueError(f"machine: {most} columns, of which {MOST} are legible; break the chain into rows")
    return places, arrows


def _box(text: str, row: str, known: dict[Box, tuple[int, int]]) -> Box:
    """A box of a row, or the known one of its name."""
    text = text.strip()
    works = text.startswith("[") and text.endswith("]")
    name, _, below = (part.strip() for part in text.strip("[]").partition(" | "))
    if not name:
        raise ValueError(f"machine: {row!r} has a box without a name")
    return next((box for box in known if box.name == name), Box(name, below, works))


def _draw_box(ax: Axes, box: Box, column: int, line: int) -> None:
    from matplotlib.patches import FancyBboxPatch

    width, height = BOX
    corner = column + (1 - width) / 2, line + (1 - height) / 2
    edge = plot.COLOURS.blue if box.works else plot.RULE
    ground = "#E6F1F8" if box.works else plot.PAPER
    round_ = "round,pad=0,rounding_size=0.08"
    shape = FancyBboxPatch(
        corner, width, height, boxstyle=round_, fc=ground, ec=edge, lw=1.4, mutation_aspect=1
    )
    ax.add_patch(shape)
    for text, shift, size, colour, weight in _texts(box):
        ax.text(
            column + 0.5,
            line + 0.5 + shift,
            text,
            ha="center",
            va="center",
            fontsize=size,
            color=colour,
            fontweight=weight,
        )


def _texts(box: Box) -> Iterator[tuple[str, float, float, str, str]]:
    """Text, shift downwards, size, colour and weight of what stands in it."""
    shift = 0.12 if box.below else 0.0
    yield box.name, -shift, FONT, plot.INK, "bold" if box.works else "normal"
    if box.below:
        yield box.below, shift + 0.02, SMALL, "#4B5563", "normal"


def _draw_arrow(ax: Axes, start: tuple[int, int], end: tuple[int, int]) -> None:
    """From edge to edge, level within a line, else from above or below into the box."""
    width, height = BOX
    across, down = end[0] - start[0], end[1] - start[1]
    side, up = (width / 2, height / 2)
    centre = [place + 0.5 for place in start], [place + 0.5 for place in end]
    sign_x, sign_y = (across > 0) - (across < 0), (down > 0) - (down < 0)
    if down == 0:
        tail = centre[0][0] + sign_x * side, centre[0][1]
        head = centre[1][0] - sign_x * side, centre[1][1]
    elif across == 0:
        tail = centre[0][0], centre[0][1] + sign_y * up
        head = centre[1][0], centre[1][1] - sign_y * up
    else:
        tail = centre[0][0] + sign_x * side, centre[0][1]
        head = centre[1][0], centre[1][1] - sign_y * up
    style = "angle,angleA=0,angleB=90,rad=6" if across and down else "arc3"
    ax.annotate(
        "",
        xy=head,
        xytext=tail,
        arrowprops={"arrowstyle": "-|>", "color": "#6B7280", "lw": 1.4, "connectionstyle": style},
    )
