"""The report on a terminal: rich tables for 100 columns, and the sentences that the page has, too."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from autograde.report.similarity import Match
from autograde.report.statistics import FEWEST, WEAK, Exercise, Failing, Report, Spread, shown
from autograde.report.wording import (
    MEANING,
    NO_VERDICT,
    compared,
    listed,
    share,
    students,
    term_facts,
)

BAR = 40  # columns of the longest bar
MATCHES = 5  # of answers that are alike
LEGEND = (
    "Difficulty: the mean share of an exercise's points, so a low one is hard. Discrimination: the "
    f"correlation of that share with the share of all other points; below {WEAK} the exercise hardly tells "
    f"strong from weak; – where it cannot be known (fewer than {FEWEST} graded, or everybody got the same). "
    "Blank: who left the cell as it was; what fails is counted without them. None and full: who got no "
    "points, and all."
)


def tables(report: Report) -> Iterator[RenderableType]:
    """Everything to print, in order. Texts are rich's Text: a `[` in them is no markup."""
    yield _title(f"{report.lesson}: {headline(report)}")
    for note in notes(report):
        yield Text(note)
    yield from _term(report)
    yield _title("\nAutomatic score")
    yield _scores(report)
    line = ", ".join(f"{name} {value}" for name, value in scores(report.scores).items())
    yield Text(f"Of {report.maximum:g} points: {line}.")
    yield _title("\nExercises")
    yield _exercises(report)
    yield Text(LEGEND, style="dim")
    most = [row.failing for row in report.exercises if row.failing]
    if most:
        yield _title("\nFailed most, in the lesson")
        yield _failing(report.failing)
        yield _title("\nFailed most, by exercise")
        yield _failing(most)
    yield from _similar(report)
    yield _title("\nTime and memory")
    yield from _costs(report)


def _title(text: str) -> Text:
    return Text(text, style="bold")


def headline(report: Report) -> str:
    """How many handed in, are graded, are not."""
    missing = len(report.without_verdict)
    line = f"{report.submitted} submitted, {report.graded} graded, {missing} without a verdict"
    return line + (f", {len(report.unreadable)} with an unreadable one" if report.unreadable else "")


def notes(report: Report) -> list[str]:
    """Sentences on what the numbers leave out, and on the gradebook."""
    found = []
    if report.without_verdict:
        found.append(f"Submitted, not graded: {listed(report.without_verdict)}.")
    if report.stale:
        found.append(
            f"Graded before the submission, the lesson or its hidden tests changed: {listed(report.stale)}. "
            f"Run `autograde grade {report.lesson}`."
        )
    if report.unreadable:
        found.append(f"Left out, for their verdict cannot be read: {listed(list(report.unreadable))}.")
    if report.versions > 1:
        found.append(
            f"The verdicts are on {report.versions} versions of the lesson, with other exercises or points: "
            "grade the older ones again."
        )
    return [*found, *_book(report)]


def _book(report: Report) -> Iterator[str]:
    if book := report.book:
        cost = f" ({book.penalties:.4g} points in all)" if book.penalised else ""
        yield (
            f"Gradebook, with points given by hand and less penalties: median {book.totals.median:.4g}, mean "
            f"{book.totals.mean:.4g} of {book.maximum:g}; {book.waiting} waiting for a grader; "
            f"{book.penalised} penalised for lateness{cost}."
        )


def broken(unreadable: dict[str, str]) -> list[str]:
    """A line for each verdict file that cannot be read."""
    return [f"{shown(path)}: {reason}: grade this submission again." for path, reason in unreadable.items()]


def correlation(value: float | None) -> str:
    """A correlation with its sign, or a dash."""
    return "–" if value is None else f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def points(row: Exercise) -> str:
    """The mean of an exercise's points, and the most there is."""
    return f"{row.mean:.2f} / {row.maximum:g}"


def failed(row: Failing) -> str:
    """How many failed a property."""
    return f"{row.failed} of {row.of}, {row.share:.0%}"


def scores(spread: Spread) -> dict[str, str]:
    """How scores lie, by name, to the hundredth of a point."""
    found = {
        "least": spread.least,
        "lower quartile": spread.lower,
        "median": spread.median,
        "upper quartile": spread.upper,
        "most": spread.most,
        "mean": spread.mean,
        "standard deviation": spread.deviation,
    }
    return {name: "–" if value is None else f"{round(value, 2):g}" for name, value in found.items()}


def memory(report: Report) -> str:
    """Peak memory in one line."""
    if not (used := report.memory):
        return "Memory: not measured."
    of = "" if used.n == report.graded else f" (measured for {used.n} of {report.graded})"
    return (
        f"Peak memory: median {used.median / 1e6:,.0f} MB, most {used.most / 1e6:,.0f} MB, by "
        f"{shown(used.student)}{of}."
    )


def bins(report: Report) -> list[tuple[str, int]]:
    """The histogram: points from one edge to, but without, the next (the last bin has both), and how many."""
    edges = zip(report.edges, report.edges[1:], strict=False)
    return [(f"{low:g}–{high:g}", n) for (low, high), n in zip(edges, report.counts, strict=True)]


def _term(report: Report) -> Iterator[RenderableType]:
    if facts := term_facts(report.deadlines):
        yield _title("\nTerm")
    for name, items in facts.items():
        yield Text(f"{name}: {listed(items)}.")


def _similar(report: Report) -> Iterator[RenderableType]:
    if not (line := compared(report.similar)):
        return
    yield _title("\nAnswers that are alike")
    yield Text(line)
    if report.similar.matches:
        yield _matches(report.similar.matches[:MATCHES])
        yield Text(NO_VERDICT)
        yield Text(MEANING, style="dim")


def _matches(rows: list[Match]) -> Table:
    table = Table("students", "exercise")
    for name in ("share", "tokens"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(Text(students(row)), row.exercise, share(row), str(row.tokens))
    return table


def _scores(report: Report) -> Table:
    table = Table(box=None)
    for name in ("points", "n"):
        table.add_column(name, justify="right")
    table.add_column("")
    for label, n in bins(report):
        table.add_row(label, str(n), Text("█" * round(BAR * n / max(report.counts)) or "▏" * bool(n)))
    return table


def _exercises(report: Report) -> Table:
    table = Table("exercise")
    for name in ("points", "difficulty", "discrimination", "blank", "none", "full"):
        table.add_column(name, justify="right")
    for row in report.exercises:
        shares = (f"{share:.0%}" for share in (row.blank, row.none, row.full))
        table.add_row(
            row.name, points(row), f"{row.difficulty:.2f}", correlation(row.discrimination), *shares
        )
    return table


def _failing(rows: list[Failing]) -> Table:
    table = Table("exercise", "property")
    table.add_column("failed", justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row.exercise, Text(shown(row.sentence)), failed(row))
    return table


def _costs(report: Report) -> Iterator[RenderableType]:
    if report.seconds:
        table = Table("seconds")
        for name in ("median", "95th percentile"):
            table.add_column(name, justify="right")
        for phase, took in report.seconds.items():
            table.add_row(phase, f"{took.median:.2f}", f"{took.p95:.2f}")
        yield table
        yield Text(f"Slowest: {', '.join(f'{shown(who)} {s:.1f} s' for who, s in report.slowest.items())}.")
    yield Text(memory(report))
