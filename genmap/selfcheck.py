"""A lesson's last cell: which exercises hold, by hidden tests if there are any, else by the public asserts.

Hidden tests are found through the entry point "hidden" of the group "genmap.selfcheck", a callable(lesson,
namespace) that returns rows; so this package knows nothing of the one that holds them.
"""

from __future__ import annotations

import contextlib
import html
import io
import re
import sys
import traceback
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from typing import Any, NamedTuple, TypedDict

TEST_CELL = re.compile(r"# test (\S+): (\d+(?:\.\d+)?) points?\s*(?:\n|$)")
LONGEST = 400  # characters of a message


class Test(TypedDict):
    """One test of an exercise; where it failed the message says what to look at."""

    name: str
    passed: bool
    weight: float
    message: str


class Row(TypedDict):
    """One exercise with its tests."""

    exercise: str
    points: float
    max: float
    tests: list[Test]


class _Report(NamedTuple):
    """What the learner sees: a sentence; of each exercise whether it holds, points and what to look at."""

    head: str
    lines: list[tuple[bool, str, str, str]]


def run(lesson: str) -> None:
    """Show which exercises of this notebook hold: as a table in a notebook, as text in another IPython.

    lesson: its name, such as "01_map". What goes wrong is said in one line, never raised.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None:
        print("The self-check reads a notebook's cells: open the lesson in JupyterLab and run it there.")
        return
    report = _report(lesson, shell.history_manager.input_hist_parsed, shell.user_ns)
    if report.lines:
        from IPython.display import display

        display({"text/html": _html(report), "text/plain": _text(report)}, raw=True)
    else:
        print(report.head)


def _report(lesson: str, inputs: Iterable[str], namespace: dict[str, Any]) -> _Report:
    """Check by the hidden tests, else by the test cells among `inputs`, the cells run so far."""
    rows, why_not = _hidden(lesson, namespace)
    if rows:
        points, most = (sum(row[key] for row in rows) for key in ("points", "max"))
        head = f"Self-check of {lesson}: {points:.4g} of {most:.4g} points by the hidden tests."
        return _Report(head, [_line(row, f"{row['points']:.4g} of {row['max']:.4g}") for row in rows])
    rows = _public(inputs, namespace)
    if not rows:
        return _Report(
            f"{why_not} No test cell has run in this kernel yet: run them, then this cell again.", []
        )
    held = sum(row["points"] == row["max"] for row in rows)
    head = f"Self-check of {lesson}: {held} of {len(rows)} exercises pass their public asserts. {why_not}"
    return _Report(head, [_line(row, f"worth {row['max']:.4g}") for row in rows])


def _line(row: Row, points: str) -> tuple[bool, str, str, str]:
    failed = [test for test in row["tests"] if not test["passed"]]
    return (
        not failed,
        row["exercise"],
        points,
        "\n".join(_clip(test["message"] or test["name"]) for test in failed),
    )


def _hidden(lesson: str, namespace: dict[str, Any]) -> tuple[list[Row], str]:
    """Return the rows of the hidden tests, or none and the reason."""
    found = list(entry_points(group="genmap.selfcheck", name="hidden"))
    if not found:
        return [], "The hidden tests, which give the points, are not installed here."
    try:
        rows = [_checked(row) for row in found[0].load()(lesson, namespace)]
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # theirs or the learner's, whatever it is: the public asserts still help
        return [], f"The hidden tests, which give the points, could not run: {_reason(error)}."
    return rows, f"There are no hidden tests of {lesson} here."


def _checked(row: Mapping[str, Any]) -> Row:
    """Return the row with the types it should have, or raise."""
    tests = [
        Test(
            name=str(t["name"]),
            passed=bool(t["passed"]),
            weight=float(t["weight"]),
            message=str(t["message"]),
        )
        for t in row["tests"]
    ]
    return Row(exercise=str(row["exercise"]), points=float(row["points"]), max=float(row["max"]), tests=tests)


def _public(inputs: Iterable[str], namespace: dict[str, Any]) -> list[Row]:
    """Run the latest version of every test cell among `inputs` again, in a copy of the namespace."""
    cells = {found[1]: (float(found[2]), source) for source in inputs if (found := TEST_CELL.match(source))}
    rows = []
    for name, (points, source) in cells.items():
        message = _failure(source, dict(namespace))
        test = Test(name="public asserts", passed=message is None, weight=1.0, message=message or "")
        rows.append(Row(exercise=name, points=points if message is None else 0.0, max=points, tests=[test]))
    return rows


def _failure(source: str, namespace: dict[str, Any]) -> str | None:
    """Run a test cell; return None if it holds, else what to look at."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(source, "<test>", "exec", dont_inherit=True), namespace)
    except KeyboardInterrupt:
        raise
    except NotImplementedError:
        return "not written yet"
    except BaseException as error:  # learners' code can raise anything
        if isinstance(error, AssertionError) and str(error):
            return str(error)
        at = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<test>"
        ]
        where = source.splitlines()[at[-1] - 1].strip() if at and at[-1] else ""
        return f"{_reason(error)}, in: {where}" if where else _reason(error)
    return None


def _reason(error: BaseException) -> str:
    """Return an error's kind and the first line of its message."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # a learner's __str__
        lines = []
    return ": ".join([type(error).__name__, *lines[:1]]).rstrip(".")


def _clip(message: str) -> str:
    return message if len(message) <= LONGEST else f"{message[:LONGEST]} …"


def _text(report: _Report) -> str:
    wide = max(len(exercise) for _, exercise, _, _ in report.lines)
    lines = [report.head]
    for holds, exercise, points, remark in report.lines:
        start = f"{'✓' if holds else '✗'} {exercise:<{wide}}  {points:>10}  "
        lines.append((start + remark.replace("\n", "\n" + " " * len(start))).rstrip())
    return "\n".join(lines)


def _html(report: _Report) -> str:
    """Return the report as HTML that reads on light and dark pages; whatever came from outside is escaped."""
    cell = (
        '<td style="text-align:left;vertical-align:top;white-space:pre-wrap;padding:4px 12px 4px 0">{}</td>'
    )
    marks = {True: '<b style="color:#0B9E73">✓</b>', False: '<b style="color:#D55E00">✗</b>'}
    body = "".join(
        "<tr>"
        + cell.format(marks[holds])
        + "".join(cell.format(html.escape(text)) for text in rest)
        + "</tr>"
        for holds, *rest in report.lines
    )
    titles = "".join(
        f'<th style="text-align:left;padding:4px 12px 4px 0">{title}</th>'
        for title in ("", "exercise", "points", "what to look at")
    )
    return f"<p><b>{html.escape(report.head)}</b></p><table><tr>{titles}</tr>{body}</table>"
