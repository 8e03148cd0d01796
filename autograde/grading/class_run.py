"""Grades all submissions of a lesson side by side, each in a fork of its own; what has been graded stays."""

import contextlib
import json
import logging
import os
import re
import shutil
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor
from nbformat import NotebookNode
from nbgrader.api import MissingEntry
from nbgrader.apps import AutogradeApp
from nbgrader.converters import Autograde, GenerateFeedback
from nbgrader.converters.base import NbGraderException
from sqlalchemy.exc import SAWarning

from autograde import atomic_write
from autograde.course import Course, submitted
from autograde.errors import CourseError, StudentError
from autograde.grading import prestart, staleness
from autograde.grading.gradebook import compile_queries, one_engine, one_line_errors, open_gradebook
from autograde.grading.in_progress import alive, sweep
from autograde.grading.preload import imports
from autograde.grading.preprocessors import Record, RunAndJudge, read_released
from autograde.grading.submission import course_secret
from autograde.grading.submission_files import NAME, PLAIN
from autograde.judging.verdict import Result, read_result
from autograde.sandbox.kernel_process import sandbox_problem
from autograde.sandbox.workers import forked_map

SUBMISSION_SECONDS = 1800.0  # for one: more than the limits of its cells and its judge together
LOCKED = re.compile(r"OperationalError\) (.*)")


@dataclass
class Row:
    """What became of a submission; graded, unchanged (graded before) or failed, and why."""

    student: str
    status: str
    points: float | None = None  # automatic ones
    maximum: float | None = None
    reason: str = ""
    seconds: float | None = None


def grade(
    course: Course,
    lesson: str,
    jobs: int,
    students: tuple[str, ...] = (),
    done: Callable[[Row], None] | None = None,
) -> list[Row]:
    """Grade what was handed in for `lesson`, `jobs` at a time; `done` hears of each as it ends.

    Raises CourseError where nothing can be graded: no release, no sandbox, no submission, a second grader.
    """
    folders = submitted(course, lesson, students)
    if reason := sandbox_problem():
        raise CourseError(f"Submissions are not run without the sandbox. {reason}")
    with prestart.running(), _alone(course, lesson), _scratch(), one_engine(course):
        app = _nbgrader(course, lesson)
        sweep(course)
        course_secret(course.grading)
        released = read_released(course, lesson)
        modules = imports(released)
        prestart.start(modules)
        _make_page(course, lesson, app, released)
        prestart.settled()
        work = _Work(course, lesson, app, staleness.ingredients(course, lesson))
        rows = []
        for index, outcome in forked_map(work, folders, SUBMISSION_SECONDS, jobs, pinned=True):
            rows.append(_row(folders[index].parent.name, outcome))
            if done is not None:
                done(rows[-1])
            prestart.start(modules)  # should one have ended, the next submissions have another
    return sorted(rows, key=lambda row: row.student)


def _make_page(course: Course, lesson: str, app: AutogradeApp, released: NotebookNode) -> None:
    """Make a page of the lesson here, so that every fork has the templates, and the parts that stay."""
    converter = GenerateFeedback(coursedir=app.coursedir, parent=app)
    exporter = converter.exporter_class(parent=converter, config=converter.config)
    exporter.register_preprocessor(CSSHTMLHeaderPreprocessor, enabled=True)
    released = deepcopy(released)
    for cell in released.cells:  # what nbgrader takes from the gradebook
        cell.metadata.get("nbgrader", {}).update(score=0, points=0, comment="")
    exporter.from_notebook_node(released, {"nbgrader": defaultdict(float)})
    compile_queries(course, lesson, released)


class _Work:
    """One submission, in a fork: called with its folder, returns the row as a dict."""

    def __init__(self, course: Course, lesson: str, app: AutogradeApp, ingredients: bytes) -> None:
        self.course, self.lesson, self.app, self.ingredients = course, lesson, app, ingredients

    def __call__(self, folder: Path) -> dict[str, Any]:
        student, start = folder.parent.name, time.monotonic()
        try:
            key, marker = self._key(student, folder), staleness.marker(self.course, student, self.lesson)
            if (before := staleness.read(marker)).get("key") == key and self._recorded(student):
                return {**before["row"], "status": "unchanged", "seconds": None}
            result = self._grade(student)
            seconds = time.monotonic() - start
            row = asdict(Row(student, "graded", result.points, result.maximum, seconds=seconds))
            # last: without it all is done again
            atomic_write.write(marker, json.dumps({"key": key, "row": row}))
        except CourseError as error:
            return asdict(Row(student, "failed", reason=str(error)))
        except OSError as error:
            reason = f"{error.filename or 'file system'}: {error.strerror}."
            return asdict(Row(student, "failed", reason=reason))
        return row

    def _recorded(self, student: str) -> bool:
        """Whether the gradebook knows the submission: it may be another one by now."""
        with one_line_errors(self.course), open_gradebook(self.course) as gradebook:
            try:
                gradebook.find_submission(self.lesson, student)
            except MissingEntry:
                return False
        return True

    def _key(self, student: str, folder: Path) -> str:
        """A digest of all that the verdict depends on."""
        if not NAME.fullmatch(student):
            raise CourseError(f"Rename the folder: {PLAIN}.")
        if not (folder / f"{self.lesson}.ipynb").exists():
            raise CourseError(f"There is no {self.lesson}.ipynb in {folder}.")
        return staleness.key(self.ingredients, folder)

    def _grade(self, student: str) -> Result:
        """Let nbgrader grade it and write its feedback. Raises CourseError."""
        coursedir = self.app.coursedir
        coursedir.assignment_id, coursedir.student_id = self.lesson, student
        for converter in (Autograde, GenerateFeedback):
            heard = _Ear()
            log = logging.Logger("nbgrader")
            log.addHandler(heard)
            self.app.log = coursedir.log = log
            try:
                converter(coursedir=coursedir, parent=self.app, force=True).start()
            except NbGraderException as error:
                raise CourseError(heard.reason or str(error)) from None
        verdict = self.course.grading / "autograded" / student / self.lesson / f"{self.lesson}.verdict.json"
        try:
            return read_result(verdict.read_bytes())
        except ValueError as error:
            raise CourseError(f"{verdict}: {error}.") from None


class _Ear(logging.Handler):
    """Hears why nbgrader could not grade: the last line of the last error with a traceback."""

    reason = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the reason."""
        text = record.getMessage()
        if record.levelno < logging.ERROR or "Traceback" not in text:
            return
        last = text.strip().splitlines()[-1]
        if found := LOCKED.search(text):
            last = f"The gradebook: {found[1].strip()}. Close what else works with it, then run again."
        self.reason = re.sub(r"^[\w.]+(?:Error|Exception|NoVerdict): ", "", last)


def _row(student: str, outcome: Any) -> Row:
    if isinstance(outcome, StudentError):
        return Row(student, "failed", reason=f"Its grader was stopped ({outcome.reason.strip()}): run again.")
    return Row(**outcome)


def _nbgrader(course: Course, lesson: str) -> AutogradeApp:
    """nbgrader with the course's own configuration. Raises CourseError where that is not ours."""
    warnings.simplefilter("ignore", SAWarning)  # of nbgrader's own queries, several for each submission
    app = AutogradeApp()
    try:
        with contextlib.chdir(course.root):
            app.initialize([lesson, "--log-level=CRITICAL"])
    except SystemExit as error:
        raise CourseError(str(error)) from None
    steps = app.config.Autograde.get("autograde_preprocessors", [])
    if RunAndJudge not in steps or Record not in steps:
        raise CourseError(f"{course.root}/nbgrader_config.py lacks our steps: nothing is graded.")
    return app


@contextmanager
def _alone(course: Course, lesson: str) -> Iterator[None]:
    """Refuse to grade what another process grades."""
    lock = FileLock(course.grading / f"{lesson}.lock")
    try:
        with lock.acquire(timeout=0):
            yield
    except Timeout:
        raise CourseError(f"{lesson} is being graded by another process: wait for it, or end it.") from None


@contextmanager
def _scratch() -> Iterator[None]:
    """A folder for all temporary files of this run; those of runs that were killed go."""
    place = Path(tempfile.gettempdir())
    for left in place.glob("autograde-*-*"):
        if not alive(left.name.split("-")[1]):
            shutil.rmtree(left, ignore_errors=True)
    own = tempfile.mkdtemp(prefix=f"autograde-{os.getpid()}-")
    before, tempfile.tempdir = tempfile.tempdir, own
    try:
        yield
    finally:
        tempfile.tempdir = before
        shutil.rmtree(own, ignore_errors=True)
