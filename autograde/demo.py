"""Plays a class: releases a lesson, hands in for seven students, grades, writes feedback, shows the table.

Run as `make demo` or `python -m autograde.demo [LESSON]`. It works in .grading/demo, a course of its own.
"""

import copy
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_output
from rich.console import Console
from rich.table import Table

from autograde.authoring.answers import Answer, read_answers
from autograde.authoring.release import release
from autograde.authoring.script import read_lesson
from autograde.cells import grade_id, scored_cells
from autograde.course import Course, answers
from autograde.errors import CourseError, UsageError
from autograde.grading.gradebook import open_gradebook

CRASH = "import os\n\nos._exit(1)  # the process is gone, and with it everything that was defined\n"
HOSTILE = """import os, shutil, signal

shutil.rmtree("/", ignore_errors=True)  # gradebook, hidden tests, other submissions
for pid in range(1, 1000):
    try:
        os.kill(pid, signal.SIGKILL)  # the grader, and at last this process
    except OSError:
        pass
"""


def play(course: Course, lesson: str) -> dict[str, tuple[float, float]]:
    """Grade the class; returns automatic points and their maximum by student.

    Raises CourseError where a step fails.
    """
    root = course.grading / "demo"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    shutil.copy(course.root / "nbgrader_config.py", root)
    demo = Course.at(root, course.sources)
    release(demo, [lesson])
    for student, notebook in submissions(demo, lesson).items():
        folder = demo.grading / "submitted" / student / lesson
        folder.mkdir(parents=True)
        nbformat.write(notebook, folder / f"{lesson}.ipynb")
    for command in ("autograde", "generate_feedback"):
        _nbgrader(root, command, lesson)
    with open_gradebook(demo) as gradebook:
        rows = gradebook.assignment_submissions(lesson)
        return {row.student_id: (row.code_score, row.max_code_score) for row in rows}


def submissions(course: Course, lesson: str) -> dict[str, NotebookNode]:
    """What the students hand in, made from the release, the reference and the listed wrong answers."""
    released = nbformat.read(course.released(lesson), 4)
    solved = {grade_id(cell): cell.source for cell in read_lesson(course.source(lesson)).cells}
    exercises = list(scored_cells(released))
    right = {name: solved[name] for name in exercises}
    listed = [answer for answer in read_answers(answers(lesson)) if answer.kind == "wrong"]
    wrong = {name: _first_of(listed, name).cell(solved[name]) for name in exercises}
    half = {name: (right if i % 2 == 0 else wrong)[name] for i, name in enumerate(exercises)}
    handed_in = {
        "reference": right,
        "blank": {},
        "partly-right": half,
        "wrong": wrong,
        "crashing": {**right, exercises[-1]: CRASH},
        "cheating": {},
        "hostile": {exercises[0]: HOSTILE},
    }
    notebooks = {student: _fill(released, sources) for student, sources in handed_in.items()}
    _forge(notebooks["cheating"])
    return notebooks


def _first_of(listed: list[Answer], exercise: str) -> Answer:
    return next(answer for answer in listed if answer.exercise == exercise)


def _fill(released: NotebookNode, sources: dict[str, str]) -> NotebookNode:
    notebook = copy.deepcopy(released)
    for cell in notebook.cells:
        cell.source = sources.get(grade_id(cell) or "", cell.source)
    return notebook


def _forge(notebook: NotebookNode) -> None:
    """Claim all points: in the outputs of the test cells, in their metadata, and by skipping them."""
    for cell in scored_cells(notebook).values():
        points = cell.metadata.nbgrader.points
        claim = {"text/plain": repr(float(points))}
        cell.outputs = [new_output("execute_result", data=claim, execution_count=1)]
        cell.source = "pass"
        cell.metadata.nbgrader.update(points=1000, schema_version=99)
        cell.metadata.tags = ["skip-execution"]


def _nbgrader(root: Path, command: str, lesson: str) -> None:
    line = [sys.executable, "-m", "nbgrader", command, lesson]
    done = subprocess.run(line, cwd=root, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CourseError(f"nbgrader {command} {lesson} failed: {last}")


def _show(course: Course, lesson: str, scores: dict[str, tuple[float, float]], seconds: float) -> None:
    table = Table("student", "points", "maximum", title=f"{lesson}, graded in {seconds:.0f} s")
    for student, (points, maximum) in scores.items():
        table.add_row(student, f"{points:.4g}", f"{maximum:g}")
    Console().print(table)
    feedback = course.grading / "demo" / ".grading" / "feedback"
    print(f"Feedback: {os.path.relpath(feedback)}/STUDENT/{lesson}/{lesson}.html")


def main(arguments: list[str]) -> None:
    """Play the class of one lesson and hold the outcome to what these students must get."""
    start = time.perf_counter()
    course = Course.find()
    if len(arguments) > 1:
        raise UsageError("usage: python -m autograde.demo [LESSON]")
    (lesson,) = course.select(tuple(arguments) or (course.names()[0],))
    scores = play(course, lesson)
    _show(course, lesson, scores, time.perf_counter() - start)
    points, full = {student: row[0] for student, row in scores.items()}, scores["reference"][1]
    nothing = [points[student] for student in ("blank", "cheating", "hostile")]
    if points["reference"] != full or any(nothing) or points["partly-right"] == 0:
        raise CourseError("The scores are not what these students must get: run `autograde verify`.")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except CourseError as error:
        print(f"demo: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
