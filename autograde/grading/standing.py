"""Where everybody stands in a lesson: by each submission's own verdict and by what the gradebook holds."""

import datetime as dt
import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from nbgrader.api import Gradebook, MissingEntry

from autograde.course import Course
from autograde.grading import lateness, recorded, staleness, term
from autograde.grading.gradebook import one_line_errors, open_gradebook
from autograde.grading.recorded import Recorded
from autograde.judging.verdict import Result, read_result


class State(StrEnum):
    """What a total is worth; only a final one is exported."""

    FINAL = "final"
    WAITS = "waits for a grader"
    UNGRADED = "not graded"
    CHANGED = "changed since it was graded"
    GONE = "graded, and its folder is gone"
    ABSENT = "nothing handed in"


@dataclass(frozen=True)
class Standing:
    """One student in one lesson.

    automatic, total, maximum: points; None where there is no verdict that can be trusted.
    total: with points given by hand and less the penalty; so far, where it waits for a grader.
    points: by the name of the exercise or the answer; None for an answer that waits.
    received: when it was handed in, as far as known. late: seconds behind the due date or its extension.
    """

    student: str
    state: State
    automatic: float | None = None
    total: float | None = None
    maximum: float | None = None
    penalty: float = 0.0
    points: Mapping[str, float | None] = field(default_factory=dict)
    received: dt.datetime | None = None
    late: float = 0.0

    @property
    def handed_in(self) -> bool:
        """Whether there is anything of theirs."""
        return self.state is not State.ABSENT


def standings(course: Course, lesson: str, failed: Container[str] = ()) -> list[Standing]:
    """Everybody on the roster, in the gradebook or with a submission, by name.

    What just `failed` is not graded, whatever verdict there is of before. Raises CourseError.
    """
    held_against = staleness.ingredients(course, lesson)
    handed_in = {path.parent.name for path in course.grading.glob(f"submitted/*/{lesson}") if path.is_dir()}
    with one_line_errors(course), open_gradebook(course) as gradebook:
        rows, duedate = _rows(gradebook, lesson)
        roster = {student.id for student in gradebook.students}
    decided = term.of_lesson(course, lesson)
    found = []
    for student in sorted(roster | handed_in | set(rows)):
        row = rows.get(student)
        result = read_verdict_of(course, lesson, student)
        if student not in handed_in:
            left = result is not None or feedback_page(course, lesson, student).exists()
            found.append(Standing(student, State.GONE if left else State.ABSENT))
        elif result is None or row is None or student in failed or result.delayed or not agrees(result, row):
            found.append(Standing(student, State.UNGRADED))
        else:
            stale = staleness.is_stale(course, lesson, student, held_against)
            end = lateness.due(decided, student, duedate)
            found.append(_standing(result, row, stale, end))
    return found


def feedback_page(course: Course, lesson: str, student: str) -> Path:
    """The page that a student gets."""
    return course.grading / "feedback" / student / lesson / f"{lesson}.html"


def read_verdict_of(course: Course, lesson: str, student: str) -> Result | None:
    """The result of a submission; None where there is none that can be read."""
    try:
        return read_result(staleness.verdict_path(course, lesson, student).read_bytes())
    except (OSError, ValueError):
        return None


def agrees(result: Result, row: Recorded) -> bool:
    """Whether the gradebook holds the automatic points of a verdict, all of them and no others."""
    automatic = {name.removeprefix("test-"): grade for name, grade in row.grades.items() if _by_tests(name)}
    return automatic.keys() == result.exercises.keys() and all(
        grade.automatic is not None
        and math.isclose(grade.automatic, result.exercises[name].points, abs_tol=1e-9)
        and math.isclose(grade.maximum, result.exercises[name].maximum)
        for name, grade in automatic.items()
    )


def _by_tests(name: str) -> bool:
    return name.startswith("test-")


def _rows(gradebook: Gradebook, lesson: str) -> tuple[dict[str, Recorded], dt.datetime | None]:
    try:
        duedate = gradebook.find_assignment(lesson).duedate
        return {row.student: row for row in recorded.read_all(gradebook, lesson)}, duedate
    except MissingEntry:
        return {}, None


def _standing(result: Result, row: Recorded, stale: bool, end: dt.datetime | None) -> Standing:
    state = State.CHANGED if stale else State.WAITS if row.waits else State.FINAL
    points = {
        name.removeprefix("test-"): None if grade.waits else grade.points
        for name, grade in row.grades.items()
    }
    late = max(0.0, (row.received - end).total_seconds()) if row.received and end else 0.0
    return Standing(
        row.student,
        state,
        automatic=result.points,
        total=row.total,
        maximum=row.maximum,
        penalty=row.penalty,
        points=points,
        received=row.received,
        late=late,
    )
