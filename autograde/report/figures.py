"""The figures of the report's page, as SVG inside it: words in the page's own colour, no student's name."""

import io
import textwrap
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from autograde.report.statistics import WEAK, Report
from genmap.plot import COLOURS, INK, RULE

WIDTH = 5.4  # inches: a column of the page, and still readable on a telephone
GREYS = ("#9ca3af", "#4b5563")  # axes and numbers in the course's look
PLAIN = dict.fromkeys(("Creator", "Date", "Format", "Type"))  # matplotlib's own description names addresses


def figures(report: Report) -> dict[str, str]:
    """SVG elements by name: scores, exercises, discrimination, and seconds where there are any."""
    found = {
        "scores": _scores(report),
        "exercises": _exercises(report),
        "discrimination": _discrimination(report),
    }
    if report.seconds:
        found["seconds"] = _seconds(report)
    return found


def _scores(report: Report) -> str:
    figure, ax = _axes(3.0, "submissions", f"automatic points of {report.maximum:g}")
    widths = [high - low for low, high in zip(report.edges, report.edges[1:], strict=False)]
    s = report.scores
    ax.axvspan(s.lower, s.upper, color=COLOURS.sky, alpha=0.22, label="middle half")
    ax.bar(report.edges[:-1], report.counts, [0.94 * w for w in widths], align="edge", color=COLOURS.blue)
    ax.axvline(s.median, color=COLOURS.vermilion, label=f"median {s.median:.3g}")
    ax.axvline(s.mean, color=COLOURS.vermilion, linestyle=":", label=f"mean {s.mean:.3g}")
    ax.set_xticks(report.edges, [f"{edge:g}" for edge in report.edges])
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.grid(False, axis="x")
    _legend(figure, 3)
    bins = ", ".join(
        f"{low:g} to {high:g}: {n}"
        for low, high, n in zip(report.edges, report.edges[1:], report.counts, strict=False)
    )
    return _svg(figure, f"Histogram of the automatic points, submissions by bin: {bins}.")


def _exercises(report: Report) -> str:
    figure, ax = _rows(report, "% of the graded")
    full, none = ([100 * getattr(row, kind) for row in report.exercises] for kind in ("full", "none"))
    part = [100 - a - b for a, b in zip(full, none, strict=True)]
    places = range(len(full))
    ax.barh(places, full, 0.62, color=COLOURS.blue, label="all points")
    ax.barh(places, part, 0.62, left=full, color=COLOURS.sky, label="some")
    left = [a + b for a, b in zip(full, part, strict=True)]
    ax.barh(places, none, 0.62, left=left, color=COLOURS.vermilion, label="none")
    ax.set_xlim(0, 100)
    _legend(figure, 3)
    words = "; ".join(f"{row.name}: {row.full:.0%} all, {row.none:.0%} none" for row in report.exercises)
    return _svg(figure, f"Bars of who got all, some and no points of each exercise. {words}.")


def _discrimination(report: Report) -> str:
    figure, ax = _rows(report, "correlation with the rest of the score")
    values = [row.discrimination for row in report.exercises]
    for place, value in enumerate(values):
        if value is None:
            ax.annotate("–", (0, place), (4, 0), textcoords="offset points", va="center")
        else:
            ax.barh(place, value, 0.62, color=COLOURS.vermilion if value < WEAK else COLOURS.green)
    ax.axvline(0, color=GREYS[0], linewidth=0.8)
    ax.axvline(WEAK, color=COLOURS.vermilion, linestyle=":", linewidth=1.6, label=f"poor below {WEAK}")
    ax.set_xlim(min([-0.05, *(value - 0.05 for value in values if value is not None)]), 1)
    _legend(figure, 1)
    words = "; ".join(
        f"{row.name}: {'unknown' if row.discrimination is None else format(row.discrimination, '.2f')}"
        for row in report.exercises
    )
    return _svg(figure, f"Bars of each exercise's discrimination. {words}.")


def _seconds(report: Report) -> str:
    names = list(report.seconds)
    figure, ax = _axes(0.9 + 0.38 * len(names), "", "seconds a submission")
    for place, took in enumerate(report.seconds.values()):
        ax.plot([took.median, took.p95], [place, place], color=COLOURS.grey, linewidth=1.6)
    ax.plot([took.median for took in report.seconds.values()], range(len(names)), "o", label="median")
    ax.plot(
        [took.p95 for took in report.seconds.values()],
        range(len(names)),
        "|",
        label="95th percentile",
        markersize=11,
        markeredgewidth=2.2,
    )
    _name_rows(ax, names)
    ax.set_xlim(left=-0.02 * max(took.p95 for took in report.seconds.values()))
    _legend(figure, 2)
    words = "; ".join(f"{name}: {t.median:.2f} and {t.p95:.2f}" for name, t in report.seconds.items())
    return _svg(figure, f"Seconds of each phase of grading, median and 95th percentile. {words}.")


def _rows(report: Report, xlabel: str) -> tuple[Figure, Axes]:
    """Axes with a row for each exercise, the first on top."""
    names = ["\n".join(textwrap.wrap(row.name, 20)) for row in report.exercises]
    figure, ax = _axes(1.1 + 0.42 * len(names), "", xlabel)
    _name_rows(ax, names)
    return figure, ax


def _axes(height: float, ylabel: str, xlabel: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height))
    ax = figure.subplots()
    ax.set_ylabel(ylabel)
    ax.set_xlabel(xlabel)
    return figure, ax


def _name_rows(ax: Axes, names: list[str]) -> None:
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(False, axis="y")


def _legend(figure: Figure, columns: int) -> None:
    figure.legend(loc="outside upper left", ncols=columns)


def _svg(figure: Figure, description: str) -> str:
    """The figure as an element of a page, described for those who cannot see it."""
    own: Any = {"svg.fonttype": "path", "svg.hashsalt": description}
    written = io.StringIO()
    with matplotlib.rc_context(own):
        figure.savefig(written, format="svg", transparent=True, metadata=PLAIN)
    element = written.getvalue().partition("<svg")[2]
    for grey in (INK, *GREYS):
        element = element.replace(grey.lower(), "currentColor")
    element = element.replace(RULE.lower(), "var(--rule)")
    return f'<svg role="img" aria-label="{escape(description)}"{element}'
