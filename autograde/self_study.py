"""Scores one's own work with the hidden tests in process: for `autograde try` and the self-check cell."""

import os
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from autograde.cells import cells_to_run, maximum_points
from autograde.course import Course, hidden_tests
from autograde.errors import CourseError, StudentError, UsageError
from autograde.grading.rebuild import rebuild
from autograde.grading.submission import fingerprint
from autograde.judging.chapter import prepare, run_cells
from autograde.judging.in_process import in_process
from autograde.judging.judge import judge
from autograde.judging.verdict import score
from autograde.notebooks import read_notebook, read_submission
from autograde.sandbox.limits import limits_of
from autograde.sandbox.workers import forked

SECRET = b"self-study"  # nothing to protect here: whoever runs this has the tests
Rows = list[dict[str, Any]]


def hidden(lesson: str, namespace: dict[str, Any]) -> Rows:
    """Judge the answers in a live kernel's namespace; the entry point that genmap.selfcheck finds."""
    return _judged(lesson, _release(Course.find(), lesson), namespace, seed="live")


def try_notebook(path: Path) -> tuple[str, Rows, list[str]]:
    """Lesson, rows and failed cells of a learner's notebook, run and judged in a fork of this process.

    Raises UsageError where `path` is no notebook of a lesson, CourseError where it cannot be judged.
    """
    notebook = read_submission(path)
    course = Course.find(path.parent)
    lesson = _lesson(course, path, notebook)
    release = _release(course, lesson)
    found = rebuild(notebook, release)
    rebuilt = found.notebook

    def work() -> tuple[Rows, list[str]]:
        prepare()
        os.chdir(path.parent)  # where Jupyter runs it
        namespace, failures = run_cells(cell.source for cell in cells_to_run(rebuilt))
        rows = _judged(lesson, rebuilt, namespace, fingerprint(rebuilt))
        return [{**row, "hints": found.hints.get(row["exercise"], [])} for row in rows], failures

    try:
        rows, failures = forked(work, 2 * limits_of(release.metadata).notebook)
    except StudentError as error:
        raise CourseError(f"{path} could not be run to its end. {error.reason}") from None
    return lesson, rows, failures


def _lesson(course: Course, path: Path, notebook: NotebookNode) -> str:
    """Which lesson it is: it says so or, where a tool took that, the file's name begins with the lesson's."""
    marks = notebook.metadata.get("genmap")
    lesson = marks.get("lesson") if isinstance(marks, dict) else None
    if isinstance(lesson, str):
        return lesson
    known = next((name for name in course.names() if path.name.startswith(name)), None)
    if known is None:
        raise UsageError(
            f"{path} does not say which lesson it is: name the file after the lesson, 01_map.ipynb."
        )
    return known


def _release(course: Course, lesson: str) -> NotebookNode:
    path = course.lesson(lesson)
    if not path.exists() or not hidden_tests(lesson).exists():
        raise UsageError(f"There is no lesson {lesson!r} with hidden tests in {course.root}.")
    return read_notebook(path)


def _judged(lesson: str, nb: NotebookNode, namespace: dict[str, Any], seed: str) -> Rows:
    ask = in_process(namespace, limits_of(nb.metadata).call)
    (verdict,) = judge(hidden_tests(lesson), ask, SECRET, [seed], lines=True)
    return [{"exercise": name, **row.flat()} for name, row in score(verdict, maximum_points(nb)).items()]
