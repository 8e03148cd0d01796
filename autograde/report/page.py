"""The report as one HTML page that holds everything it shows: no script, no address, nothing to load."""

import time
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from autograde import atomic_write
from autograde.errors import UsageError
from autograde.report.figures import figures
from autograde.report.statistics import WEAK, Report, shown
from autograde.report.template import PAGE, STYLE
from autograde.report.terminal import LEGEND, correlation, failed, headline, memory, notes, points, scores
from autograde.report.wording import MEANING, NO_VERDICT, code, compared, share, students, term_facts

FILTERS = (shown, failed, correlation, points, students, share, code)
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(report: Report) -> str:
    """The page's text. Everything but the style and the figures is escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    environment.filters |= {
        each.__name__: each for each in (shown, failed, correlation, points, students, share, code)
    }
    return environment.from_string(PAGE).render(
        r=report,
        policy=POLICY,
        style=STYLE,
        figures=figures(report),
        headline=headline(report),
        date=time.strftime("%Y-%m-%d %H:%M"),
        tiles=_tiles(report),
        notes=notes(report),
        spreads=_spreads(report),
        limit=WEAK,
        legend=LEGEND,
        worst=[row.failing for row in report.exercises if row.failing],
        memory=memory(report),
        term=term_facts(report.deadlines),
        compared=compared(report.similar),
        no_verdict=NO_VERDICT,
        meaning=MEANING,
    )


def _spreads(report: Report) -> dict[str, dict[str, str]]:
    found = {f"automatic, of {report.maximum:g}": scores(report.scores)}
    if report.book:
        found[f"gradebook, of {report.book.maximum:g}"] = scores(report.book.totals)
    return found


def _tiles(report: Report) -> dict[str, str]:
    found = {
        "submitted": str(report.submitted),
        "graded": str(report.graded),
        "not graded": str(report.submitted - report.graded),
        f"median of {report.maximum:g}": f"{report.scores.median:.3g}",
        f"mean of {report.maximum:g}": f"{report.scores.mean:.3g}",
    }
    return found | ({"wait for a grader": str(report.book.waiting)} if report.book else {})


def write_page(report: Report, path: Path) -> Path:
    """Write the page, whole or not at all. Raises UsageError where the path is a folder."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give --html the name of a file.")
    atomic_write.write(path, page(report))
    return path
