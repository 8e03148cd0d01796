"""What nbgrader's gradebook holds about one submission, as records; the one place that reads its scores."""

import datetime as dt
import math
from collections.abc import Iterator
from dataclasses import dataclass

from nbgrader.api import Gradebook, MissingEntry, SubmittedAssignment


@dataclass(frozen=True)
class Grade:
    """A cell with points: a test of an exercise, or an answer in words.

    automatic: None where there is none. manual: what a grader gave instead, None where nobody did.
    extra: points on top. maximum: the most without those. waits: for a grader; nbgrader counts 0 meanwhile.
    """

    automatic: float | None
    manual: float | None
    extra: float
    maximum: float
    waits: bool

    @property
    def points(self) -> float:
        """What counts."""
        given = self.automatic if self.manual is None else self.manual
        return (given or 0.0) + self.extra


@dataclass(frozen=True)
class Recorded:
    """A submission's rows.

    grades: by the name of the cell ("test-kl" for exercise kl, "why-mean" for an answer).
    comments: a grader's, or nbgrader's own where an answer is as it was released; by the name of the cell.
    penalty: points that lateness costs. received: in UTC, without an offset, as nbgrader keeps it.
    """

    student: str
    grades: dict[str, Grade]
    comments: dict[str, str]
    penalty: float
    received: dt.datetime | None

    @property
    def points(self) -> float:
        """All that was given, before the penalty."""
        return math.fsum(grade.points for grade in self.grades.values())

    @property
    def maximum(self) -> float:
        """The most that there is to get."""
        return math.fsum(grade.maximum for grade in self.grades.values())

    @property
    def total(self) -> float:
        """The score: what was given, less the penalty, and no less than nothing."""
        return max(0.0, self.points - self.penalty)

    @property
    def waits(self) -> bool:
        """Whether anything waits for a grader: then the total is not final."""
        return any(grade.waits for grade in self.grades.values())


def read(gradebook: Gradebook, lesson: str, student: str) -> Recorded | None:
    """What is recorded; None where nothing is."""
    try:
        return _recorded(gradebook.find_submission(lesson, student))
    except MissingEntry:
        return None


def read_all(gradebook: Gradebook, lesson: str) -> Iterator[Recorded]:
    """What is recorded of everybody. Raises MissingEntry where the lesson was never released."""
    for row in gradebook.assignment_submissions(lesson):
        yield _recorded(row)


def _recorded(row: SubmittedAssignment) -> Recorded:
    grades: dict[str, Grade] = {}
    comments: dict[str, str] = {}
    for notebook in row.notebooks:
        for one in notebook.grades:
            numbers = (one.auto_score, one.manual_score, one.extra_credit or 0.0, one.max_score)
            grades[one.name] = Grade(*numbers, waits=bool(one.needs_manual_grade))
        comments |= {one.name: one.comment for one in notebook.comments if one.comment}
    return Recorded(row.student_id, grades, comments, row.late_submission_penalty or 0.0, row.timestamp)
