"""The scores of a lesson as Canvas and Moodle import them: a CSV for each, from nbgrader's gradebook."""

import csv
import io
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from nbgrader.api import Gradebook

from autograde import atomic_write
from autograde.course import Course
from autograde.grading.gradebook import one_line_errors, open_gradebook

# Column -> attribute of nbgrader's Student, or a fixed text; the lesson's score comes last.
CANVAS = {
    "Student": "sortable_name",
    "ID": "lms_user_id",
    "SIS User ID": "",
    "SIS Login ID": "id",
    "Section": "",
}
MOODLE = {
    "Username": "id",
    "First name": "first_name",
    "Last name": "last_name",
    "Email address": "email",
    "ID number": "lms_user_id",
}


def export(course: Course, lesson: str, without: Container[str] = ()) -> list[Path]:
    """Write .grading/grades/LESSON.canvas.csv and .moodle.csv, some students left out; returns the paths."""
    folder = course.grading / "grades"
    folder.mkdir(exist_ok=True)
    written = []
    with one_line_errors(course), open_gradebook(course) as gradebook:
        scores = [
            (person, score) for person, score in _scores(gradebook, lesson) if person["id"] not in without
        ]
    for name, columns in {"canvas": CANVAS, "moodle": MOODLE}.items():
        path = folder / f"{lesson}.{name}.csv"
        text = io.StringIO()
        table = csv.writer(text)
        table.writerow([*columns, lesson])
        for person, score in scores:
            table.writerow([*(person.get(key, "") for key in columns.values()), score])
        atomic_write.write(path, text.getvalue())
        written.append(path)
    return written


def _scores(gradebook: Gradebook, lesson: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Who handed in, and the score: automatic, by hand and extra credit, less the penalty for being late."""
    for submission in sorted(gradebook.assignment_submissions(lesson), key=lambda row: row.student_id):
        student = submission.student
        person = {
            key: getattr(student, key) or "" for key in ("first_name", "last_name", "email", "lms_user_id")
        }
        name = ", ".join(part for part in (person["last_name"], person["first_name"]) if part)
        score = max(0.0, submission.score - submission.late_submission_penalty)
        yield {**person, "id": student.id, "sortable_name": name or student.id}, f"{score:.10g}"
