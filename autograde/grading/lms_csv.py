"""The scores of a lesson as Canvas and Moodle import them, and by student and exercise: a CSV for each."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from autograde import atomic_write
from autograde.course import Course
from autograde.grading.gradebook import one_line_errors, open_gradebook
from autograde.grading.standing import Standing, State

CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
MOODLE = ("Username", "First name", "Last name", "Email address", "ID number")
STUDENTS = ("student", "name", "state", "total", "maximum", "penalty", "handed in", "hours late")
HOUR = 3600.0  # seconds
Names = dict[str, dict[str, str]]  # what the roster says of a student, by id


def export(
    course: Course, lesson: str, standings: Sequence[Standing], provisional: bool = False
) -> list[Path]:
    """Write .grading/grades/LESSON.canvas.csv, .moodle.csv and .students.csv; returns their paths.

    The first two have only who has a final score, with `provisional` also who waits for a grader: an LMS
    takes any number for the last word. The third has everybody, with the state and each exercise's points.
    """
    names, folder = _names(course), course.grading / "grades"
    folder.mkdir(exist_ok=True)
    good = {State.FINAL, State.WAITS} if provisional else {State.FINAL}
    scored = [one for one in standings if one.state in good]
    tables: dict[str, list[list[object]]] = {
        "canvas": [[*CANVAS, lesson], *_possible(scored), *(_canvas(names, one) for one in scored)],
        "moodle": [[*MOODLE, lesson], *(_moodle(names, one) for one in scored)],
        "students": list(_by_exercise(names, standings)),
    }
    return [_write(folder / f"{lesson}.{name}.csv", rows) for name, rows in tables.items()]


def _write(path: Path, rows: Iterable[Iterable[object]]) -> Path:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    atomic_write.write(path, text.getvalue())
    return path


def _possible(scored: Sequence[Standing]) -> list[list[object]]:
    """The row in which Canvas's own export has the points that there are."""
    row = ["    Points Possible", *[""] * (len(CANVAS) - 1)]
    return [[*row, _number(scored[0].maximum)]] if scored else []


def _canvas(names: Names, one: Standing) -> list[object]:
    who = names.get(one.student, {})
    return [_sorted(names, one), who.get("lms_user_id", ""), "", one.student, "", _number(one.total)]


def _moodle(names: Names, one: Standing) -> list[object]:
    who = names.get(one.student, {})
    known = [who.get(key, "") for key in ("first_name", "last_name", "email", "lms_user_id")]
    return [one.student, *known, _number(one.total)]


def _by_exercise(names: Names, standings: Sequence[Standing]) -> Iterable[list[object]]:
    exercises = list(dict.fromkeys(name for one in standings for name in one.points))
    yield [*STUDENTS, *exercises]
    for one in standings:
        known = one.state in (State.FINAL, State.WAITS)
        total = [_number(value) if known else "" for value in (one.total, one.maximum, one.penalty)]
        when = one.received.isoformat(" ", "minutes") + " UTC" if one.received else ""
        late = f"{one.late / HOUR:.2f}" if one.late else ""
        points = [_number(one.points.get(name)) if known else "" for name in exercises]
        yield [one.student, _sorted(names, one), str(one.state), *total, when, late, *points]


def _sorted(names: Names, one: Standing) -> str:
    who = names.get(one.student, {})
    parts = (who.get("last_name", ""), who.get("first_name", ""))
    return ", ".join(part for part in parts if part) or one.student


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"


def _names(course: Course) -> Names:
    keys = ("first_name", "last_name", "email", "lms_user_id")
    with one_line_errors(course), open_gradebook(course) as gradebook:
        return {row.id: {key: getattr(row, key) or "" for key in keys} for row in gradebook.students}
