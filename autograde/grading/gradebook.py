"""Lessons in the course's gradebook, entered as nbgrader's own generate_assignment enters them."""

import logging
import os
import re
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import nbgrader.api
from nbformat import NotebookNode
from nbgrader.api import Base, Gradebook, InvalidEntry, MissingEntry, StatementError, app_log
from nbgrader.preprocessors import SaveCells
from nbgrader.utils import is_grade, is_solution
from sqlalchemy import Engine, MetaData, create_engine, inspect
from sqlalchemy.exc import NoSuchModuleError
from sqlalchemy.orm import Session, close_all_sessions, sessionmaker

from autograde.course import Course
from autograde.errors import CourseError
from autograde.grading import recorded
from autograde.grading.settings import gradebook_url, shown

STOCK_CHECK_COURSE, STOCK_ADD_STUDENT = Gradebook.check_course, Gradebook.add_student


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
        return _Gradebook(gradebook_url(course), "")  # the course id that nbgrader has by default
    finally:
        os.environ["PATH"] = path


def is_begun(course: Course) -> bool:
    """Whether there may be a gradebook: a database server is asked, a file is not made by looking."""
    url = gradebook_url(course)
    return url != course.gradebook or (course.grading / "gradebook.db").exists()


@contextmanager
def one_engine(course: Course) -> Iterator[None]:
    """Inside, all gradebooks of this process and its forks share an engine, and what it has compiled.

    Each closes its connection; one that a fork inherited could harm the file. Raises CourseError where a
    database server does not answer: each submission would be graded in vain. A locked file may soon be free.
    """
    url = gradebook_url(course)
    with one_line_errors(course):
        _shared[url] = create_engine(url)
        if url != course.gradebook:
            _shared[url].connect().close()
            _shared[url].dispose()
    try:
        yield
    finally:
        _complete.discard(url)
        _courses.clear()
        del _shared[url]


_shared: dict[str, Engine] = {}  # by address
_complete: set[str] = set()  # addresses of those whose tables are known to be there
_courses: set[tuple[str, str]] = set()  # addresses, and names of courses that are known to be there


def make_engine(url: str, **how: Any) -> Engine:
    """In the place of nbgrader's create_engine: inside `one_engine`, the one that is shared."""
    return _shared.get(url) or create_engine(url, **how)


def _address(bind: Engine) -> str:
    """Of a shared engine; "" of another one."""
    return next((url for url, engine in _shared.items() if engine is bind), "")


def make_tables(bind: Engine) -> None:
    """In the place of nbgrader's Base.metadata.create_all: looks for the tables of a shared engine once."""
    url = _address(bind)
    if url not in _complete:
        MetaData.create_all(Base.metadata, bind)
    if url:
        _complete.add(url)


def look_into(bind: Engine) -> Any:
    """In the place of nbgrader's sqlalchemy.inspect, of which it asks whether there are tables."""
    return _Complete() if _address(bind) in _complete else inspect(bind)


class _Complete:
    """What is known of a shared engine whose tables are there."""

    def get_table_names(self) -> list[str]:
        """The names of its tables."""
        return list(Base.metadata.tables)


def check_course(gradebook: Gradebook, course_id: str = "default_course", **named: Any) -> Any:
    """In the place of nbgrader's Gradebook.check_course: looks for the course of a shared engine once.

    One without a name has a row, too: PostgreSQL holds assignments to the course that they name.
    """
    known = _address(gradebook.engine), course_id
    if known not in _courses:
        if not course_id:
            gradebook.db.merge(nbgrader.api.Course(id=course_id))  # which nbgrader commits
        found = STOCK_CHECK_COURSE(gradebook, course_id, **named)
        if not known[0]:
            return found
        _courses.add(known)
    return None  # which nobody looks at


def add_student(gradebook: Gradebook, student_id: str, **details: Any) -> Any:
    """In the place of nbgrader's Gradebook.add_student: another grader may have entered them just now."""
    try:
        return STOCK_ADD_STUDENT(gradebook, student_id, **details)
    except InvalidEntry as error:
        try:
            return gradebook.find_student(student_id)
        except MissingEntry:
            raise error from None


class _Gradebook(Gradebook):
    """nbgrader's, for commands that do not read its configuration, with which it is replaced."""

    check_course, add_student = check_course, add_student


class HoldableSession(Session):
    """A session of the gradebook that can be told to write nothing for now; see `held_back`."""

    def commit(self) -> None:
        """Write, or only flush while it is held back."""
        if self.info.get("held back"):
            self.flush()
        else:
            super().commit()


def make_sessions(**how: Any) -> sessionmaker[HoldableSession]:
    """In the place of nbgrader's sessionmaker: its sessions can be held back."""
    return sessionmaker(class_=HoldableSession, **how)


@contextmanager
def held_back(gradebook: Gradebook) -> Iterator[Callable[[], None]]:
    """Inside, nothing that nbgrader commits is written; what is yielded writes it, else it is taken back."""
    session = gradebook.db()
    if not isinstance(session, HoldableSession):
        raise CourseError("nbgrader_config.py does not call autograde's configure: nothing is recorded.")

    def write() -> None:
        session.info["held back"] = False
        session.commit()

    session.info["held back"] = True
    try:
        yield write
    finally:
        session.info["held back"] = False
        session.rollback()


def compile_queries(course: Course, lesson: str, notebook: NotebookNode) -> None:
    """Record a submission of nobody's and take it back, so that the engine compiles what grading asks for."""
    try:
        for _ in range(2):  # when names of cells are first read, SQLAlchemy forgets what it had compiled
            with one_line_errors(course), open_gradebook(course) as gradebook, held_back(gradebook):
                _rehearse(gradebook, lesson, notebook)
    except (CourseError, MissingEntry):  # should it be locked, each submission says so
        close_all_sessions()  # nbgrader leaves what it could not open to the garbage collector
        make_engine(gradebook_url(course)).dispose()


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
    gradebook.db.expunge_all()  # as in another gradebook
    recorded.read(gradebook, lesson, nobody)
    gradebook.db.expunge_all()
    gradebook.find_submission(lesson, nobody).assignment.duedate  # noqa: B018 - it is loaded


@contextmanager
def one_line_errors(course: Course) -> Iterator[None]:
    """The database's errors as CourseError; nbgrader would print them, at length, and raise its own."""
    disabled, app_log.disabled = app_log.disabled, True
    try:
        yield
    except (StatementError, InvalidEntry, NoSuchModuleError, ModuleNotFoundError) as error:
        reason = re.sub(r"^\([\w.]+\) ", "", str(error).splitlines()[0]).rstrip(".")
        raise CourseError(f"Cannot use {shown(gradebook_url(course))}: {reason}.") from None
    finally:
        app_log.disabled = disabled


def _save_cells(course: Course, name: str, notebook: NotebookNode) -> None:
    place = {"notebook": name, "assignment": name, "db_url": gradebook_url(course)}
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
