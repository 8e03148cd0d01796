"""Grades all submissions of a lesson side by side, each in a fork of its own; what has been graded stays."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

from filelock import Timeout
from nbformat import NotebookNode
from nbgrader.apps import AutogradeApp
from nbgrader.converters import GenerateFeedback
from sqlalchemy.exc import SAWarning

from autograde.cells import maximum_points
from autograde.course import Course, submitted
from autograde.errors import CourseError, UsageError
from autograde.grading import feedback, prestart
from autograde.grading.claim import claimed
from autograde.grading.cluster.connection import Cluster
from autograde.grading.cluster.run import Run
from autograde.grading.gradebook import compile_queries, one_engine
from autograde.grading.in_progress import lock, orderly_end, scratch, sweep
from autograde.grading.judged import SUBMISSION_SECONDS
from autograde.grading.preload import needed
from autograde.grading.preprocessors import Record, RunAndJudge
from autograde.grading.released import read_released
from autograde.grading.submission import make_secret
from autograde.grading.work import Row, Work, row_of
from autograde.sandbox import cgroups
from autograde.sandbox.kernel_process import sandbox_problem
from autograde.sandbox.workers import forked_map


def grade(
    course: Course,
    lesson: str,
    jobs: int,
    students: tuple[str, ...] = (),
    done: Callable[[Row], None] | None = None,
    again: Sequence[str] = (),
    cluster: Cluster | None = None,
) -> list[Row]:
    """Grade what was handed in for `lesson`, `jobs` at a time; `done` hears of each as it ends.

    Exercises in `again` are judged whatever was known of them. With a `cluster` all is judged there, and
    recorded here. Raises CourseError where nothing can be graded: no release, no sandbox, no submission, a
    second grader, no worker; UsageError for an unknown exercise.
    """
    folders = submitted(course, lesson, students)
    _check_machine()
    here = cluster is None
    with orderly_end(), prestart.running(here), _alone(course, lesson), scratch(), one_engine(course):
        app = _nbgrader(course, lesson)
        sweep(course, held=lesson)
        make_secret(course.grading)  # and not read: what reads submissions is forked from here
        released = read_released(course, lesson)
        _check_exercises(lesson, released, again)
        _begin(course, lesson, needed(lesson, released), cluster)
        _make_page(course, lesson, app, released)
        prestart.settled(released)
        chosen = {folder.parent.name for folder in folders} if students else None
        work = Work(course, lesson, app, again, chosen, alone=here and jobs == 1)
        everybody = sorted({*folders, *submitted(course, lesson)})  # a folder may come or go meanwhile
        rows = _graded(work, everybody, jobs, done, cluster)
        delayed = [folder for folder in everybody if rows[folder.parent.name].delayed]
        # time ran out while others were graded beside it: once more alone, and that counts
        alone = _graded(Work(course, lesson, app, again), delayed, 1, None, cluster)
        rows |= {name: replace(row, before=rows[name].before) for name, row in alone.items()}
    return [row for _, row in sorted(rows.items()) if row.status != "left" or row.notes]


def _check_machine() -> None:
    if reason := sandbox_problem():
        raise CourseError(f"Submissions are not run without the sandbox. {reason}")
    cgroups.mounted()  # it is looked for once, before there are forks


def _begin(course: Course, lesson: str, modules: list[str], cluster: Cluster | None) -> None:
    """Have all that judges this lesson made ready, here or there."""
    if cluster is None:
        prestart.start(modules)
    else:
        cluster.begin(course, lesson, modules)


def _graded(
    work: Work,
    folders: list[Path],
    jobs: int,
    done: Callable[[Row], None] | None,
    cluster: Cluster | None,
) -> dict[str, Row]:
    rows: dict[str, Row] = {}

    def ended(row: Row) -> None:
        rows[row.student] = row
        if done is not None and row.status != "left":
            done(row)

    if cluster is not None:
        Run(cluster, work, ended, jobs, most=1 if work.alone else len(folders)).grade(folders)
        return rows
    for index, outcome in forked_map(work, folders, 2 * SUBMISSION_SECONDS, jobs, pinned=True):
        ended(row_of(folders[index].parent.name, outcome))
        prestart.start(work.kit.modules)  # should one have ended, the next submissions have another
    return rows


def _check_exercises(lesson: str, released: NotebookNode, again: Sequence[str]) -> None:
    known = maximum_points(released)
    if unknown := [name for name in again if name not in known]:
        raise UsageError(f"{lesson} has no exercise {unknown[0]!r}: it has {', '.join(known)}.")


def _make_page(course: Course, lesson: str, app: AutogradeApp, released: NotebookNode) -> None:
    """Make a page of the lesson here, so that every fork has the templates, and the parts that stay."""
    converter = GenerateFeedback(coursedir=app.coursedir, parent=app)
    exporter = converter.exporter_class(parent=converter, config=converter.config)
    shown = feedback.sheet(course, lesson, feedback.NOBODY)
    exporter.from_notebook_node(deepcopy(released), {"feedback": shown})
    compile_queries(course, lesson, released)


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
    try:
        with lock(course, lesson).acquire(timeout=0), claimed(course, lesson):
            yield
    except Timeout:
        raise CourseError(f"{lesson} is being graded by another process: wait for it, or end it.") from None
