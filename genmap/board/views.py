"""The board as one table and as one plot: quality against the seconds that a sample takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """Rows as a table: HTML in a notebook, aligned text elsewhere.

    rows: what to show, in this order.
    targets: what figures must reach; a figure's is shown beside it.
    """

    def __init__(self, rows: Sequence[Row], targets: Sequence[Target]) -> None:
        asked: Targets = {(target.key, target.metric): target for target in targets}
        metrics = [name for name in METRICS if any(name in row.figures for row in rows)]
        labels = [METRICS[name].label for name in metrics]
        costs = ["parameters", "training, s", "1,000 samples, s", "measured"]
        self.header = ["lesson", "model", "data", *labels, *costs]
        self.lines = [_line(row, metrics, asked) for row in rows]
        self._here = [row.here for row in rows]

    def __str__(self) -> str:
        lines = [self.header, *self.lines]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What a notebook shows: this session's rows in bold."""
        head = "".join(f"<th>{escape(name)}</th>" for name in self.header)
        body = ""
        for line, here in zip(self.lines, self._here, strict=True):
            style = ' style="font-weight: bold"' if here else ""
            body += f"<tr{style}>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>"
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _line(row: Row, metrics: Sequence[str], asked: Targets) -> list[str]:
    figures = [_figure(row, metric, asked.get((row.key, metric))) for metric in metrics]
    thousand = None if row.sample_seconds is None else 1_000 * row.sample_seconds
    parameters = "–" if row.parameters is None else f"{row.parameters:,}"
    costs = [parameters, _short(row.train_seconds), _short(thousand), f"{row.setting}, {row.machine}"]
    return [row.lesson, row.model, row.data, *figures, *costs]


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
