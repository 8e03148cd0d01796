"""What grading left of one lesson: folders of submissions, verdict files, rows of nbgrader's gradebook."""

import contextlib
import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path

from nbgrader.api import MissingEntry

from autograde.course import Course
from autograde.errors import CourseError
from autograde.grading import recorded, staleness, term
from autograde.grading.gradebook import is_begun, one_line_errors, open_gradebook
from autograde.grading.recorded import Recorded
from autograde.grading.term import LessonTerm
from autograde.judging.verdict import Result, read_result


@dataclass(frozen=True)
class Records:
    """What nbgrader's gradebook holds of a lesson.

    rows: by student. roster: every student whom it knows.
    due: in UTC, without an offset; None without a date.
    """

    rows: dict[str, Recorded] = field(default_factory=dict)
    roster: list[str] = field(default_factory=list)
    due: dt.datetime | None = None


@dataclass(frozen=True)
class Class:
    """Everything about a lesson.

    submitted: the students who handed in, or of whom there is a verdict.
    graded: the results that can be read, by student.
    stale: the students whose verdict is on something else than what is there now.
    unreadable: the reason, for each student with a broken verdict file.
    records: of the gradebook.
    decided: what the instructor decided during the term.
    """

    lesson: str
    submitted: list[str]
    graded: dict[str, Result]
    stale: list[str]
    unreadable: dict[str, str]
    records: Records
    decided: LessonTerm


def read_class(course: Course, lesson: str) -> Class:
    """All that there is. Raises CourseError where the lesson was not released or nobody handed in."""
    if not course.released(lesson).exists():
        raise CourseError(f"{lesson} was not released here: run `autograde release` first.")
    paths = {path.parts[-3]: path for path in course.grading.glob(f"autograded/*/{_verdict_file(lesson)}")}
    handed_in = {path.parent.name for path in course.grading.glob(f"submitted/*/{lesson}") if path.is_dir()}
    if not handed_in | set(paths):
        place = f".grading/submitted/STUDENT/{lesson}/{lesson}.ipynb"
        raise CourseError(f"Nobody handed in {lesson}: submissions go to {place}.")
    graded: dict[str, Result] = {}
    unreadable: dict[str, str] = {}
    for student, path in sorted(paths.items()):
        try:
            graded[student] = _read(path)
        except ValueError as error:
            unreadable[student] = str(error)
    stale = _stale(course, lesson, sorted(handed_in & set(graded)))
    submitted = sorted(handed_in | set(paths))
    records, decided = read_records(course, lesson), term.of_lesson(course, lesson)
    return Class(lesson, submitted, graded, stale, unreadable, records, decided)


def _stale(course: Course, lesson: str, students: list[str]) -> list[str]:
    """Those whose submission, lesson or hidden tests have changed since `autograde grade` graded them."""
    with contextlib.suppress(OSError, CourseError):  # a part is gone: then nobody can say
        held = staleness.ingredients(course, lesson)
        return [student for student in students if staleness.is_stale(course, lesson, student, held)]
    return []


def _verdict_file(lesson: str) -> Path:
    return Path(lesson, f"{lesson}.verdict.json")


def _read(path: Path) -> Result:
    """The result in a verdict file. Raises ValueError with the reason where it cannot be read as one."""
    try:
        return read_result(path.read_bytes())
    except OSError as error:
        raise ValueError(str(error.strerror)) from None


def read_records(course: Course, lesson: str) -> Records:
    """What the gradebook holds; nothing where there is none. Raises CourseError for a damaged one."""
    if not is_begun(course):
        return Records()
    with one_line_errors(course), open_gradebook(course) as gradebook:
        try:
            due = gradebook.find_assignment(lesson).duedate
        except MissingEntry:
            return Records()
        rows = {row.student: row for row in recorded.read_all(gradebook, lesson)}
        return Records(rows, sorted(student.id for student in gradebook.students), due)
