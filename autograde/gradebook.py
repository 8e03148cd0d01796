"""Lessons in the course's gradebook, entered as nbgrader's own generate_assignment enters them."""

import logging
import os
import re
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nbformat import NotebookNode
from nbgrader import api
from nbgrader.api import Base, Gradebook, InvalidEntry, MissingEntry, StatementError, app_log
from nbgrader.preprocessors import SaveCells
from nbgrader.utils import is_grade, is_solution
from sqlalchemy import Engine, MetaData, create_engine
from sqlalchemy.orm import close_all_sessions

from autograde.course import Course
from autograde.errors import CourseError


def register(course: Course, released: dict[str, NotebookNode]) -> None:
    """Enter or update the lessons. Raises CourseError, before any is entered, where submissions forbid it."""
    with one_line_errors(course):
        with open_gradebook(course) as gradebook:
            for name, notebook in released.items():
                _check_submissions(gradebook, name, notebook)
            for name in released:
                gradebook.update_or_create_assignment(name)
        for name, notebook in released.items():
            _save_cells(course, name, notebook)


def open_gradebook(course: Course) -> Gradebook:
    """The course's gradebook, made if there is none; for a `with` statement."""
    path = os.environ.get("PATH", "")
    # To make one, nbgrader runs `alembic`, which is not on the path of `.venv/bin/autograde`.
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), path])
    try:
        return Gradebook(course.gradebook, "")  # the course id that nbgrader has by default
    finally:
        os.environ["PATH"] = path


@contextmanager
def one_engine(course: Course) -> Iterator[None]:
    """Inside, all gradebooks of this process and its forks share an engine, and what it has compiled.

    nbgrader opens ten for each submission, which compile the same queries again and look for every table.
    Each closes its connection; one that a fork inherited could harm the file.
    """
    engine, make, tables = create_engine(course.gradebook), api.create_engine, Base.metadata
    complete = False

    def create_all(bind: Engine) -> None:
        nonlocal complete
        if bind is not engine or not complete:
            MetaData.create_all(tables, bind)
        complete = complete or bind is engine

    api.create_engine = lambda url, **how: engine if url == course.gradebook else make(url, **how)
    tables.create_all = create_all  # until it is deleted, before the one of its class
    try:
        yield
    finally:
        api.create_engine = make
        del tables.create_all


@contextmanager
def held_back(gradebook: Gradebook) -> Iterator[Callable[[], None]]:
    """Inside, nothing that nbgrader commits is written; what is yielded writes it, else it is taken back."""
    session = gradebook.db()
    commit, session.commit = session.commit, session.flush
    try:
        yield commit
    finally:
        session.rollback()


def compile_queries(course: Course, lesson: str, notebook: NotebookNode) -> None:
    """Record a submission of nobody's and take it back, so that the engine compiles what grading asks for."""
    try:
        with one_line_errors(course), open_gradebook(course) as gradebook, held_back(gradebook):
            _rehearse(gradebook, lesson, notebook)
    except (CourseError, MissingEntry):  # should it be locked, each submission says so
        close_all_sessions()  # nbgrader leaves what it could not open to the garbage collector
        api.create_engine(course.gradebook).dispose()


def _rehearse(gradebook: Gradebook, lesson: str, notebook: NotebookNode) -> None:
    """What nbgrader does with the gradebook for one submission."""
    nobody, place = "", (lesson, lesson)
    marked = [cell for cell in notebook.cells if "nbgrader" in cell.metadata]
    graded = next((cell.metadata.nbgrader.grade_id for cell in marked if is_grade(cell)), "")
    answer = next((cell.metadata.nbgrader.grade_id for cell in marked if is_solution(cell)), "")
    gradebook.update_or_create_student(nobody)
    gradebook.find_assignment(lesson)
    gradebook.update_or_create_submission(lesson, nobody)
    gradebook.find_notebook(*place)
    gradebook.find_source_cell(graded, *place)
    gradebook.find_graded_cell(graded, *place)
    grade = gradebook.find_grade(graded, *place, nobody)
    grade.auto_score, grade.needs_manual_grade = 0.0, False
    comment = gradebook.find_comment(answer, *place, nobody)
    comment.auto_comment = "No response."
    gradebook.db.flush()
    gradebook.db.expire_all()  # as committing does
    found = gradebook.find_submission_notebook(*place, nobody)
    for record, names in (
        (grade, ("score", "max_score")),
        (found, ("score", "max_score")),
        (comment, ("comment",)),
    ):
        for name in names:
            getattr(record, name)


@contextmanager
def one_line_errors(course: Course) -> Iterator[None]:
    """The database's errors as CourseError; nbgrader would print them, at length, and raise its own."""
    disabled, app_log.disabled = app_log.disabled, True
    try:
        yield
    except (StatementError, InvalidEntry) as error:
        reason = re.sub(r"^\([\w.]+\) ", "", str(error).splitlines()[0])
        raise CourseError(f"Cannot use {course.gradebook.removeprefix('sqlite:///')}: {reason}.") from None
    finally:
        app_log.disabled = disabled


def _save_cells(course: Course, name: str, notebook: NotebookNode) -> None:
    place = {"notebook": name, "assignment": name, "db_url": course.gradebook}
    SaveCells(log=logging.Logger("release", logging.CRITICAL)).preprocess(notebook, {"nbgrader": place})


def _check_submissions(gradebook: Gradebook, name: str, notebook: NotebookNode) -> None:
    """nbgrader can update cells that were handed in, but neither add nor remove one."""
    try:
        known = gradebook.find_notebook(name, name)
    except MissingEntry:
        return
    old = {("grade", cell.name) for cell in known.grade_cells}
    old |= {("solution", cell.name) for cell in known.solution_cells}
    marked = [cell for cell in notebook.cells if "nbgrader" in cell.metadata]
    new = {("grade", cell.metadata.nbgrader.grade_id) for cell in marked if is_grade(cell)}
    new |= {("solution", cell.metadata.nbgrader.grade_id) for cell in marked if is_solution(cell)}
    if known.submissions and old != new:
        changed = ", ".join(sorted({cell for _, cell in old ^ new}))
        mend = f"Bring them back, or drop its submissions: nbgrader db assignment remove {name} --force"
        raise CourseError(f"{name} has submissions, and cells came or went ({changed}). {mend}")
