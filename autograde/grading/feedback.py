"""What a student's page shows of the gradebook and the term, read for the page; and a digest of it."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.converters import GenerateFeedback

from autograde.cells import grade_id
from autograde.course import Course
from autograde.errors import CourseError
from autograde.grading import recorded, term
from autograde.grading.reading import page
from autograde.grading.recorded import Grade, Recorded
from autograde.grading.released import read_released
from autograde.notebooks import content_of
from autograde.pages.feedback import Row, Sheet, cells_of, headings, lesson_title
from autograde.pages.feedback_style import STYLE
from autograde.pages.feedback_template import TEMPLATE
from autograde.pages.solutions import references

FORMAT = 1  # of the page; another one where its code, and not its template, draws the same differently
UNANSWERED = "No response."  # nbgrader's own comment on what is as it was released
NOBODY = Recorded("", {}, {}, 0.0, None)


def convert_page(converter: GenerateFeedback, path: str) -> None:
    """nbgrader's GenerateFeedback.convert_single_notebook: a confined process reads the notebook.

    Raises CourseError where nothing is recorded of the submission.
    """
    resources = converter.init_single_notebook_resources(path)
    names, course = resources["nbgrader"], Course.at(Path(converter.coursedir.root))
    lesson, student = names["assignment"], names["student"]
    with Gradebook(names["db_url"]) as gradebook:
        found = recorded.read(gradebook, lesson, student)
    if found is None:
        raise CourseError(f"{student} has no grades in {lesson}: run `autograde grade {lesson}` first.")
    resources["output_extension"] = converter.exporter.file_extension
    shown = resources | {"feedback": sheet(course, lesson, found)}
    written = page(content_of(Path(path)), converter.exporter, shown)
    converter.write_single_notebook(written.decode(errors="replace"), resources)


def sheet(course: Course, lesson: str, of: Recorded) -> Sheet:
    """What the page shows of a submission, the notebook aside. Raises CourseError where term.json is damaged.

    A graded cell of the release of which nothing is recorded waits: it never looks like 0 points.
    """
    released, decided = read_released(course, lesson), term.of_lesson(course, lesson)
    titles = headings(released)
    graded = [cell for cell in released.cells if cell.metadata.get("nbgrader", {}).get("grade")]
    return Sheet(
        title=lesson_title(released) or lesson,
        student=of.student,
        rows=tuple(
            _row(cell, titles[cell.metadata.nbgrader.grade_id], of, decided.excused) for cell in graded
        ),
        total=of.total,
        maximum=of.maximum,
        penalty=of.penalty,
        solutions=_solutions(course, lesson, decided),
        lesson=cells_of(released),
    )


def digest(course: Course, lesson: str, of: Recorded, verdict_key: str) -> str:
    """A digest of all that the page depends on; of release and submission, what `verdict_key` says."""
    decided = term.of_lesson(course, lesson)
    grades = {name: asdict(grade) for name, grade in of.grades.items()}
    shown: dict[str, Any] = {
        "page": [FORMAT, TEMPLATE, STYLE],
        "verdict": verdict_key,
        "recorded": [of.student, grades, of.comments, of.penalty],
        "decided": [sorted(decided.excused), decided.solutions, _solutions(course, lesson, decided)],
    }
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()


def _solutions(course: Course, lesson: str, decided: term.LessonTerm) -> dict[str, str]:
    return references(course.instructors(lesson)) if decided.solutions else {}


def _row(cell: NotebookNode, title: tuple[str, str], of: Recorded, excused: list[str]) -> Row:
    name = grade_id(cell) or ""
    by_hand = bool(cell.metadata.nbgrader.get("solution"))
    exercise = name if by_hand else name.removeprefix("test-")
    grade = of.grades.get(name) or Grade(None, None, 0.0, float(cell.metadata.nbgrader.points), waits=True)
    comment = of.comments.get(exercise, "")
    return Row(
        name=exercise,
        number=title[0],
        title=title[1] or exercise,
        by_hand=by_hand,
        points=grade.points,
        extra=grade.extra,
        maximum=grade.maximum,
        waits=grade.waits,
        excused=exercise in excused,
        answered=comment != UNANSWERED,
        comment="" if comment == UNANSWERED else comment,
    )
