"""The history drawn: the landmarks on a line of years, a lane for each line of research."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from matplotlib.patches import Rectangle

from genmap import plot
from genmap.taxonomy.drawing import BUCKETS, canvas, text_width
from genmap.taxonomy.facts import ATLAS
from genmap.taxonomy.works import Model

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LANES = {  # a model's lane, and how it is written
    "explicit": "explicit,\ntractable",
    "latent variable": "latents,\nenergies",
    "adversarial": "adversarial",
    "score and flow": "diffusion,\nscore, flow",
    "tokens": "tokens",
    "text to image": "text to image",
    "video and 3-D": "video, 3-D",
    "audio": "audio",
    "parts": "parts and\nadapters",
}
SPAN = (2013, 2027)  # years of the timeline: from the first to before the second
LINE = 0.178  # inches: a line of labels
PAD = 0.07  # inches: the space above and below a lane


def timeline() -> Figure:
    """Draw the history by lines, 2013 to 2026: each landmark at the month of its first public version."""
    lanes = {lane: [m for m in ATLAS.models.values() if m.landmark and m.lane == lane] for lane in LANES}
    packed = {lane: _packed(group) for lane, group in lanes.items()}
    heights = {
        lane: max(2, max(row for row, _, _ in places) + 1) * LINE + 2 * PAD for lane, places in packed.items()
    }
    fig, ax = canvas(sum(heights.values()) + 0.92)
    y = 0.3
    for i, (lane, places) in enumerate(packed.items()):
        _lane(ax, LANES[lane], y, heights[lane], shaded=i % 2 == 0)
        for row, model, flipped in places:
            _landmark(ax, model, y + PAD + (row + 0.5) * LINE, flipped)
        y += heights[lane]
    _years(ax, y)
    _key(ax, y + 0.26)
    return fig


def _x(model_date: str) -> float:
    """A date's place on the timeline, in inches; a year alone stands at its middle."""
    year, month = [*model_date.split("-"), "6"][:2]
    left, right = 1.12, plot.WIDTH - 0.08
    return left + (int(year) + (int(month) - 0.5) / 12 - SPAN[0]) / (SPAN[1] - SPAN[0]) * (right - left)


def _packed(group: list[Model]) -> list[tuple[int, Model, bool]]:
    """A row for each model, and whether its label stands left of its dot, so that no two labels touch."""
    taken: list[list[tuple[float, float]]] = [[] for _ in group]
    places = []
    for model in sorted(group, key=lambda model: model.date):
        row, flipped = next(_free(model, taken))
        taken[row].append(_span(model, flipped))
        places.append((row, model, flipped))
    return places


def _span(model: Model, flipped: bool) -> tuple[float, float]:
    """What a model's dot and label take up of a row, in inches, with some air."""
    x = _x(model.date)
    width = text_width(model.name, 9) + 0.24
    return (x - width, x + 0.1) if flipped else (x - 0.1, x + width)


def _free(model: Model, taken: list[list[tuple[float, float]]]) -> Iterator[tuple[int, bool]]:
    """The rows with room for a model: first those with the label on the right."""
    for row, spans in enumerate(taken):
        for flipped in (False, True):
            start, end = _span(model, flipped)
            if end < plot.WIDTH and all(end < left or start > right for left, right in spans):
                yield row, flipped


def _lane(ax: Axes, name: str, y: float, height: float, shaded: bool) -> None:
    """A lane's band and its name."""
    if shaded:
        ax.add_patch(Rectangle((0, y), plot.WIDTH, height, facecolor=plot.PAPER, zorder=0))
    ax.text(0.08, y + height / 2, name, va="center", fontsize=9, weight="bold", linespacing=1.15)


def _landmark(ax: Axes, model: Model, y: float, flipped: bool) -> None:
    """A model's name and dot: its bucket's colour, hollow where undisclosed, crossed where retired."""
    x = _x(model.date)
    colour = BUCKETS[model.bucket]
    hollow = not model.bucket and model.family != "none"
    ax.plot(x, y, "o", markersize=5.5, markeredgecolor=colour, markeredgewidth=1.3, zorder=3,
            markerfacecolor="white" if hollow else colour)  # fmt: skip
    if model.retired:
        ax.plot(x, y, "x", markersize=8, markeredgecolor=plot.INK, markeredgewidth=1, zorder=3)
    ax.text(x + (-0.09 if flipped else 0.09), y, model.name, fontsize=9, va="center_baseline",
            ha="right" if flipped else "left", zorder=4)  # fmt: skip


def _years(ax: Axes, bottom: float) -> None:
    """A line and a number for each year."""
    for year in range(*SPAN):
        x = _x(f"{year}-01") - (_x("2014-01") - _x("2013-01")) / 24
        ax.plot((x, x), (0.3, bottom), color=plot.RULE, linewidth=0.8, zorder=1)
        ax.text(x + 0.03, 0.2, str(year), fontsize=9, color="#4B5563", va="center")


def _key(ax: Axes, y: float) -> None:
    """What the colours of the dots mean."""
    x = 0.12
    names = {bucket.id: bucket.name for bucket in ATLAS.buckets.values()}
    names[0] = "a part, which generates nothing alone; hollow: undisclosed; crossed: retired"
    for bucket, name in names.items():
        ax.plot(x, y, "o", markersize=5.5, color=BUCKETS[bucket])
        ax.text(x + 0.1, y, name, fontsize=9, va="center_baseline")
        x += text_width(name, 9) + 0.3
        if x > plot.WIDTH - 2.2:
            x, y = 0.12, y + 0.2
