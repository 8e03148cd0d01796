"""What grading left of one lesson: folders of submissions, verdict files, rows of nbgrader's gradebook."""

import contextlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbgrader.api import InvalidEntry, MissingEntry, SubmittedAssignment
from sqlalchemy.exc import SQLAlchemyError

from autograde import fresh
from autograde.course import Course
from autograde.errors import CourseError
from autograde.gradebook import open_gradebook
from autograde.student import UNANSWERED

SLUG = re.compile(r"[\w-]+")  # names of exercises, tests and phases: ours, never a learner's


@dataclass(frozen=True)
class Property:
    """One hidden test of one submission: did the property that its sentence names hold, was it answered?"""

    name: str
    sentence: str
    passed: bool
    answered: bool


@dataclass(frozen=True)
class Mark:
    """One exercise of one submission."""

    points: float
    maximum: float
    tests: list[Property]

    @property
    def share(self) -> float:
        """Points as a share of the maximum, 0 to 1."""
        return self.points / self.maximum

    @property
    def answered(self) -> bool:
        """Whether the learner wrote anything: a cell left as it was released answers no test."""
        return any(test.answered for test in self.tests)


@dataclass(frozen=True)
class Graded:
    """A verdict: marks by exercise, seconds by phase, bytes of peak memory where they were measured."""

    student: str
    marks: dict[str, Mark]
    seconds: dict[str, float]
    memory: int | None

    @property
    def points(self) -> float:
        """Automatic points in all."""
        return math.fsum(mark.points for mark in self.marks.values())

    @property
    def maximum(self) -> float:
        """The most that there was to get."""
        return math.fsum(mark.maximum for mark in self.marks.values())


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
    """Everything about a lesson. `unreadable` has a reason for each student with a broken verdict file.

    stale: of whom the verdict is on something else than what is there now.
    """

    lesson: str
    submitted: list[str]
    graded: list[Graded]
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
    graded, unreadable = [], {}
    for student, path in sorted(paths.items()):
        try:
            graded.append(read_verdict(path))
        except ValueError as error:
            unreadable[student] = str(error)
    stale = _stale(course, lesson, sorted(handed_in & set(paths)))
    return Class(lesson, sorted(handed_in | set(paths)), graded, stale, unreadable, read_book(course, lesson))


def _stale(course: Course, lesson: str, students: list[str]) -> list[str]:
    """Those whose submission, lesson or hidden tests have changed since `autograde grade` graded them."""
    found = []
    with contextlib.suppress(OSError):  # a part is gone: then nobody can say
        held_against = fresh.ingredients(course, lesson)
        for student in students:
            key = fresh.read(fresh.marker(course, student, lesson)).get("key")
            if key and key != _key(held_against, course.grading / "submitted" / student / lesson):
                found.append(student)
    return found


def _key(held_against: bytes, folder: Path) -> str:
    """The key of a folder; none where it cannot be graded any more."""
    try:
        return fresh.key(held_against, folder)
    except (CourseError, OSError):
        return ""


def _verdict_file(lesson: str) -> Path:
    return Path(lesson, f"{lesson}.verdict.json")


def verdict_path(course: Course, student: str, lesson: str) -> Path:
    """Where grading writes a submission's verdict."""
    return course.grading / "autograded" / student / _verdict_file(lesson)


def read_verdict(path: Path) -> Graded:
    """The verdict in a file. Raises ValueError with the reason where it cannot be read as one."""
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(str(error.strerror)) from None
    except (ValueError, RecursionError):
        raise ValueError("no JSON, perhaps half-written") from None
    try:
        marks = {_slug(name): _mark(row) for name, row in found["exercises"].items()}
        seconds = {_slug(name): _number(value) for name, value in found.get("seconds", {}).items()}
        memory = found.get("memory")
        if not marks:
            raise ValueError
        return Graded(path.parts[-3], marks, seconds, None if memory is None else int(_number(memory)))
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError):
        raise ValueError("no verdict, though it is JSON") from None


def _mark(row: Any) -> Mark:
    maximum, points = _number(row["max"]), _number(row["points"])
    tests = [_property(test) for test in row["tests"]]
    if not 0 <= points <= maximum or not maximum or not all(type(test.passed) is bool for test in tests):
        raise ValueError
    return Mark(points, maximum, tests)


def _property(test: dict[str, Any]) -> Property:
    answered = not str(test["message"]).endswith(UNANSWERED)
    return Property(_slug(test["name"]), str(test["sentence"]), test["passed"], answered)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError
    return float(value)


def _slug(name: str) -> str:
    if not SLUG.fullmatch(name):
        raise ValueError
    return name


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
