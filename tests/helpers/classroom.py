"""A class of the small course: hands in, has nbgrader grade it, and reads what came of it."""

import copy
import datetime as dt
import logging
import shutil
from pathlib import Path

import nbformat
import pytest
from course_root import ROOT
from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader.coursedir import CourseDirectory
from small_course import NAME
from traitlets.config import Config

from autograde.authoring.release import release
from autograde.cells import grade_id
from autograde.course import Course
from autograde.grading import term
from autograde.grading.class_run import grade
from autograde.grading.gradebook import open_gradebook
from autograde.grading.nbgrader_config import configure

WEIGHTED = "def weighted_mean(x, w):\n    return np.dot(x, w) / np.sum(w)\n"
RUNNING = """class RunningMean:
    def __init__(self):
        self.n, self.mean = 0, 0.0

    def add(self, x):
        self.n += 1
        self.mean += (x - self.mean) / self.n
"""
RIGHT = {"weighted-mean": WEIGHTED, "running-mean": RUNNING, "why-mean": "It is the centre of mass."}
FULL = 20.0
HALF = {**RIGHT, "weighted-mean": "def weighted_mean(x, w):\n    return 1 / 0\n"}
DEAD = {**RIGHT, "weighted-mean": "import os\nos._exit(1)\n"}
KINDS = {"right": RIGHT, "blank": {}, "half": HALF, "dead": DEAD, "one": {"running-mean": RUNNING}}


def filled(course: Course, answers: dict[str, str], lesson: str = NAME) -> NotebookNode:
    notebook = nbformat.read(course.released(lesson), 4)
    for cell in notebook.cells:
        cell.source = answers.get(grade_id(cell) or "", cell.source)
    return notebook


def hand_in(course: Course, student: str, notebook: NotebookNode, lesson: str = NAME) -> Path:
    path = course.grading / "submitted" / student / lesson / f"{lesson}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def run(course: Course, converter: type, student: str = "*", force: bool = False, **given: dict) -> None:
    config = Config(given)
    configure(config, course.root)
    config.CourseDirectory.assignment_id = NAME
    config.CourseDirectory.student_id = student
    log = logging.Logger("nbgrader", logging.CRITICAL)
    converter(coursedir=CourseDirectory(config=config, log=log), config=config, log=log, force=force).start()


def scores(course: Course) -> dict[str, float]:
    with open_gradebook(course) as gradebook:
        return {row.student_id: row.score for row in gradebook.assignment_submissions(NAME)}


def autograded(course: Course, student: str) -> Path:
    return course.grading / "autograded" / student / NAME / f"{NAME}.ipynb"


def forge(notebook: NotebookNode) -> NotebookNode:
    """Everything that a learner might write into a notebook to be given points."""
    for cell in notebook.cells:
        if "nbgrader" in cell.metadata:
            cell.metadata.nbgrader.update(points=1000, schema_version=99, locked=False)
        if cell.cell_type == "code":
            cell.outputs = [new_output("execute_result", data={"text/plain": "20"}, execution_count=1)]
        cell.metadata.tags = ["demo", "skip-execution"]
    notebook.cells += copy.deepcopy(notebook.cells[-2:])
    return notebook


def mixed(course: Course) -> None:
    """40 submissions: right, partly right, blank, dying, forged, late, with a file, with a grade by hand."""
    for number in range(8):
        for kind, answers in KINDS.items():
            path = hand_in(course, f"{kind}-{number}", filled(course, answers))
            if number == 1:
                late = dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)
                term.receive(course, NAME, f"{kind}-{number}", late, "instructor")
            if number == 2:
                (path.parent / "words.txt").write_text("mine")
            if number == 3:
                nbformat.write(forge(filled(course, answers)), path)
    with open_gradebook(course) as gradebook:
        gradebook.update_or_create_assignment(NAME, duedate="2026-01-01 12:00:00 UTC")


def gradebook_of(course: Course) -> dict[str, tuple[float, ...]]:
    with open_gradebook(course) as gradebook:
        rows = gradebook.assignment_submissions(NAME)
        return {row.student_id: (row.score, row.max_score, row.late_submission_penalty) for row in rows}


def outcome(
    course: Course, jobs: int = 2, again: tuple[str, ...] = ()
) -> dict[str, tuple[str, float | None]]:
    return {row.student: (row.status, row.points) for row in grade(course, NAME, jobs, again=again)}


@pytest.fixture
def released(course: Course) -> Course:
    release(course, [NAME])
    return course


@pytest.fixture
def configured(released: Course) -> Course:
    """With the course's nbgrader_config.py, as `autograde grade` wants it."""
    shutil.copy(ROOT / "nbgrader_config.py", released.root)
    return released
