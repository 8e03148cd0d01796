"""The board as tables and as one plot: quality against the seconds that a sample takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.transforms import Bbox

from genmap import plot
from genmap.board.entries import METRICS, Row, Target

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[Row, float, float]  # a row, its seconds per sample, and its figure
Targets = Mapping[tuple[tuple[str, str, str], str], Target]  # by the row's key and the metric


class Table:
    """Rows as tables, one for each data set: HTML in a notebook, aligned text elsewhere.

    A figure that half of a data set's rows have is a column, and says what it measures when pointed at; the
    others stand together in the last one.

    rows: what to show, in this order.
    targets: what figures must reach; a figure's is shown beside it.
    """

    def __init__(self, rows: Sequence[Row], targets: Sequence[Target]) -> None:
        asked: Targets = {(target.key, target.metric): target for target in targets}
        sets = dict.fromkeys(row.data for row in rows)
        self.parts = [_part(data, [row for row in rows if row.data == data], asked) for data in sets]

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.parts))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What a notebook shows: this session's rows in bold."""
        return "".join(part.html() for part in self.parts)


@dataclass(frozen=True)
class _Part:
    """The table of one data set. titles: of each column, what it measures, or ""."""

    data: str
    header: list[str]
    titles: list[str]
    lines: list[list[str]]
    here: list[bool]
    measured: str

    def __str__(self) -> str:
        lines = [self.header, *self.lines]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]
        shown = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        return "\n".join([f"{self.data} ({self.measured})", *shown])

    def html(self) -> str:
        head = "".join(map(_head, self.header, self.titles))
        body = ""
        for line, here in zip(self.lines, self.here, strict=True):
            style = ' style="font-weight: bold"' if here else ""
            body += f"<tr{style}>" + "".join(map(_cell, line)) + "</tr>"
        caption = f"<caption><b>{escape(self.data)}</b> ({escape(self.measured)})</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _head(name: str, title: str) -> str:
    if not title:
        return f"<th>{escape(name)}</th>"
    dotted = "text-decoration: underline dotted; cursor: help"
    return f'<th><span title="{escape(title)}" style="{dotted}">{escape(name)}</span></th>'


def _cell(text: str) -> str:
    whole = re.sub("([≥≤]) ", "\\1\N{NO-BREAK SPACE}", escape(text))  # a target is not broken in two
    return f"<td>{whole}</td>"


def _part(data: str, rows: Sequence[Row], asked: Targets) -> _Part:
    had = {name: sum(name in row.figures for row in rows) for name in METRICS}
    columns = [name for name in METRICS if 2 * had[name] >= len(rows)]
    others = [name for name in METRICS if had[name] and name not in columns]
    costs = {label: cost for label, cost in COSTS.items() if any(cost(row) is not None for row in rows)}
    header = ["lesson", "model", *(METRICS[name].label for name in columns), *costs, *["also"] * bool(others)]
    titles = ["", "", *(METRICS[name].meaning for name in columns), *[""] * (len(header) - len(columns) - 2)]
    lines = [_line(row, columns, others, costs, asked) for row in rows]
    return _Part(data, header, titles, lines, [row.here for row in rows], _measured(rows))


def _measured(rows: Sequence[Row]) -> str:
    """At which settings and on which machines; this session's apart, where there are others."""
    before, now = (
        " or ".join(sorted({f"{row.setting}, {row.machine}" for row in rows if row.here is here}))
        for here in (False, True)
    )
    return f"{before}; bold: {now}" if before and now else before or now


COSTS: Mapping[str, Callable[[Row], str | None]] = {
    "parameters": lambda row: None if row.parameters is None else f"{row.parameters:,}",
    "training, s": lambda row: None if row.train_seconds is None else _short(row.train_seconds),
    "1,000 samples, s": (
        lambda row: None if row.sample_seconds is None else _short(1_000 * row.sample_seconds)
    ),
}


def _line(
    row: Row,
    columns: Sequence[str],
    others: Sequence[str],
    costs: Mapping[str, Callable[[Row], str | None]],
    asked: Targets,
) -> list[str]:
    shown = {name: _figure(row, name, asked.get((row.key, name))) for name in (*columns, *others)}
    also = "; ".join(f"{METRICS[name].label} {shown[name]}" for name in others if name in row.figures)
    figures = [shown[name] for name in columns]
    own = [cost(row) or "–" for cost in costs.values()]
    return [row.lesson, row.model, *figures, *own, *[also] * bool(others)]


def _figure(row: Row, metric: str, target: Target | None) -> str:
    """Return a figure, with its target where there is one."""
    value = row.figures.get(metric)
    if value is None or target is None:
        return _short(value)
    return f"{_short(value)} ({'' if target.held(value) else 'not '}{target})"


def _short(value: float | None) -> str:
    """Return three significant digits, and no exponent where a figure can do without."""
    if value is None:
        return "–"
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.1e}"
    digits = f"{value:.3g}"
    return f"{float(digits):.0f}" if "e" in digits else digits


def draw(rows: Sequence[Row], targets: Sequence[Target]) -> Figure:
    """Draw quality against seconds per sample: a panel for each data set.

    Its metric is the one that most of the rows have; the others, and those without a time, are left out. A
    target is a dash at its height.

    rows: the models.
    targets: what figures must reach.

    Raises ValueError where no row is left.
    """
    panels = _panels(rows)
    if not panels:
        raise ValueError("board: no row has both a figure and seconds per sample; record one first")
    figure, axes = plot.figure(len(panels), 1, height=3.6)
    axes = np.atleast_1d(axes)
    for ax, (data, metric, points) in zip(axes, panels, strict=True):
        _panel(ax, points, [target for target in targets if target.metric == metric])
        better = "higher is better" if METRICS[metric].higher else "lower is better"
        ax.set(title=data, xlabel="seconds per sample", ylabel=f"{METRICS[metric].label}\n({better})")
    figure.draw_without_rendering()  # now the layout is final, and places can be found in pixels
    for ax, (_, _, points) in zip(axes, panels, strict=True):
        _name_points(ax, points)
    return figure


def _panels(rows: Sequence[Row]) -> list[tuple[str, str, list[Point]]]:
    """Return each data set, the metric that most of its timed rows have, and these rows as points."""
    panels = []
    for data in dict.fromkeys(row.data for row in rows):
        points = {metric: _points(rows, data, metric) for metric in METRICS}
        metric = max(points, key=lambda name: len(points[name]))
        if points[metric]:
            panels.append((data, metric, points[metric]))
    return panels


def _points(rows: Sequence[Row], data: str, metric: str) -> list[Point]:
    own = [row for row in rows if row.data == data and metric in row.figures]
    return [(row, row.sample_seconds, row.figures[metric]) for row in own if row.sample_seconds]


def _panel(ax: Axes, points: Sequence[Point], targets: Sequence[Target]) -> None:
    """Draw the rows of one data set, and their targets."""
    ax.set_xscale("log")
    ax.margins(0.18, 0.14)  # room for names
    for row, x, y in points:
        colour = plot.COLOURS.vermilion if row.here else plot.COLOURS.blue
        ax.plot(x, y, "o", color=colour, ms=7, zorder=3)
        for target in targets:
            if target.key == row.key:
                ax.plot(x, target.limit, "_", color=colour, ms=16, mew=1.6)


def _name_points(ax: Axes, points: Sequence[Point]) -> None:
    """Write each model's name beside its point, where it covers no point and no other name."""
    at = [ax.transData.transform(place) for _, *place in points]
    taken = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in at]
    for (x, y), (row, seconds, figure) in zip(at, points, strict=True):
        trial = ax.annotate(row.model, (seconds, figure), fontsize=9)
        width, height = trial.get_window_extent().size
        trial.remove()
        dx, dy = _free_place(ax.bbox, taken, x, y, width, height)
        taken.append(Bbox.from_bounds(x + dx, y + dy - height / 2, width, height))
        line = {"arrowstyle": "-", "color": plot.COLOURS.grey, "lw": 0.7, "relpos": (float(dx < 0), 0.5)}
        ax.annotate(
            row.model,
            (seconds, figure),
            (dx * 72 / ax.figure.dpi, dy * 72 / ax.figure.dpi),
            textcoords="offset points",
            va="center",
            fontsize=9,
            arrowprops=line if abs(dy) > height / 2 else None,
        )


def _free_place(
    inside: Bbox, taken: Sequence[Bbox], x: float, y: float, width: float, height: float
) -> tuple[float, float]:
    """Return how far from (x, y) the left middle of a name goes, in pixels: the nearest free place."""
    rises = sorted((sign * step * height / 2 for step in range(24) for sign in (1, -1)), key=abs)
    for dy in rises:
        for dx in (9.0, -9.0 - width):
            box = Bbox.from_bounds(x + dx, y + dy - height / 2, width, height)
            free = not any(box.overlaps(other) for other in taken)
            if free and inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1):
                return dx, dy
    return 9.0, 0.0  # there is no free place: then the name covers a neighbour
