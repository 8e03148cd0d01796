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

from genmap.progress import Place

TEST_CELL = re.compile(r"# test (\S+): (\d+(?:\.\d+)?) points?\s*(?:\n|$)")
UNWRITTEN = "not written yet"
MESSAGE_CHARACTERS = 400  # of a message, at most
MARKS = {True: '<b style="color:#0B9E73">✓</b>', False: '<b style="color:#D55E00">✗</b>'}


class Test(TypedDict):
    """One test of an exercise.

    name: the test's name.
    passed: whether it passed.
    weight: what it counts among the exercise's tests.
    sentence: what holds where it passes.
    message: where it failed, what to look at: the sentence, if there is one, and perhaps a reason.
    """

    name: str
    passed: bool
    weight: float
    sentence: str
    message: str


class Row(TypedDict):
    """One exercise with its tests.

    exercise: the exercise's name.
    points: those that it got.
    max: those that it can get.
    tests: its tests.
    """

    exercise: str
    points: float
    max: float
    tests: list[Test]


class _Line(NamedTuple):
    """One exercise as the learner sees it; what to look at are reasons, each with what fails for it."""

    holds: bool
    exercise: str
    points: str
    remarks: dict[str, list[str]]


class _Report(NamedTuple):
    """What the learner sees: a sentence, and a line for each exercise."""

    head: str
    lines: list[_Line]


def run(lesson: str) -> None:
    """Show which exercises of this notebook hold: as a table in a notebook, as text in another IPython.

    lesson: its name, such as "01_map".

    What goes wrong is said in one line, never raised.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None:
        print("The self-check reads a notebook's cells: open the lesson in JupyterLab and run it there.")
        return
    place = Place()
    wait = "the tests are running. An answer that never ends makes this take a minute or more."
    _show(place, _Report(f"Self-check of {lesson}: {wait}", []))
    try:
        report = _report(lesson, shell.history_manager.input_hist_parsed, shell.user_ns)
    except KeyboardInterrupt:
        _show(place, _Report(f"Self-check of {lesson}: stopped.", []))
        raise
    _show(place, report)


def _show(place: Place, report: _Report) -> None:
    place.show({"text/html": _html(report), "text/plain": _text(report)}, raw=True)


def _report(lesson: str, inputs: Iterable[str], namespace: dict[str, Any]) -> _Report:
    """Check by the hidden tests, else by the test cells among `inputs`, the cells run so far."""
    rows, why_not = _hidden(lesson, namespace)
    if rows:
        points, most = (sum(row[key] for row in rows) for key in ("points", "max"))
        head = f"Self-check of {lesson}: {_number(points)} of {_number(most)} points by the hidden tests."
        return _Report(head, [_line(r, f"{_number(r['points'])} of {_number(r['max'])}") for r in rows])
    rows = _public(inputs, namespace)
    if not rows:
        return _Report(
            f"{why_not} No test cell has run in this kernel yet: run them, then this cell again.", []
        )
    held = sum(row["points"] == row["max"] for row in rows)
    score = f"of the exercises whose tests have run, {held} of {len(rows)} pass their public asserts."
    lines = [_line(row, f"worth {_number(row['max'])}") for row in rows]
    return _Report(f"Self-check of {lesson}: {score} {why_not}", lines)


def _line(row: Row, points: str) -> _Line:
    """Say each reason once; where it is the only one and no test passed, without what fails for it."""
    failed = [test for test in row["tests"] if not test["passed"]]
    remarks: dict[str, list[str]] = {}
    for test in sorted(failed, key=_why):  # those without a reason first, not under another's
        reason = _why(test)
        remark = test["sentence"] if reason else test["message"] or test["name"]
        remarks.setdefault(_clip(reason), []).append(_clip(remark))
    if len(failed) == len(row["tests"]) and len(remarks) == 1 and "" not in remarks:
        remarks = {reason: [] for reason in remarks}
    return _Line(not failed, row["exercise"], points, remarks)


def _why(test: Test) -> str:
    """Return what the message of a failed test adds to its sentence."""
    if not test["sentence"] or not test["message"].startswith(test["sentence"]):
        return ""
    reason = test["message"].removeprefix(test["sentence"]).strip()
    return UNWRITTEN if "NotImplementedError" in reason else reason


def _number(points: float) -> str:
    return f"{round(points, 2):g}"


def _hidden(lesson: str, namespace: dict[str, Any]) -> tuple[list[Row], str]:
    """Return the rows of the hidden tests, or none and the reason."""
    found = list(entry_points(group="genmap.selfcheck", name="hidden"))
    if not found:
        return [], "The hidden tests, which give the points, are not installed here."
    try:
        rows = [_checked(row) for row in found[0].load()(lesson, namespace)]
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # tests and answers can raise anything; the public asserts still help
        return [], f"The hidden tests, which give the points, could not run: {_reason(error)}."
    return rows, f"There are no hidden tests of {lesson} here."


def _checked(row: Mapping[str, Any]) -> Row:
    """Return the row with the types it should have, or raise."""
    tests = [
        Test(
            name=str(t["name"]),
            passed=bool(t["passed"]),
            weight=float(t["weight"]),
            sentence=str(t.get("sentence", "")),
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
        passed = message is None
        test = Test(name="public asserts", passed=passed, weight=1.0, sentence="", message=message or "")
        rows.append(Row(exercise=name, points=points if passed else 0.0, max=points, tests=[test]))
    return rows


def _failure(source: str, namespace: dict[str, Any]) -> str | None:
    """Run a test cell; return None if it holds, else what to look at."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(source, "<test>", "exec", dont_inherit=True), namespace)
    except KeyboardInterrupt:
        raise
    except NotImplementedError:
        return UNWRITTEN
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
    return message if len(message) <= MESSAGE_CHARACTERS else f"{message[:MESSAGE_CHARACTERS]} …"


def _text(report: _Report) -> str:
    wide = max((len(line.exercise) for line in report.lines), default=0)
    lines = [report.head]
    for holds, exercise, points, remarks in report.lines:
        start = f"{'✓' if holds else '✗'} {exercise:<{wide}}  {points:>10}  "
        lines.append((start + _text_remarks(remarks).replace("\n", "\n" + " " * len(start))).rstrip())
    return "\n".join(lines)


def _text_remarks(remarks: dict[str, list[str]]) -> str:
    if _alone(remarks):
        return remarks[""][0]
    lines = []
    for reason, what in remarks.items():
        lines += [reason] * bool(reason) + [f"- {remark}" for remark in what]
    return "\n".join(lines)


def _html(report: _Report) -> str:
    """Return the report as HTML that reads on light and dark pages; whatever came from outside is escaped."""
    head = f"<p><b>{html.escape(report.head)}</b></p>"
    if not report.lines:
        return head
    style = "text-align:left;vertical-align:top;padding:4px 12px 4px 0"
    titles = "".join(
        f'<th style="{style}">{title}</th>' for title in ("", "exercise", "points", "what to look at")
    )
    body = ""
    for holds, exercise, points, remarks in report.lines:
        short = [MARKS[holds], html.escape(exercise), html.escape(points)]
        cells = "".join(f'<td style="{style};white-space:nowrap">{text}</td>' for text in short)
        body += f'<tr>{cells}<td style="{style};white-space:pre-wrap">{_html_remarks(remarks)}</td></tr>'
    return f"{head}<table><tr>{titles}</tr>{body}</table>"


def _html_remarks(remarks: dict[str, list[str]]) -> str:
    if _alone(remarks):
        return html.escape(remarks[""][0])
    page = ""
    for reason, what in remarks.items():
        items = "".join(f"<li>{html.escape(remark)}</li>" for remark in what)
        bullets = f'<ul style="margin:0;padding-left:1.2em">{items}</ul>' if items else ""
        page += html.escape(reason) + bullets
    return page


def _alone(remarks: dict[str, list[str]]) -> bool:
    """Whether there is one remark and no reason: no list then."""
    return list(remarks) == [""] and len(remarks[""]) == 1
