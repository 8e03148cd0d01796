"""The `autograde` command: status 0 done, 1 something did not hold, 2 called wrongly; errors are one line."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

from autograde.course import Course
from autograde.errors import CourseError
from autograde.student import StudentError

OUT = Console()
ERR = Console(stderr=True)
LESSON = 1200.0  # seconds that verifying one lesson may take


class _Group(click.Group):
    """Prints a CourseError as one line and ends with its status; anything else is a bug and shows itself."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CourseError as error:
            click.echo(f"autograde: {error}", err=True)
            ctx.exit(error.exit_code)
        except OSError as error:
            click.echo(f"autograde: {error.filename or 'file system'}: {error.strerror}.", err=True)
            ctx.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Release, check and grade the lessons of The Generative Model Map."""


@main.command()
@click.argument("lessons", nargs=-1)
@click.option("--check", is_flag=True, help="Write nothing; fail where lessons/ is stale.")
def release(lessons: tuple[str, ...], check: bool) -> None:
    """Build lessons/ from solutions/ (all lessons unless some are named)."""
    from autograde.release import release as build

    course = Course.find()
    changed = build(course, course.select(lessons), check=check)
    click.echo(f"Released: {', '.join(changed)}." if changed else "lessons/ is current.")


@main.command()
@click.argument("target", required=False, type=click.Path(path_type=Path))
def bundle(target: Path | None) -> None:
    """Write the learners' zip (TARGET, else in dist/): lessons and genmap, no solutions or hidden tests."""
    from autograde.bundle import bundle as write

    written = write(Course.find(), target)
    click.echo(f"Written: {written}, {written.stat().st_size / 1e6:.1f} MB.")


@main.command()
@click.argument("lessons", nargs=-1)
def verify(lessons: tuple[str, ...]) -> None:
    """Hold every exercise's hidden tests to being fair and sharp."""
    from autograde.forks import forked
    from autograde.verify import default_jobs, verify_lesson

    course = Course.find()
    problems = []
    for name in track(
        course.select(lessons), "verify", console=ERR, disable=not ERR.is_terminal, transient=True
    ):
        try:
            row = forked(partial(verify_lesson, course, name, default_jobs()), limit=LESSON)
        except StudentError as error:
            raise CourseError(f"{name}: verify did not come to its end. {error.reason}") from None
        _print_matrix(row)
        problems += [f"{name}: {problem}" for problem in row["problems"]]
    if problems:
        raise CourseError("\n".join(["verify does not hold:", *problems]))


def _print_matrix(row: dict[str, Any]) -> None:
    table = Table("exercise", "tests", "right", "wrong killed", "trivial killed", title=row["lesson"])
    for name, counts in row["exercises"].items():
        cells = [f"{good}/{all_}" for good, all_ in (counts[k] for k in ("right", "wrong", "trivial"))]
        table.add_row(name, str(counts["tests"]), *cells)
    OUT.print(table, f"{row['seconds']:.1f} s", highlight=False)


@main.command("try")
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def try_(notebook: Path, as_json: bool) -> None:
    """Your score now: run NOTEBOOK's answers against the hidden tests."""
    from autograde.selfcheck import try_notebook

    lesson, rows, failures = try_notebook(notebook)
    if as_json:
        click.echo(json.dumps({"lesson": lesson, "exercises": rows, "failed_cells": failures}, indent=1))
        return
    table = Table("exercise", "points", "what did not hold", title=lesson)
    for row in rows:
        messages = [test["message"] for test in row["tests"] if not test["passed"]]
        table.add_row(row["exercise"], f"{row['points']:.4g} / {row['max']:g}", "\n".join(messages))
    table.add_row("total", f"{sum(r['points'] for r in rows):.4g} / {sum(r['max'] for r in rows):g}", "")
    OUT.print(table)
    for failure in failures:
        click.echo(f"did not run to its end: {failure}")


@main.command()
def doctor() -> None:
    """What this machine has, and what to do about what it has not."""
    from autograde.doctor import examine

    findings = examine()
    table = Table("", "what", "here", "what to do")
    for finding in findings:
        table.add_row("ok" if finding.good else "!!", finding.what, finding.here, finding.advice)
    OUT.print(table)
    if not all(finding.good for finding in findings):
        sys.exit(1)
