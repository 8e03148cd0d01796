"""What grading left of one lesson: folders of submissions, verdict files, rows of nbgrader's gradebook."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from nbgrader.api import InvalidEntry, MissingEntry, SubmittedAssignment
from sqlalchemy.exc import SQLAlchemyError

from autograde.course import Course
from autograde.errors import CourseError
from autograde.grading import staleness
from autograde.grading.gradebook import open_gradebook
from autograde.judging.verdict import Result, read_result


@dataclass(frozen=True)
class Entry:
    """A row of the gradebook: points with those given by hand, before the penalty for lateness."""

    student: str
    score: float
    maximum: float
    penalty: float
    waits: bool  # for a grader: an answer has no points yet

    @property
    def total(self) -> float:
        """What nbgrader exports as the score."""
        return max(0.0, self.score - self.penalty)


@dataclass(frozen=True)
class Class:
    """Everything about a lesson.

    submitted: the students who handed in, or of whom there is a verdict.
    graded: the results that can be read, by student.
    stale: the students whose verdict is on something else than what is there now.
    unreadable: the reason, for each student with a broken verdict file.
    book: the gradebook's rows, None without a gradebook.
    """

    lesson: str
    submitted: list[str]
    graded: dict[str, Result]
    stale: list[str]
    unreadable: dict[str, str]
    book: list[Entry] | None


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
    stale = _stale(course, lesson, sorted(handed_in & set(paths)))
    return Class(lesson, sorted(handed_in | set(paths)), graded, stale, unreadable, read_book(course, lesson))


def _stale(course: Course, lesson: str, students: list[str]) -> list[str]:
    """Those whose submission, lesson or hidden tests have changed since `autograde grade` graded them."""
    found = []
    with contextlib.suppress(OSError):  # a part is gone: then nobody can say
        held_against = staleness.ingredients(course, lesson)
        for student in students:
            key = staleness.read(staleness.marker(course, student, lesson)).get("key")
            if key and key != _key(held_against, course.grading / "submitted" / student / lesson):
                found.append(student)
    return found


def _key(held_against: bytes, folder: Path) -> str:
    """The key of a folder; none where it cannot be graded any more."""
    try:
        return staleness.key(held_against, folder)
    except (CourseError, OSError):
        return ""


def _verdict_file(lesson: str) -> Path:
    return Path(lesson, f"{lesson}.verdict.json")


def verdict_path(course: Course, student: str, lesson: str) -> Path:
    """Where grading writes a submission's verdict."""
    return course.grading / "autograded" / student / _verdict_file(lesson)


def _read(path: Path) -> Result:
    """The result in a verdict file. Raises ValueError with the reason where it cannot be read as one."""
    try:
        return read_result(path.read_bytes())
    except OSError as error:
        raise ValueError(str(error.strerror)) from None


def read_book(course: Course, lesson: str) -> list[Entry] | None:
    """The gradebook's rows of a lesson; None without a gradebook. Raises CourseError for a damaged one."""
    path = course.grading / "gradebook.db"
    if not path.exists():
        return None
    try:
        with open_gradebook(course) as gradebook:
            return [_entry(row) for row in gradebook.assignment_submissions(lesson)]
    except MissingEntry:
        return None
    except (SQLAlchemyError, InvalidEntry) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise CourseError(f"{path} cannot be read: {reason}.") from None


def _entry(row: SubmittedAssignment) -> Entry:
    penalty = row.late_submission_penalty or 0.0
    return Entry(row.student_id, row.score, row.max_score, penalty, bool(row.needs_manual_grade))
