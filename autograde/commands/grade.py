"""`autograde grade`: grades a class, writes the CSV files, and says what came of it and what is next."""

import datetime as dt
import json
import os
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from autograde.commands.console import ERR, OUT, say
from autograde.course import Course, submitted
from autograde.errors import CourseError, UsageError

if TYPE_CHECKING:  # they import nbgrader, for seconds
    from autograde.grading.cluster.address import Address
    from autograde.grading.cluster.connection import Cluster
    from autograde.grading.standing import Standing
    from autograde.grading.work import Row


@click.command()
@click.argument("lessons", nargs=-1)
@click.option("--jobs", type=click.IntRange(min=1), help="How many at a time; by default one for each core.")
@click.option("--cluster", help="Grade on a Dask cluster: tls://HOST:PORT, or local:N for N workers here.")
@click.option("--student", "students", multiple=True, help="Only this one; may be given more than once.")
@click.option(
    "--again", multiple=True, help="Judge this exercise again for all: its hidden tests were mended."
)
@click.option("--provisional", is_flag=True, help="Into the CSV files also who waits for a grader.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def grade(
    lessons: tuple[str, ...],
    jobs: int | None,
    cluster: str | None,
    students: tuple[str, ...],
    again: tuple[str, ...],
    provisional: bool,
    as_json: bool,
) -> None:
    """Grade what was handed in for LESSONS (all of them unless named), unless it is graded and unchanged."""
    course = Course.find()
    names = course.select(lessons) if lessons else _handed_in(course)
    if len(names) > 1 and (students or again):
        raise UsageError(
            "--student and --again go with one lesson: autograde grade NN_name --again EXERCISE."
        )
    where = _cluster(cluster, jobs)
    wanted = _Wanted(jobs, where, students, again, provisional, as_json)
    found: list[dict[str, Any]] = []
    problems: list[str] = []
    for lesson in names:
        try:
            found.append(_grade(course, lesson, wanted, problems))
        except CourseError as error:
            if len(names) == 1:
                raise
            problems.append(f"{lesson}: {error}")
    if as_json:
        say(json.dumps(found, indent=1, default=dt.datetime.isoformat))
    if problems:
        raise CourseError("\n".join(problems))


def _handed_in(course: Course) -> list[str]:
    """The lessons for which something lies there, or did when grades were written."""
    found = {path.name for path in course.grading.glob("submitted/*/*")}
    found |= {path.name.split(".")[0] for path in course.grading.glob("grades/*.csv")}
    found = {name for name in found if course.released(name).exists()}
    names = [name for name in course.names() if name in found]
    if not names:
        place = course.grading / "submitted" / "STUDENT" / "NN_name" / "NN_name.ipynb"
        raise CourseError(f"Nothing was handed in for a lesson that was released here: expected {place}.")
    return names


@dataclass(frozen=True)
class _Wanted:
    """What the command line says of all lessons; `quiet`: print no table."""

    jobs: int | None
    cluster: "Address | None"
    students: tuple[str, ...]
    again: tuple[str, ...]
    provisional: bool
    quiet: bool


def _cluster(address: str | None, jobs: int | None) -> "Address | None":
    """The cluster that is asked for. Raises UsageError."""
    if address is None:
        return None
    if jobs is not None:
        raise UsageError("--jobs is for this machine, a cluster has its own workers: leave one of them out.")
    from autograde.grading.cluster.address import read

    return read(address)


def _grade(course: Course, lesson: str, wanted: _Wanted, problems: list[str]) -> dict[str, Any]:
    """Grade one lesson and print what came of it, unless `quiet`; returns it as JSON has it."""
    nothing = not any(course.grading.glob(f"submitted/*/{lesson}"))
    graded_before = any(course.grading.glob(f"grades/{lesson}.*"))
    unfit: dict[str, str] = {}
    skip = nothing and graded_before and not wanted.students
    rows = [] if skip else _rows(course, lesson, wanted, unfit)
    failed = {row.student for row in rows if row.status == "failed"}
    standings, written = _export(course, lesson, failed, wanted.provisional, problems)
    moved = _due_date_moved(course, lesson, problems)
    refused = [f"Worker {name} was given nothing: it {why}." for name, why in unfit.items()]
    if not wanted.quiet:
        last = [*refused, moved, *(f"Written: {os.path.relpath(p)}" for p in written)]
        _print(course, lesson, rows, standings, last)
    if failed:
        problems.append(f"Not graded: {len(failed)} of {len(rows)}. Run it again when the reasons are gone.")
    shown = [asdict(one) for one in standings]
    return {
        "lesson": lesson,
        "submissions": [asdict(r) for r in rows],
        "standings": shown,
        "written": written,
        "due_date_moved": moved,
        "refused_workers": unfit,
    }


def _due_date_moved(course: Course, lesson: str, problems: list[str]) -> str:
    """A line where it is another one than in the last run, else ""; what was graded is shown in any case."""
    from autograde.grading.lateness import look_at_due_date

    try:
        return look_at_due_date(course, lesson) or ""
    except CourseError as error:
        problems.append(str(error))
        return ""


def _rows(course: Course, lesson: str, wanted: _Wanted, unfit: dict[str, str]) -> "list[Row]":
    """Grade; workers of a cluster that may not judge go into `unfit`, with why."""
    from autograde.grading import prestart

    counted, cores = len(submitted(course, lesson, wanted.students)), len(os.sched_getaffinity(0))
    with ExitStack() as stack:
        cluster = _connected(stack, wanted.cluster)
        stack.enter_context(prestart.running(cluster is None))
        if cluster is None:
            prestart.prepare(course, lesson)
        from autograde.grading.class_run import grade as grade_all

        bar = stack.enter_context(_Bar(counted))
        how = (wanted.students, bar.ended, wanted.again, cluster)
        try:
            return grade_all(course, lesson, wanted.jobs or cores, *how)
        finally:
            unfit |= cluster.unfit if cluster is not None else {}


def _connected(stack: ExitStack, where: "Address | None") -> "Cluster | None":
    """The cluster; its own processes start while the grader is imported."""
    if where is None:
        return None
    from autograde.grading.cluster.connection import Cluster
    from autograde.grading.in_progress import orderly_end, scratch

    stack.enter_context(orderly_end())
    return stack.enter_context(Cluster(where, stack.enter_context(scratch())))


def _export(
    course: Course, lesson: str, failed: set[str], provisional: bool, problems: list[str]
) -> tuple["list[Standing]", list[str]]:
    """Where everybody stands, and the files written; what was graded is shown though they could not be."""
    from autograde.grading.lms_csv import export
    from autograde.grading.standing import standings

    try:
        found = standings(course, lesson, failed)
        return found, [str(path) for path in export(course, lesson, found, provisional)]
    except CourseError as error:
        problems.append(str(error))
        return [], []


class _Bar(Progress):
    """How far a class is: done, failed, submissions a minute, time left; on a terminal only."""

    def __init__(self, total: int) -> None:
        shown = "{task.completed:.0f} of {task.total:.0f}, {task.fields[failed]} failed, "
        columns = (BarColumn(), TextColumn(shown + "{task.fields[rate]} a minute"), TimeRemainingColumn())
        quiet = not ERR.is_terminal
        # without a thread that draws: this process is forked
        super().__init__(*columns, console=ERR, auto_refresh=False, transient=True, disable=quiet)
        self.began, self.graded, self.failed = time.monotonic(), 0, 0
        self.number = self.add_task("", total=total, failed=0, rate="–")

    def ended(self, row: "Row") -> None:
        """One more submission."""
        self.failed += row.status == "failed"
        self.graded += row.status == "graded"
        rate = f"{60 * self.graded / (time.monotonic() - self.began):.1f}" if self.graded else "–"
        self.update(self.number, advance=1, failed=self.failed, rate=rate, refresh=True)


def _print(
    course: Course, lesson: str, rows: "list[Row]", standings: "list[Standing]", last: list[str]
) -> None:
    from autograde.grading.student_names import printable
    from autograde.grading.summary import summary

    stands = {one.student: one for one in standings}
    table = Table("student", "automatic", "score", "", "seconds", title=lesson)
    for row in (row for row in rows if row.status != "left"):
        points = f"{row.points:.4g} / {row.maximum:g}" if row.points is not None else ""
        seconds = f"{row.seconds:.1f}" if row.seconds is not None else ""
        table.add_row(
            escape(printable(row.student)), points, _score(stands.get(row.student)), row.status, seconds
        )
    OUT.print(table)
    for line in filter(None, [*summary(course, lesson, rows, standings), *last]):
        say(line)


def _score(one: "Standing | None") -> str:
    """What counts: with points given by hand, less the penalty; said where it is not final."""
    if one is None or one.total is None:
        return "–"
    state = "" if one.state == "final" else f", {one.state}"
    late = f" (late, −{one.penalty:.4g})" if one.penalty else ""
    return f"{one.total:.4g} / {one.maximum:g}{late}{state}"
