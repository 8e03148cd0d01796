"""The scores of a lesson as Canvas and Moodle import them, and by student and exercise: a CSV for each."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from autograde import atomic_write
from autograde.course import Course
from autograde.grading.roster import Person, known
from autograde.grading.standing import Standing, State

CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
MOODLE = ("Username", "First name", "Last name", "Email address", "ID number")
STUDENTS = ("student", "name", "state", "total", "maximum", "penalty", "handed in", "hours late")
HOUR = 3600.0  # seconds
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # how formulas begin
NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]\d+)?")
NOBODY = Person("")
People = Mapping[str, Person]


def export(
    course: Course, lesson: str, standings: Sequence[Standing], provisional: bool = False
) -> list[Path]:
    """Write .grading/grades/LESSON.canvas.csv, .moodle.csv and .students.csv; returns their paths.

    The first two have only who has a final score, with `provisional` also who waits for a grader: an LMS
    takes any number for the last word. The third has everybody, with the state and each exercise's points.
    """
    people, folder = known(course), course.grading / "grades"
    folder.mkdir(exist_ok=True)
    good = {State.FINAL, State.WAITS} if provisional else {State.FINAL}
    scored = [one for one in standings if one.state in good]
    tables: dict[str, list[list[object]]] = {
        "canvas": [[*CANVAS, lesson], *_possible(scored), *(_canvas(people, one) for one in scored)],
        "moodle": [[*MOODLE, lesson], *(_moodle(people, one) for one in scored)],
        "students": list(_by_exercise(people, standings)),
    }
    return [_write(folder / f"{lesson}.{name}.csv", rows) for name, rows in tables.items()]


def _write(path: Path, rows: Iterable[Iterable[object]]) -> Path:
    text = io.StringIO()
    csv.writer(text).writerows([_harmless(cell) for cell in row] for row in rows)
    atomic_write.write(path, text.getvalue())
    return path


def _harmless(cell: object) -> object:
    """A cell that no spreadsheet takes for a formula: names of folders may be anything."""
    acts = isinstance(cell, str) and cell.startswith(FORMULAS) and not NUMBER.fullmatch(cell)
    return f"'{cell}" if acts else cell


def _possible(scored: Sequence[Standing]) -> list[list[object]]:
    """The row in which Canvas's own export has the points that there are."""
    row = ["    Points Possible", *[""] * (len(CANVAS) - 1)]
    return [[*row, _number(scored[0].maximum)]] if scored else []


def _canvas(people: People, one: Standing) -> list[object]:
    number = people.get(one.student, NOBODY).lms_user_id
    return [_sorted(people, one), number, "", one.student, "", _number(one.total)]


def _moodle(people: People, one: Standing) -> list[object]:
    who = people.get(one.student, NOBODY)
    return [one.student, who.first_name, who.last_name, who.email, who.lms_user_id, _number(one.total)]


def _by_exercise(people: People, standings: Sequence[Standing]) -> Iterable[list[object]]:
    exercises = list(dict.fromkeys(name for one in standings for name in one.points))
    yield [*STUDENTS, *exercises]
    for one in standings:
        good = one.state in (State.FINAL, State.WAITS)
        total = [_number(value) if good else "" for value in (one.total, one.maximum, one.penalty)]
        when = one.received.isoformat(" ", "minutes") + " UTC" if one.received else ""
        late = f"{one.late / HOUR:.2f}" if one.late else ""
        points = [_number(one.points.get(name)) if good else "" for name in exercises]
        yield [one.student, _sorted(people, one), str(one.state), *total, when, late, *points]


def _sorted(people: People, one: Standing) -> str:
    who = people.get(one.student, NOBODY)
    return ", ".join(part for part in (who.last_name, who.first_name) if part) or one.student


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
