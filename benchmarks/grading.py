"""Submissions a minute and core, and memory: `autograde grade` against stock nbgrader, on the same class.

Half of the class hands in the reference, half the blank lesson. Stock knows no hidden tests, no sandbox: it
runs every cell, and the public asserts decide. It gets the class as it is and once without the cells that
grading leaves out (training, figures, widgets); it may stall on a widget until its time-out, for nbclient can
lose a reply there. Ours runs sandboxed, with hidden tests and feedback, with one worker and with two.
Usage: python benchmarks/grading.py [--lesson 01_map] [--submissions 40]
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
from rich.console import Console
from rich.table import Table

from autograde.course import Course
from autograde.demo import submissions
from autograde.gradebook import open_gradebook
from autograde.rebuild import is_demo
from autograde.release import release

ROOT = Path(__file__).parents[1]
STOCK = """c = get_config()
c.CourseDirectory.db_url = "sqlite:///{root}/.grading/gradebook.db"
c.CourseDirectory.source_directory = ".grading/source"
c.CourseDirectory.release_directory = ".grading/released"
c.CourseDirectory.submitted_directory = ".grading/submitted"
c.CourseDirectory.autograded_directory = ".grading/autograded"
c.Execute.timeout = 300
"""
OURS, THEIRS = ("-m", "autograde", "grade"), ("-m", "nbgrader", "autograde")
EVERY = 0.2  # seconds between two looks at the memory


@dataclass(frozen=True)
class Contender:
    """Who grades: a command, its workers, and whether it gets nbgrader's own configuration or all cells."""

    name: str
    command: tuple[str, ...]
    workers: int = 1
    demo: bool = True

    @property
    def stock(self) -> bool:
        """Whether it is nbgrader alone."""
        return self.command == THEIRS


CONTENDERS = (
    Contender("stock nbgrader", THEIRS),
    Contender("stock, no demo cells", THEIRS, demo=False),
    Contender("ours, 1 worker", OURS),
    Contender("ours, 2 workers", OURS, workers=2),
)


def make_class(root: Path, lesson: str, size: int, contender: Contender) -> Course:
    """A course with a release and `size` submissions, reference and blank in turn."""
    root.mkdir()
    shutil.copytree(ROOT / "solutions" / lesson, root / "solutions" / lesson)
    (root / "nbgrader_config.py").write_text((ROOT / "nbgrader_config.py").read_text())
    course = Course.at(root)
    release(course, [lesson])
    handed_in = submissions(course, lesson)
    for number in range(size):
        kind = ("reference", "blank")[number % 2]
        folder = course.grading / "submitted" / f"{kind}-{number}" / lesson
        folder.mkdir(parents=True)
        notebook = handed_in[kind]
        if not contender.demo:
            notebook = nbformat.from_dict(
                {**notebook, "cells": [c for c in notebook.cells if not is_demo(c)]}
            )
        nbformat.write(notebook, folder / f"{lesson}.ipynb")
    if contender.stock:
        (root / "nbgrader_config.py").write_text(STOCK.format(root=root))
    return course


def grade(course: Course, lesson: str, contender: Contender) -> tuple[float, float]:
    """Seconds, and peak memory in MB: what all processes hold, shared pages counted once (PSS)."""
    jobs = () if contender.stock else ("--jobs", str(contender.workers))
    command = [sys.executable, *contender.command, lesson, *jobs]
    environment = {**os.environ, "GENMAP_SETTING": "smoke", "OMP_NUM_THREADS": "1"}
    start, peak, quiet = time.perf_counter(), 0, subprocess.DEVNULL
    with subprocess.Popen(command, cwd=course.root, env=environment, stdout=quiet, stderr=quiet) as process:
        while process.poll() is None:
            peak = max(peak, held(process.pid))
            time.sleep(EVERY)
    if process.returncode:
        raise SystemExit(f"{contender.name} failed in {course.root}")
    return time.perf_counter() - start, peak / 2**20


def held(pid: int) -> int:
    """Bytes of PSS of a process and all below it."""
    total = 0
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
    return total


def scores(course: Course, lesson: str) -> str:
    """The scores given to references and to blanks."""
    with open_gradebook(course) as gradebook:
        rows = [(row.student_id, row.score) for row in gradebook.assignment_submissions(lesson)]
    kinds = ("reference", "blank")
    return " / ".join(",".join(sorted({f"{s:g}" for n, s in rows if n.startswith(kind)})) for kind in kinds)


def main() -> None:
    """Measure, print the table and, last, the ratio of stock, as it is, to one worker of ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lesson", default="01_map")
    parser.add_argument("--submissions", type=int, default=40)
    given = parser.parse_args()
    titles = ("grader", "seconds", "a minute and core", "peak MB a worker", "reference / blank")
    table, taken = Table(*titles, title=f"{given.lesson}, {given.submissions} submissions"), {}
    for contender in CONTENDERS:
        with tempfile.TemporaryDirectory() as folder:
            course = make_class(Path(folder, "course"), given.lesson, given.submissions, contender)
            seconds, memory = grade(course, given.lesson, contender)
            points = scores(course, given.lesson)
        print(f"{contender.name}: {seconds:.0f} s", file=sys.stderr)
        taken[contender.name] = seconds
        rate = 60 * given.submissions / seconds / contender.workers
        table.add_row(
            contender.name, f"{seconds:.0f}", f"{rate:.1f}", f"{memory / contender.workers:.0f}", points
        )
    Console().print(table)
    stock, bare, one, two = taken.values()
    print(f"two workers: {one / two:.2f} times one; without demo cells: {bare / one:.2f} times stock's pace")
    print(f"ratio: {stock / one:.2f}")


if __name__ == "__main__":
    main()
