"""The `autograde` command: status 0 done, 1 something did not hold, 2 called wrongly; errors are one line."""

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click
from rich.progress import track
from rich.table import Table

from autograde.commands import sharp, term
from autograde.commands.console import ERR, OUT, say
from autograde.commands.grade import grade
from autograde.course import Course
from autograde.errors import UNANSWERED, CourseError, UsageError

# JupyterLab brings them along for jsonschema, which takes a second to import them and works without them.
for unneeded in ("rfc3987_syntax", "isoduration"):
    sys.modules.setdefault(unneeded, None)  # type: ignore[arg-type]


class _Group(click.Group):
    """Prints a CourseError as one line and ends with its status; anything else is a bug and shows itself."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CourseError as error:
            say(f"autograde: {error}", err=True)
            ctx.exit(error.exit_code)
        except OSError as error:
            say(f"autograde: {error.filename or 'file system'}: {error.strerror}.", err=True)
            ctx.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Release, check and grade the lessons of The Generative Model Map."""


for command in (grade, *term.COMMANDS):
    main.add_command(command)


@main.command()
@click.argument("lessons", nargs=-1)
@click.option("--check", is_flag=True, help="Write nothing; fail where lessons/ is stale.")
def release(lessons: tuple[str, ...], check: bool) -> None:
    """Build lessons/ from solutions/ (all lessons unless some are named)."""
    from autograde.authoring.release import release as build

    course = Course.find()
    changed = build(course, course.select(lessons), check=check)
    if check:
        return say("lessons/ is current.")
    names = course.select(lessons)
    say(f"Released: {', '.join(names)}." + ("" if changed else " lessons/ was current."))
    say("Next: `autograde collect LESSON FILES`, or put notebooks into .grading/submitted/STUDENT/LESSON/.")


@main.command()
@click.argument("target", required=False, type=click.Path(path_type=Path))
def bundle(target: Path | None) -> None:
    """Write the learners' zip (TARGET, else in dist/): lessons and genmap, no solutions or hidden tests."""
    from autograde.authoring.bundle import bundle as write

    written = write(Course.find(), target)
    say(f"Written: {written}, {written.stat().st_size / 1e6:.1f} MB.")


@main.command()
@click.argument("lessons", nargs=-1)
@click.option("--answers", type=click.Path(path_type=Path), help="Judge the answers of this file instead.")
@click.option("--mutants", "mutated", is_flag=True, help="Judge the references with small faults instead.")
@click.option(
    "--seeds", type=click.IntRange(min=1), help="Judge right answers, or those of a file, with so many seeds."
)
@click.option("--sample", type=click.IntRange(min=1), help="So many of a lesson's mutants, always the same.")
@click.option("--brief", is_flag=True, help="Fewer seeds and no mutants for a lesson that held as it is.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def verify(
    lessons: tuple[str, ...],
    answers: Path | None,
    mutated: bool,
    seeds: int | None,
    sample: int | None,
    brief: bool,
    as_json: bool,
) -> None:
    """Hold every exercise's hidden tests to being fair and sharp."""
    from autograde.authoring.verify import ANSWER_SEEDS, judge_answers, verify_lessons

    course = Course.find()
    names = course.select(lessons)
    if answers is not None and (mutated or len(lessons) != 1):
        raise UsageError("--answers goes with one lesson: autograde verify NN_name --answers FILE.")
    if mutated:
        return sharp.try_all(course, names, sample, brief, as_json)
    if answers is not None:
        judged = judge_answers(course, names[0], answers, seeds or ANSWER_SEEDS)
        return say(json.dumps(judged, indent=1)) if as_json else _print_answers(judged)
    if seeds is not None:
        return sharp.try_right(course, names, seeds, as_json)
    shown = track(names, "verify", console=ERR, disable=not ERR.is_terminal, transient=True)
    rows = []
    for _, row in zip(shown, verify_lessons(course, names, brief), strict=True):
        rows.append(row)
        if not as_json:
            _print_matrix(row)
    if as_json:
        say(json.dumps(rows, indent=1))
    problems = [f"{row['lesson']}: {problem}" for row in rows for problem in row["problems"]]
    if problems:
        raise CourseError("\n".join(["verify does not hold:", *problems]))


def _print_matrix(row: dict[str, Any]) -> None:
    table = Table("exercise", "tests", "right", "wrong killed", "trivial killed", title=row["lesson"])
    for name, counts in row["exercises"].items():
        cells = [f"{good}/{all_}" for good, all_ in (counts[k] for k in ("right", "wrong", "trivial"))]
        table.add_row(name, str(counts["tests"]), *cells)
    OUT.print(table, f"{row['seconds']:.1f} s", highlight=False)


def _print_answers(judged: list[dict[str, Any]]) -> None:
    """A line an answer: its share of the points, and the tests that failed, with on how many seeds."""
    for row in judged:
        shares, failed = row.get("shares", []), row.get("failed", [])
        least, most = (f"{pick(shares, default=0):.0%}" for pick in (min, max))
        counts = Counter(name for names in failed for name in names)
        said = ", ".join(f"{name} {count}" for name, count in counts.items())
        told = f"fails {said} of {len(shares)}" if said else row.get("reason", "fails no test")
        points = least if least == most else f"{least} to {most}"
        say(f"{row['exercise']}, {row['kind']}, {points}: {row['name']}: {told}")


@main.command("try")
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def try_(notebook: Path, as_json: bool) -> None:
    """Your score now: run NOTEBOOK's answers against the hidden tests."""
    from autograde.self_study import try_notebook

    lesson, rows, failures = try_notebook(notebook)
    if as_json:
        say(json.dumps({"lesson": lesson, "exercises": rows, "failed_cells": failures}, indent=1))
        return
    table = Table("exercise", "points", "what did not hold", title=lesson)
    for row in rows:
        messages = [test["message"] for test in row["tests"] if not test["passed"]]
        if messages and all(message.endswith(UNANSWERED) for message in messages):
            messages = [UNANSWERED]  # once an exercise, and not once a test
        messages += [f"note: {hint}" for hint in row["hints"] if messages]
        table.add_row(row["exercise"], f"{row['points']:.4g} / {row['max']:g}", "\n".join(messages))
    table.add_row("total", f"{sum(r['points'] for r in rows):.4g} / {sum(r['max'] for r in rows):g}", "")
    OUT.print(table)
    for failure in failures:
        say(f"did not run to its end: {failure}")


@main.command()
@click.argument("lesson")
@click.option(
    "--html", "page", type=click.Path(path_type=Path), help="Default: .grading/reports/LESSON.html."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def report(lesson: str, page: Path | None, as_json: bool) -> None:
    """What a class did in LESSON: scores, exercises, what fails most, time; as tables and as a page."""
    from autograde.report.page import write_page
    from autograde.report.statistics import report as examine
    from autograde.report.terminal import broken, tables

    course = Course.find()
    found = examine(course, *course.select((lesson,)))
    written = write_page(found, page or course.grading / "reports" / f"{lesson}.html")
    if as_json:
        say(json.dumps({**found.flat(), "page": str(written)}, indent=1))
    else:
        OUT.print(*tables(found), f"Page: {os.path.relpath(written)}", sep="\n", highlight=False)
    if found.unreadable:
        raise CourseError("\n".join(broken(found.unreadable)))


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
