"""Seconds and memory per submission: ours, sandboxed and with hidden tests, against stock nbgrader.

Both grade the same copies of a lesson, reference and blank, each submission with a kernel of its own, in one
run and taking turns. Stock knows no hidden tests: it runs every cell, demo cells too, and the public asserts
decide. It may stall on a lesson with widgets, until its time-out: nbclient can lose a reply there.
Usage: python benchmarks/grading.py [--lesson 01_map] [--copies 3]
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from rich.console import Console
from rich.table import Table

from autograde.course import Course
from autograde.demo import submissions
from autograde.gradebook import open_gradebook
from autograde.release import release
from autograde.sandbox import usage

ROOT = Path(__file__).parents[1]
STOCK = """c = get_config()
c.CourseDirectory.db_url = "sqlite:///{root}/.grading/gradebook.db"
c.CourseDirectory.source_directory = ".grading/source"
c.CourseDirectory.release_directory = ".grading/released"
c.CourseDirectory.submitted_directory = ".grading/submitted"
c.CourseDirectory.autograded_directory = ".grading/autograded"
c.Execute.timeout = 300
"""


def make_course(root: Path, lesson: str, copies: int, stock: bool) -> Course:
    """A course with a release and `copies` submissions each of the reference and of the blank."""
    root.mkdir()
    shutil.copy(ROOT / "nbgrader_config.py", root)
    course = Course.at(root, ROOT / "solutions")
    release(course, [lesson])
    handed_in = submissions(course, lesson)
    for kind in ("reference", "blank"):
        for number in range(copies):
            folder = course.grading / "submitted" / f"{kind}-{number}" / lesson
            folder.mkdir(parents=True)
            nbformat.write(handed_in[kind], folder / f"{lesson}.ipynb")
    if stock:
        (root / "nbgrader_config.py").write_text(STOCK.format(root=root))
    return course


def grade(course: Course, lesson: str, student: str) -> tuple[float, float]:
    """Seconds and peak memory (MB, all processes together) of `nbgrader autograde` for one submission."""
    command = [sys.executable, "-m", "nbgrader", "autograde", lesson, "--student", student]
    environment = {**os.environ, "GENMAP_SETTING": "smoke", "OMP_NUM_THREADS": "1"}
    start, peak = time.perf_counter(), 0
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=course.root, env=environment, stdout=quiet, stderr=quiet) as process:
        while process.poll() is None:
            peak = max(peak, usage(process.pid)[0])
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"nbgrader autograde failed for {student} in {course.root}")
    return time.perf_counter() - start, peak / 2**20


def score(course: Course, lesson: str, student: str) -> float:
    """The recorded score."""
    with open_gradebook(course) as gradebook:
        return float(gradebook.find_submission(lesson, student).score)


def main() -> None:
    """Measure, print the table and, last, the ratio of the medians of all submissions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lesson", default="01_map")
    parser.add_argument("--copies", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        courses = {
            name: make_course(Path(folder, name), given.lesson, given.copies, stock=name == "stock")
            for name in ("ours", "stock")
        }
        rows: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for number in range(given.copies):
            for kind in ("reference", "blank"):
                for name, course in courses.items():
                    measured = grade(course, given.lesson, f"{kind}-{number}")
                    rows.setdefault((name, kind), []).append(measured)
        _show(rows, courses, given.lesson)


def _show(
    rows: dict[tuple[str, str], list[tuple[float, float]]], courses: dict[str, Course], lesson: str
) -> None:
    table = Table("grader", "submission", "seconds (median)", "peak MB", "score", title=lesson)
    for (name, kind), measured in rows.items():
        seconds, memory = (statistics.median(column) for column in zip(*measured, strict=True))
        points = score(courses[name], lesson, f"{kind}-0")
        table.add_row(name, kind, f"{seconds:.1f}", f"{memory:.0f}", f"{points:g}")
    Console().print(table)
    medians = {
        name: statistics.median(s for (n, _), all_ in rows.items() if n == name for s, _ in all_)
        for name in courses
    }
    print(f"ratio: {medians['stock'] / medians['ours']:.2f} (stock's seconds over ours)")


if __name__ == "__main__":
    main()
